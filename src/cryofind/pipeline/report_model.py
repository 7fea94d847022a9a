"""`cryofind report MODEL_DIR`: how a training went, and what its model says about itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from cryofind.atomic import write_text
from cryofind.errors import ModelError
from cryofind.locate import apply_calibration
from cryofind.model_files import CARD_NAME
from cryofind.models import LoadedModel, ModelCard, find_model, load_model_folder
from cryofind.pipeline.ensembles import TRAINED_BY, has_model, member_folders
from cryofind.pipeline.records import read_record
from cryofind.pipeline.report import INDEX_NAME
from cryofind.pipeline.training_examples import Examples, draw_examples
from cryofind.pipeline.training_history import read_histories
from cryofind.report.training_facts import (
    CalibrationCurve,
    CardFacts,
    SeenRow,
    TrainingHistory,
    TrainingReport,
)
from cryofind.report.training_page import render_training_page, training_numbers

EXAMPLES_EACH = 3
CURVE_LOG_ODDS = np.linspace(-5, 9, 85)
HELD_OUT, OUT_OF_FOLD = "held-out runs", "out of fold"


def report_model(path: Path, out: Path, *, examples_each: int = EXAMPLES_EACH) -> dict[str, Any]:
    """Write the page of a model as `index.html`; return its numbers, as `report.json` has them.

    Parameters
    ----------
    path
        A folder that `cryofind train` wrote or is writing to, a model folder without its training, or the name of a
        shipped model.
    out
        Folder for the page.
    examples_each
        How many example crops of every object; they take a second or so each tomogram. 0 for none.

    Raises
    ------
    ModelError
        If it is no model nor training, or the model is damaged.
    OutputError
        If its `run.json` is damaged, or `out` cannot be written.
    """
    report = gather_model(find_model(path), examples_each=examples_each)
    write_text(out / INDEX_NAME, render_training_page(report))
    return training_numbers(report)


def gather_model(folder: Path, *, examples_each: int = EXAMPLES_EACH) -> TrainingReport:
    """Return what there is to say about a model folder; arguments and errors as of `report_model`."""
    record = read_record(folder) or {}
    record = record if record.get("made_by") == TRAINED_BY else {}
    is_trained = has_model(folder)
    histories = read_histories(folder)
    if not (is_trained or record or histories):
        advice = "give a folder that `cryofind train` wrote, or the name of a shipped model"
        raise ModelError(folder, f"holds neither {CARD_NAME} nor a training", advice)
    members = [load_model_folder(member) for member in member_folders(folder)] if is_trained else []
    examples = draw_examples(members[0], record, each=examples_each) if members and examples_each else Examples()
    finished = record.get("finished")
    return TrainingReport(
        name=members[0].card.name if len(members) == 1 else folder.resolve().name,
        folder=str(folder),
        finished=_as_time(str(finished)) if finished else None,
        is_running_or_cut=bool(record) and not finished,
        card=_card_facts(members) if members else None,
        histories=histories,
        examples=examples.crops,
        examples_source=examples.source,
        notes=(*_list_notes(members, record, histories), *(examples.notes if record else ())),
        environment=_list_environment(record),
    )


def _list_notes(
    members: list[LoadedModel], record: Mapping[str, Any], histories: tuple[TrainingHistory, ...]
) -> list[str]:
    notes = []
    if members and not histories:
        notes.append("The folder holds no training (training/metrics.jsonl), so there are no curves: the card alone.")
    if not members and record:
        notes.append("There is no model yet: it is written at the end of the training.")
    for history in histories:
        if history.broken_lines:
            many = "lines" if history.broken_lines > 1 else "line"
            notes.append(f"{history.name}: {history.broken_lines} {many} of metrics.jsonl could not be read, left out.")
    return notes


def _card_facts(members: list[LoadedModel]) -> CardFacts:
    card = members[0].card
    f_beta, source, total = _f_beta_of(card)
    return CardFacts(
        name=card.name,
        specs=card.specs(),
        lines=tuple(_describe_card(members)),
        f_beta=f_beta,
        f_beta_source=source,
        f_beta_total=total,
        calibration={name: _calibration_curve(card, name) for name in card.object_names if name in card.calibration},
        runs=tuple(
            SeenRow(run.run, run.role, " ".join(run.volume_sha256), run.picks_sha256) for run in card.training_runs
        ),
        recipe=card.training,
        versions=card.versions,
    )


def _f_beta_of(card: ModelCard) -> tuple[dict[str, float], str, float | None]:
    """Return F-beta by object, what it was measured on, and that of all objects."""
    for key, source in (("validation_f_beta", HELD_OUT), ("out_of_fold_f_beta", OUT_OF_FOLD)):
        found = card.metrics.get(key)
        if not isinstance(found, Mapping) or not found:
            continue
        known = {str(n): float(v) for n, v in found.items() if isinstance(v, int | float) and n in card.object_names}
        total = card.metrics.get("out_of_fold_total") if source == OUT_OF_FOLD else None
        return known, source, float(total) if isinstance(total, int | float) else None
    return {}, "", None


def _calibration_curve(card: ModelCard, name: str) -> CalibrationCurve:
    calibration = card.calibration[name]
    probabilities = apply_calibration(expit(CURVE_LOG_ODDS), calibration)
    return CalibrationCurve(CURVE_LOG_ODDS, probabilities, calibration.counts)


def _describe_card(members: list[LoadedModel]) -> list[tuple[str, str]]:
    card = members[0].card
    network = card.network
    sizes = f", widths {list(network.widths)}" if network.widths else ""
    options = f", {json.dumps(network.options)}" if network.options else ""
    weights = sum(parameter.numel() for parameter in members[0].network.parameters())
    conditions = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in card.calibrated_for.items())
    lines = [
        ("network", f"{network.network}{sizes}{options}, {card.activation}, {weights:,} weights"),
        ("models", f"ensemble of {len(members)}: {', '.join(m.folder.name for m in members)}" if members[1:] else ""),
        ("averaged from", ", ".join(model.name for model in card.averaged_from)),
        ("voxel spacing", f"{card.voxel_spacing_angstrom:.3f} Å"),
        ("kinds of tomograms", ", ".join(card.flavours)),
        ("particles look", card.polarity),
        ("preprocessing", ", ".join(f"{key} {value}" for key, value in card.preprocess.model_dump().items())),
        ("calibrated for", conditions),
        ("knows how its tomograms look", _describe_familiar(card)),
        ("SHA-256 of weights", card.weights_sha256),
        ("made with", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
    ]
    return [(word, text) for word, text in lines if text]


def _describe_familiar(card: ModelCard) -> str:
    return ", ".join(f"{kind.runs} of kind {kind.flavour or 'unnamed'}" for kind in card.familiar)


def _as_time(written: str) -> str:
    return written.replace("T", " ").replace("+00:00", " UTC")


def _list_environment(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = record.get("environment")
    environment = found if isinstance(found, Mapping) else {}
    lines = [("command", environment.get("command")), ("finished", _as_time(str(record.get("finished") or "")))]
    lines += [(key, environment.get(key)) for key in ("cryofind", "python", "platform", "cores")]
    projects = record.get("projects")
    lines.append(("projects", ", ".join(map(str, projects)) if isinstance(projects, list) else None))
    return tuple((word, str(value)) for word, value in lines if value)
