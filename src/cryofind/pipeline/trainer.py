"""What trains one network on chosen runs of a corpus, for `cryofind train` and every trial of `cryofind search`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cryofind.config import Config, ModelConfig
from cryofind.errors import InSampleError, ModelError
from cryofind.models import LoadedModel, build_network, can_widen, initialize_from, model_hash
from cryofind.pipeline.candidates import find_candidates
from cryofind.pipeline.corpus import AnnotatedRun, Corpus
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.seen import is_seen
from cryofind.pipeline.splits import Split, split_runs
from cryofind.pipeline.tuning import best_f_beta, weigh_f_beta
from cryofind.train import CropSampler, Loss, Validation, build_loss, train_network
from cryofind.train.fit_of_network import check_crops
from cryofind.types import Picks

logger = logging.getLogger("cryofind")


@dataclass(frozen=True)
class TrainRequest:
    """What to train on and where to put the model.

    Parameters
    ----------
    projects
        Copick configurations or Kaggle folders; `train.project_weights` are in their order.
    out
        Folder of the model; a cut-off training in it goes on.
    selection
        Which tomograms of the projects.
    validation_runs
        Runs held out for choosing the checkpoint and the thresholds; empty: one, where there are three (see
        `split_runs`).
    init_model
        Name or folder of a model to start from.
    folds
        Number of folds of a cross-validation; None for none. With weights it goes over the runs of the project with
        the greatest share at the end, and the others are always learnt from.
    keep
        What a cross-validation leaves: `refit` (one model trained on all runs) or `ensemble` (the folds).
    """

    projects: tuple[Path, ...]
    out: Path
    selection: InputSelection = InputSelection()
    validation_runs: tuple[str, ...] = ()
    init_model: str | None = None
    folds: int | None = None
    keep: str = "refit"


@dataclass(frozen=True)
class Trainer:
    """A request and what it needs, read once."""

    request: TrainRequest
    config: Config
    corpus: Corpus
    initial: LoadedModel | None

    def check(self) -> None:
        """Build everything once, so that a request that cannot be met is refused before anything is written."""
        splits = self.split()
        for split in splits:
            self._refuse_seen(split.held_out)
        if len(self.corpus.flavours) > 1:
            logger.info("learning from tomograms of several kinds: %s", ", ".join(self.corpus.flavours))
        self._build_sampler(self.corpus.run_names if self.request.folds else splits[0].learning)
        self._build_loss()
        check_crops(self._build_network(), self.config.train)

    def try_options(self, learning: Sequence[str]) -> None:
        """Build sampler, loss and network once without a word; errors as of `train_model`."""
        self._build_sampler(learning)
        self._build_loss()
        network = build_network(self.config.model, len(self.corpus.specs))
        check_crops(network, self.config.train)
        if self.initial is not None:
            _refuse_other_network(network, self.config.model, self.initial)

    def _refuse_seen(self, held_out: Sequence[str]) -> None:
        """Refuse to judge by runs that the initial model has seen."""
        seen = self.initial.card.training_runs if self.initial is not None else ()
        for run in self.corpus.of(held_out):
            if is_seen(run.seen, seen):
                problem = "is to be held out, but the initial model was trained on it"
                raise InSampleError(f"run {run.run}", problem, "hold out another run, or start from another model")

    def split(self) -> list[Split]:
        """Return the split of every training whose picks are judged; see `split_runs`."""
        asked = self.request.validation_runs
        return split_runs(self.corpus, self.config.train, folds=self.request.folds, asked=asked)

    def fit(self, split: Split, out: Path, watch: Callable[[int, float | None], None] | None = None) -> nn.Module:
        """Train a network, or go on with its training in `out/training`; `watch` and errors as of `train_network`."""
        names = [spec.name for spec in self.corpus.specs]
        result = train_network(
            self._build_sampler(split.learning),
            self._build_network(),
            self.config,
            out=out / "training",
            validate=self._validator(split.held_out) if len(self.corpus.truth(split.held_out)) else None,
            object_names=names,
            loss=self._build_loss(),
            data=self.describe_data(split),
            watch=watch,
        )
        if not result.is_main_process:
            # Helper processes of a training on several devices have done their part and write nothing.
            raise SystemExit(0)
        return result.network

    def _build_sampler(self, learning: Sequence[str]) -> CropSampler:
        return CropSampler(
            [run.training for run in self.corpus.of(learning)],
            self.config.train,
            self.config.augment,
            self.config.targets,
            self.corpus.specs,
        )

    def _build_loss(self) -> Loss:
        names = [spec.name for spec in self.corpus.specs]
        return build_loss(self.config.loss, names, self.config.model.activation)

    def _build_network(self) -> nn.Module:
        torch.manual_seed(self.config.train.seed)
        network = build_network(self.config.model, len(self.corpus.specs))
        if self.initial is not None:
            _refuse_other_network(network, self.config.model, self.initial)
            kept = initialize_from(network, self.corpus.specs, self.initial)
            logger.info("objects kept from the initial model: %s", ", ".join(kept) or "none")
        return network

    def describe_data(self, split: Split) -> dict[str, Any]:
        """Return what a training learns from: a resumed one must learn from the same."""
        # Without weights it does not matter which project a run comes from.
        mixed = {"learning_projects": [run.project for run in self.corpus.of(split.learning)]}
        return {
            **(mixed if self.config.train.project_weights else {}),
            "learning": [run.seen.model_dump(mode="json") for run in self.corpus.of(split.learning)],
            "held_out": [run.seen.model_dump(mode="json") for run in self.corpus.of(split.held_out)],
            "voxel_spacing_angstrom": self.corpus.spacing_angstrom,
            "initial_model": model_hash(self.initial.folder) if self.initial is not None else None,
        }

    def _validator(self, held_out: Sequence[str]) -> Callable[[nn.Module], Validation]:
        truth = self.corpus.truth(held_out)

        def validate(network: nn.Module) -> Validation:
            candidates = self.find_candidates_in(held_out, network)
            f_beta = best_f_beta(candidates, truth, self.corpus.specs, self.config)
            return Validation(weigh_f_beta(f_beta, truth, self.corpus.specs, self.config), f_beta)

        return validate

    def find_candidates_in(self, names: Sequence[str], network: nn.Module) -> Picks:
        """Return what a network finds in runs, with raw scores; of a run with several flavours the first one counts."""
        first: dict[str, AnnotatedRun] = {}
        for run in self.corpus.of(names):
            first.setdefault(run.run, run)
        activation = self.config.model.activation
        return Picks.concatenate(
            find_candidates([network], run.tomogram, self.corpus.specs, activation, self.config)
            for run in first.values()
        )


def _refuse_other_network(network: nn.Module, config: ModelConfig, initial: LoadedModel) -> None:
    """Refuse a network that is neither the initial model's nor a larger one of its kind."""
    known = initial.card.network
    if config == known or (config.activation == known.activation and can_widen(initial.network, network)):
        return
    problem = f"its network is {known.network}, and the recipe's is neither the same nor a larger one of that kind"
    raise ModelError(f"--init {initial.folder}", problem, "leave [model] out of the recipe to take over the model's")
