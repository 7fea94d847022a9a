"""What trainings in a model folder wrote down, read back for its report."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cryofind.pipeline.records import read_record
from cryofind.report.training_facts import Curve, TrainingHistory
from cryofind.train import read_metrics
from cryofind.train.checkpoint import STATE_NAME, list_checkpoints
from cryofind.train.loop import CHECKPOINTS_NAME, METRICS_NAME

TRAINING_NAME = "training"
FOLDS_PATTERN = "fold_*"


def read_histories(folder: Path) -> tuple[TrainingHistory, ...]:
    """Return the histories of a model folder: of its folds, in order, and of its own training.

    Raises
    ------
    OutputError
        If its `run.json` is damaged.
    """
    recipe = (read_record(folder) or {}).get("config")
    folds = sorted(folder.glob(FOLDS_PATTERN), key=lambda path: (len(path.name), path.name))
    named = [(path.name.replace("_", " "), path / TRAINING_NAME) for path in folds]
    named.append(("all runs" if folds else "training", folder / TRAINING_NAME))
    found = [_read_history(name, path, recipe if isinstance(recipe, Mapping) else None) for name, path in named]
    return tuple(history for history in found if history is not None)


def _read_history(name: str, folder: Path, recipe: Mapping[str, Any] | None) -> TrainingHistory | None:
    path = folder / METRICS_NAME
    if not path.is_file():
        return None
    rows = [row for row in read_metrics(path) if _is_usable(row)]
    lines = sum(bool(line.strip()) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    known = recipe if recipe is not None else _read_recipe_of_checkpoint(folder / CHECKPOINTS_NAME)
    settings = known.get("train")
    planned = settings.get("steps") if isinstance(settings, Mapping) else None
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return TrainingHistory(
        name,
        _gather_curves(rows),
        planned if isinstance(planned, int) else None,
        written.strftime("%Y-%m-%d %H:%M UTC"),
        known,
        lines - len(rows),
    )


def _is_usable(row: Mapping[str, Any]) -> bool:
    value = row.get("value", "")
    is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(row.get("name"), str) and is_number and row["step"] >= 0


def _gather_curves(rows: list[dict[str, Any]]) -> dict[str, Curve]:
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        steps, values = found.setdefault(row["name"], ([], []))
        steps.append(row["step"])
        values.append(np.nan if row["value"] is None else row["value"])
    curves = {}
    for name, (steps, values) in found.items():
        order = np.argsort(steps, kind="stable")
        curves[name] = Curve(np.array(steps, np.float64)[order], np.array(values, np.float64)[order])
    return curves


def _read_recipe_of_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the recipe of the newest checkpoint that can be read: a training that has not ended has no other."""
    for path in reversed(list_checkpoints(folder)):
        try:
            document = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        identity = document.get("identity") if isinstance(document, dict) else None
        if isinstance(identity, dict):
            return identity
    return {}
