"""`cryofind train`: annotated runs in, a model folder out."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from cryofind.atomic import write_json
from cryofind.config import Config
from cryofind.errors import ConfigError, OutputError
from cryofind.models import ModelCard, card_objects, find_model, load_model_folder, save_model
from cryofind.pipeline.conditions import Conditions, describe_conditions
from cryofind.pipeline.corpus import read_corpus
from cryofind.pipeline.ensembles import TRAINED_BY, write_ensemble
from cryofind.pipeline.familiarity import learn_familiar
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, timestamp
from cryofind.pipeline.splits import Split, describe_goal, describe_shares, runs_to_judge_by
from cryofind.pipeline.trainer import Trainer, TrainRequest
from cryofind.pipeline.tuning import Tuning, fit_tuning, score_left_out, weigh_f_beta
from cryofind.pipeline.volume_store import open_store
from cryofind.predict import choose_engine
from cryofind.scoring import format_score_table
from cryofind.train.devices import parse_devices
from cryofind.train.mixing import check_weight_count
from cryofind.types import Picks

logger = logging.getLogger("cryofind")


def train_model(request: TrainRequest, config: Config) -> list[str]:
    """Train, choose thresholds on held-out runs, write the model; return a summary, a line each.

    Raises
    ------
    ProjectError, PicksError, ConfigError, ModelError, OutputError
        If the request cannot be met.
    InSampleError
        If a run to be held out is one that the initial model has seen.
    """
    claim = claim_folder(request.out, TRAINED_BY)
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
    record = {"made_by": TRAINED_BY, "kind": kind}
    if not claim:
        write_json(request.out / RECORD_NAME, record)
    if config.train.project_weights:
        logger.info("%s", describe_shares(corpus, config.train))
    lines = _train_folds(trainer, request.folds) if request.folds else _train_once(trainer)
    write_json(
        request.out / RECORD_NAME,
        {
            **record,
            "finished": timestamp(),
            "environment": describe_environment(),
            "config": config.model_dump(mode="json"),
            "projects": [str(path.resolve()) for path in request.projects],
            "selection": asdict(request.selection),
            "runs": list(corpus.run_names),
        },
    )
    return [*lines, f"model -> {request.out}"]


def _train_once(trainer: Trainer) -> list[str]:
    """Train one model; thresholds from the runs held out."""
    request, corpus, config = trainer.request, trainer.corpus, trainer.config
    (split,) = trainer.split()
    if split.held_out and not request.validation_runs:
        goal, advice = describe_goal(corpus, config.train), "choose with --validation, or use --folds"
        logger.info("holding out %s%s (%s)", ", ".join(split.held_out), goal, advice)
    network = trainer.fit(split, request.out)
    truth = corpus.truth(split.held_out)
    if not len(truth):
        _write_model(trainer, network, request.out, split, Tuning.none(), {})
        return ["no picks were held out: thresholds are the defaults; set them with `cryofind tune`"]
    tuning = fit_tuning(trainer.find_candidates_in(split.held_out, network), truth, corpus.specs, config)
    metrics = {"validation_f_beta": dict(tuning.f_beta), "validation_runs": list(split.held_out)}
    _write_model(trainer, network, request.out, split, tuning, metrics)
    if not tuning.f_beta:
        return ["the held-out runs have too few picks to tune on: thresholds are the defaults (`cryofind tune`)"]
    total = weigh_f_beta(tuning.f_beta, truth, corpus.specs, config)
    return [
        *tuning.describe(),
        f"F-beta of the held-out runs that chose checkpoint and thresholds: {total:.4f}",
    ]


def _train_folds(trainer: Trainer, folds: int) -> list[str]:
    """Cross-validate: every fold keeps its last checkpoint, so nothing is chosen on the runs it is judged by."""
    request, corpus, config = trainer.request, trainer.corpus, trainer.config
    everything = Split(corpus.run_names, ())
    members = [request.out / f"fold_{number + 1}" for number in range(folds)]
    networks, candidates = [], []
    for number, (member, (learning, held_out)) in enumerate(zip(members, trainer.split(), strict=True)):
        logger.info("fold %d of %d: holding out %s", number + 1, folds, ", ".join(held_out))
        networks.append(trainer.fit(Split(learning, ()), member))
        candidates.append(trainer.find_candidates_in(held_out, networks[-1]))
    pooled, truth = Picks.concatenate(candidates), corpus.truth(runs_to_judge_by(corpus, config.train))
    tuning = fit_tuning(pooled, truth, corpus.specs, config)
    tuning.select(pooled).to_csv(request.out / "out_of_fold" / "picks.csv")
    honest = score_left_out(pooled, truth, corpus.specs, config)
    metrics = {"out_of_fold_f_beta": dict(tuning.f_beta), "out_of_fold_total": honest.f_beta if honest else None}
    if request.keep == "ensemble":
        for member, network in zip(members, networks, strict=True):
            _write_model(trainer, network, member, everything, tuning, metrics)
        write_ensemble(request.out, members)
    else:
        _write_model(trainer, trainer.fit(everything, request.out), request.out, everything, tuning, metrics)
    lines = tuning.describe()
    if honest is not None:
        lines += ["Out of fold, each run with thresholds from the others:", format_score_table(honest)]
    return lines


def _write_model(
    trainer: Trainer, network: nn.Module, folder: Path, split: Split, tuning: Tuning, metrics: dict[str, Any]
) -> None:
    corpus, config, initial = trainer.corpus, trainer.config, trainer.initial
    seen = list(initial.card.training_runs) if initial is not None else []
    seen += [run.seen for run in corpus.of(split.learning)]
    seen += [run.seen.model_copy(update={"role": "validate"}) for run in corpus.of(split.held_out)]
    environment = describe_environment()
    card = ModelCard.model_validate(
        {
            "name": trainer.request.out.resolve().name,
            "network": config.model,
            "objects": card_objects(corpus.specs),
            "voxel_spacing_angstrom": corpus.spacing_angstrom,
            "flavours": corpus.flavours,
            "preprocess": config.preprocess,
            "polarity": corpus.polarity,
            "thresholds": dict(tuning.thresholds),
            "calibration": dict(tuning.calibration),
            "calibrated_for": _describe_conditions(network, config) if tuning.calibration else {},
            "locate": config.locate,
            "training_runs": tuple(seen),
            "familiar": learn_familiar(network, (run.tomogram for run in corpus.of(split.learning))),
            "versions": {"cryofind": environment["cryofind"], **environment["packages"]},
            "training": config.model_dump(mode="json"),
            "metrics": metrics,
        }
    )
    save_model(folder, network, card)


def _describe_conditions(network: nn.Module, config: Config) -> Conditions:
    """Return what ran the network over the held-out runs."""
    return describe_conditions(choose_engine([network], config.predict).as_record(), config, member_count=1)


def stages_of_initial(init_model: str | None) -> dict[str, Any]:
    """Return the stages of the recipe that a training takes over from the model it starts from."""
    if init_model is None:
        return {}
    card = load_model_folder(find_model(init_model)).card
    return {"model": card.network.model_dump(), "preprocess": card.preprocess.model_dump()}
