"""Options that do not fit the annotated runs are refused with what to do."""

from typing import Any

import numpy as np
import pytest

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.errors import ConfigError, PicksError
from cryofind.train.sampling import CropSampler, TrainingRun
from cryofind.types import ParticleSpec, VoxelGrid

GRID = VoxelGrid.isotropic((8, 8, 8), 10.0)
SPECS = (ParticleSpec("ribosome", 150.0, 1), ParticleSpec("membrane", None, 2, is_particle=False))


def make_run(channels: tuple[int, ...] = (0,), **changes: Any) -> TrainingRun:
    fields: dict[str, Any] = {
        "run": "TS_1",
        "volume_zyx": np.zeros(GRID.shape_zyx, np.float32),
        "grid": GRID,
        "positions_zyx_angstrom": np.full((len(channels), 3), 40.0),
        "channels": np.array(channels, dtype=np.int64),
    }
    return TrainingRun(**{**fields, **changes})


def build(run: TrainingRun | None, targets: TargetConfig | None = None, **settings: Any) -> CropSampler:
    config = TrainConfig(crop_zyx=settings.pop("crop_zyx", (4, 4, 4)), project_weights=settings.pop("weights", ()))
    runs = [] if run is None else [run]
    return CropSampler(runs, config, AugmentConfig(**settings), targets or TargetConfig(), SPECS)


def test_runs_without_particles() -> None:
    with pytest.raises(PicksError, match="no particle of any object"):
        build(make_run(()))
    with pytest.raises(PicksError, match="are none"):
        build(None)


def test_labels_or_mask_missing() -> None:
    with pytest.raises(ConfigError, match=r"run TS_1: has no label volume .*targets.segmentation"):
        build(make_run(), TargetConfig(kind="labels"))
    with pytest.raises(ConfigError, match=r"run TS_1: has no mask .*targets.annotated_mask"):
        build(make_run(), TargetConfig(annotated_region="mask"))


def test_options_that_contradict() -> None:
    labelled = make_run(labels_zyx=np.ones(GRID.shape_zyx, np.uint8))
    with pytest.raises(ConfigError, match="copy_paste_probability"):
        build(labelled, TargetConfig(kind="labels"), copy_paste_probability=0.5)
    with pytest.raises(ConfigError, match="did you mean 'ribosome'"):
        build(make_run(), TargetConfig(radius_factors={"ribosom": 0.4}))
    with pytest.raises(ConfigError, match="even sizes"):
        build(make_run(), crop_zyx=(4, 5, 4))


def test_picks_of_an_object_without_radius() -> None:
    with pytest.raises(ConfigError, match=r"object 'membrane': radius"):
        build(make_run((1,)))


def test_shapes_and_channels_that_disagree() -> None:
    with pytest.raises(ValueError, match="volume_zyx of run TS_1 has shape"):
        make_run(volume_zyx=np.zeros((8, 8, 9), np.float32))
    with pytest.raises(ValueError, match="labels_zyx of run TS_1 has shape"):
        make_run(labels_zyx=np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="positions of run TS_1"):
        make_run(positions_zyx_angstrom=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="channel 5"):
        build(make_run((5,)))


def test_weights_that_do_not_fit_the_runs() -> None:
    with pytest.raises(ConfigError, match="project 1 of 2: has a share, but no run to learn from"):
        build(make_run(project=1), weights=(0.5, 0.5))
    with pytest.raises(ConfigError, match="project 1 of 2: has runs to learn from, but never a share"):
        build(make_run(), weights=(0, 1))
    with pytest.raises(ValueError, match="run TS_1 is of project 2 of 2"):
        build(make_run(project=2), weights=(1, 1))
    with pytest.raises(PicksError, match="runs of project 1: hold no particle of any object"):
        build(make_run((), project=0), weights=(1,))
