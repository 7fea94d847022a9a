"""Whether the options of a training fit its annotated runs."""

from collections.abc import Sequence

import numpy as np

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.errors import ConfigError, PicksError, advise_known_names
from cryofind.models import OUTPUT_STRIDE
from cryofind.train.mixing import check_learnt_projects
from cryofind.train.runs import TrainingRun
from cryofind.types import ParticleSpec


def check_options(
    runs: Sequence[TrainingRun],
    config: TrainConfig,
    augment: AugmentConfig,
    targets: TargetConfig,
    specs: Sequence[ParticleSpec],
) -> None:
    """Refuse options that do not fit the runs.

    Raises
    ------
    ConfigError
        If an option does not fit the runs.
    PicksError
        If there is no run.
    """
    if not runs:
        raise PicksError("training runs", "are none", "give a project with annotated runs")
    names = [spec.name for spec in specs]
    for name in targets.radius_factors:
        if name not in names:
            advice = advise_known_names(name, names)
            raise ConfigError(f"targets.radius_factors: {name}", "is not one of the objects", advice)
    if any(size % OUTPUT_STRIDE for size in config.crop_zyx):
        raise ConfigError("train.crop_zyx", f"is {config.crop_zyx}", "use even sizes")
    if targets.kind == "labels" and augment.copy_paste_probability > 0:
        advice = "set it to 0, or train on picks"
        raise ConfigError("augment.copy_paste_probability", "pastes picks, but targets.kind is 'labels'", advice)
    for run in runs:
        if config.project_weights and not 0 <= run.project < len(config.project_weights):
            raise ValueError(f"run {run.run} is of project {run.project} of {len(config.project_weights)}")
        _check_run(run, targets, specs)
    check_learnt_projects(config, {run.project for run in runs})


def _check_run(run: TrainingRun, targets: TargetConfig, specs: Sequence[ParticleSpec]) -> None:
    if targets.kind == "labels" and run.labels_zyx is None:
        advice = "name it in targets.segmentation, or choose another targets.kind"
        raise ConfigError(f"run {run.run}", "has no label volume for targets.kind 'labels'", advice)
    if targets.annotated_region == "mask" and run.annotated_mask_zyx is None:
        advice = "name it in targets.annotated_mask, or choose another targets.annotated_region"
        raise ConfigError(f"run {run.run}", "has no mask for targets.annotated_region 'mask'", advice)
    for channel in np.unique(run.channels):
        if not 0 <= channel < len(specs):
            raise ValueError(f"run {run.run} has channel {channel}, but there are {len(specs)} objects")
        if targets.kind != "labels":
            _ = specs[channel].particle_radius_angstrom
