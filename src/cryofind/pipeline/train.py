"""`cryofind train`: annotated runs in, a model folder out."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cryofind.atomic import write_json
from cryofind.config import Config, ModelConfig
from cryofind.errors import ConfigError, InSampleError, ModelError, OutputError
from cryofind.models import (
    LoadedModel,
    ModelCard,
    build_network,
    can_widen,
    card_objects,
    find_model,
    initialize_from,
    load_model_folder,
    model_hash,
    save_model,
)
from cryofind.pipeline.candidates import find_candidates
from cryofind.pipeline.conditions import Conditions, describe_conditions
from cryofind.pipeline.corpus import AnnotatedRun, Corpus, read_corpus
from cryofind.pipeline.ensembles import write_ensemble
from cryofind.pipeline.familiarity import learn_familiar
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, timestamp
from cryofind.pipeline.seen import is_seen
from cryofind.pipeline.splits import Split, describe_goal, describe_shares, runs_to_judge_by, split_runs
from cryofind.pipeline.tuning import Tuning, best_f_beta, fit_tuning, score_left_out, weigh_f_beta
from cryofind.pipeline.volume_store import open_store
from cryofind.predict import choose_engine
from cryofind.scoring import format_score_table
from cryofind.train import CropSampler, Loss, Validation, build_loss, train_network
from cryofind.train.devices import parse_devices
from cryofind.train.mixing import check_weight_count
from cryofind.types import Picks

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind train"


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


def train_model(request: TrainRequest, config: Config) -> list[str]:
    """Train, choose thresholds on held-out runs, write the model; return a summary, a line each.

    Raises
    ------
    ProjectError, PicksError, ConfigError, ModelError, OutputError
        If the request cannot be met.
    InSampleError
        If a run to be held out is one that the initial model has seen.
    """
    claim = claim_folder(request.out, MADE_BY)
    kind = {"folds": request.folds, "keep": request.keep if request.folds else None}
    if claim and claim.get("kind") != kind:
        problem = "holds a training of another kind (with or without --folds, or another --keep)"
        raise OutputError(request.out, problem, "choose a new --out")
    processes = parse_devices(config.train.devices)[1]
    if processes > 1 and request.folds:
        raise ConfigError("--folds", "works with one device at a time", "set train.devices=auto")
    check_weight_count(config.train, len(request.projects))
    initial = load_model_folder(find_model(request.init_model)) if request.init_model is not None else None
    store = open_store(request.out, config.train.memory_gigabytes, processes=processes)
    corpus = read_corpus(request.projects, request.selection, config, store)
    trainer = Trainer(request, config, corpus, initial)
    trainer.check()
    record = {"made_by": MADE_BY, "kind": kind}
    if not claim:
        write_json(request.out / RECORD_NAME, record)
    if config.train.project_weights:
        logger.info("%s", describe_shares(corpus, config.train))
    lines = trainer.train_folds(request.folds) if request.folds else trainer.train_once()
    write_json(
        request.out / RECORD_NAME,
        {
            **record,
            "finished": timestamp(),
            "environment": describe_environment(),
            "config": config.model_dump(mode="json"),
            "projects": [str(path.resolve()) for path in request.projects],
            "runs": list(corpus.run_names),
        },
    )
    return [*lines, f"model -> {request.out}"]


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
        self._build_network()

    def try_options(self, learning: Sequence[str]) -> None:
        """Build sampler, loss and network once without a word; errors as of `train_model`."""
        self._build_sampler(learning)
        self._build_loss()
        network = build_network(self.config.model, len(self.corpus.specs))
        if self.initial is not None:
            _refuse_other_network(network, self.config.model, self.initial)

    def train_once(self) -> list[str]:
        """Train one model; thresholds from the runs held out."""
        ((learning, held_out),) = self.split()
        if held_out and not self.request.validation_runs:
            goal, advice = describe_goal(self.corpus, self.config.train), "choose with --validation, or use --folds"
            logger.info("holding out %s%s (%s)", ", ".join(held_out), goal, advice)
        network = self.fit(learning, held_out, self.request.out)
        truth = self.corpus.truth(held_out)
        if not len(truth):
            self._save(network, self.request.out, learning, held_out, Tuning.none(), {})
            return ["no picks were held out: thresholds are the defaults; set them with `cryofind tune`"]
        tuning = fit_tuning(self._find_candidates(network, held_out), truth, self.corpus.specs, self.config)
        metrics = {"validation_f_beta": dict(tuning.f_beta), "validation_runs": list(held_out)}
        self._save(network, self.request.out, learning, held_out, tuning, metrics)
        if not tuning.f_beta:
            return ["the held-out runs have too few picks to tune on: thresholds are the defaults (`cryofind tune`)"]
        total = weigh_f_beta(tuning.f_beta, truth, self.corpus.specs, self.config)
        return [
            *tuning.describe(),
            f"F-beta of the held-out runs that chose checkpoint and thresholds: {total:.4f}",
        ]

    def train_folds(self, folds: int) -> list[str]:
        """Cross-validate: every fold keeps its last checkpoint, so nothing is chosen on the runs it is judged by."""
        names, everything = runs_to_judge_by(self.corpus, self.config.train), self.corpus.run_names
        members = [self.request.out / f"fold_{number + 1}" for number in range(folds)]
        networks, candidates = [], []
        for number, (member, (learning, held_out)) in enumerate(zip(members, self.split(), strict=True)):
            logger.info("fold %d of %d: holding out %s", number + 1, folds, ", ".join(held_out))
            networks.append(self.fit(learning, (), member))
            candidates.append(self._find_candidates(networks[-1], held_out))
        pooled, truth = Picks.concatenate(candidates), self.corpus.truth(names)
        tuning = fit_tuning(pooled, truth, self.corpus.specs, self.config)
        tuning.select(pooled).to_csv(self.request.out / "out_of_fold" / "picks.csv")
        honest = score_left_out(pooled, truth, self.corpus.specs, self.config)
        metrics = {"out_of_fold_f_beta": dict(tuning.f_beta), "out_of_fold_total": honest.f_beta if honest else None}
        if self.request.keep == "ensemble":
            for member, network in zip(members, networks, strict=True):
                self._save(network, member, everything, (), tuning, metrics)
            write_ensemble(self.request.out, members)
        else:
            self._save(self.fit(everything, (), self.request.out), self.request.out, everything, (), tuning, metrics)
        lines = tuning.describe()
        if honest is not None:
            lines += ["Out of fold, each run with thresholds from the others:", format_score_table(honest)]
        return lines

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

    def fit(
        self,
        learning: Sequence[str],
        held_out: Sequence[str],
        out: Path,
        watch: Callable[[int, float | None], None] | None = None,
    ) -> nn.Module:
        """Train a network, or go on with its training in `out/training`; `watch` and errors as of `train_network`."""
        names = [spec.name for spec in self.corpus.specs]
        result = train_network(
            self._build_sampler(learning),
            self._build_network(),
            self.config,
            out=out / "training",
            validate=self._validator(held_out) if len(self.corpus.truth(held_out)) else None,
            object_names=names,
            loss=self._build_loss(),
            data=self.describe_data(learning, held_out),
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

    def describe_data(self, learning: Sequence[str], held_out: Sequence[str]) -> dict[str, Any]:
        """Return what a training learns from: a resumed one must learn from the same."""
        # Without weights it does not matter which project a run comes from.
        mixed = {"learning_projects": [run.project for run in self.corpus.of(learning)]}
        return {
            **(mixed if self.config.train.project_weights else {}),
            "learning": [run.seen.model_dump(mode="json") for run in self.corpus.of(learning)],
            "held_out": [run.seen.model_dump(mode="json") for run in self.corpus.of(held_out)],
            "voxel_spacing_angstrom": self.corpus.spacing_angstrom,
            "initial_model": model_hash(self.initial.folder) if self.initial is not None else None,
        }

    def _validator(self, held_out: Sequence[str]) -> Callable[[nn.Module], Validation]:
        truth = self.corpus.truth(held_out)

        def validate(network: nn.Module) -> Validation:
            candidates = self._find_candidates(network, held_out)
            f_beta = best_f_beta(candidates, truth, self.corpus.specs, self.config)
            return Validation(weigh_f_beta(f_beta, truth, self.corpus.specs, self.config), f_beta)

        return validate

    def _find_candidates(self, network: nn.Module, names: Sequence[str]) -> Picks:
        """Return candidates with raw scores; of a run with several flavours the first one counts."""
        first: dict[str, AnnotatedRun] = {}
        for run in self.corpus.of(names):
            first.setdefault(run.run, run)
        activation = self.config.model.activation
        return Picks.concatenate(
            find_candidates([network], run.tomogram, self.corpus.specs, activation, self.config)
            for run in first.values()
        )

    def _save(
        self,
        network: nn.Module,
        folder: Path,
        learning: Sequence[str],
        held_out: Sequence[str],
        tuning: Tuning,
        metrics: dict[str, Any],
    ) -> None:
        seen = list(self.initial.card.training_runs) if self.initial is not None else []
        seen += [run.seen for run in self.corpus.of(learning)]
        seen += [run.seen.model_copy(update={"role": "validate"}) for run in self.corpus.of(held_out)]
        environment = describe_environment()
        card = ModelCard.model_validate(
            {
                "name": self.request.out.resolve().name,
                "network": self.config.model,
                "objects": card_objects(self.corpus.specs),
                "voxel_spacing_angstrom": self.corpus.spacing_angstrom,
                "flavours": self.corpus.flavours,
                "preprocess": self.config.preprocess,
                "polarity": self.corpus.polarity,
                "thresholds": dict(tuning.thresholds),
                "calibration": dict(tuning.calibration),
                "calibrated_for": self._describe_conditions(network) if tuning.calibration else {},
                "locate": self.config.locate,
                "training_runs": tuple(seen),
                "familiar": learn_familiar(network, (run.tomogram for run in self.corpus.of(learning))),
                "versions": {"cryofind": environment["cryofind"], **environment["packages"]},
                "training": self.config.model_dump(mode="json"),
                "metrics": metrics,
            }
        )
        save_model(folder, network, card)

    def _describe_conditions(self, network: nn.Module) -> Conditions:
        """Return what ran the network over the held-out runs."""
        engine = choose_engine([network], self.config.predict).as_record()
        return describe_conditions(engine, self.config, member_count=1)


def stages_of_initial(init_model: str | None) -> dict[str, Any]:
    """Return the stages of the recipe that a training takes over from the model it starts from."""
    if init_model is None:
        return {}
    card = load_model_folder(find_model(init_model)).card
    return {"model": card.network.model_dump(), "preprocess": card.preprocess.model_dump()}


def _refuse_other_network(network: nn.Module, config: ModelConfig, initial: LoadedModel) -> None:
    """Refuse a network that is neither the initial model's nor a larger one of its kind."""
    known = initial.card.network
    if config == known or (config.activation == known.activation and can_widen(initial.network, network)):
        return
    problem = f"its network is {known.network}, and the recipe's is neither the same nor a larger one of that kind"
    raise ModelError(f"--init {initial.folder}", problem, "leave [model] out of the recipe to take over the model's")
