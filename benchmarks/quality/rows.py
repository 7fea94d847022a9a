"""A row of the leaderboard: what one method made of one set, with the counts that comparisons need."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import Counts, Estimate, count_false_at_recall, estimate_objects, estimate_total
from hardware import describe_hardware, read_commit
from lock import Content
from places import Places
from sets import OpenSet

from cryofind import czii
from cryofind.atomic import write_text
from cryofind.errors import ConfigError, PicksError, advise_known_names
from cryofind.pipeline.records import timestamp
from cryofind.types import Picks

FORMAT = 1
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_NUMBERS = re.compile(r"\[\n[^\[\]{}\"]*\]")


@dataclass(frozen=True, eq=False)
class Method:
    """What made the picks of a row.

    Parameters
    ----------
    label
        What the row is called.
    made_by
        What decides over the picks (hashes of model or picks, thresholds, settings), JSON-ready.
    training_seconds, seconds_per_tomogram
        What it took, where known.
    note
        A remark.
    """

    label: str
    made_by: dict[str, Any]
    training_seconds: float | None = None
    seconds_per_tomogram: float | None = None
    note: str = ""


def check_label(label: str) -> str:
    """Return a label that can be part of a file's name.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    if not _LABEL.fullmatch(label) or "--" in label:
        raise ConfigError(f"--label '{label}'", "is not made of letters, digits, . _ + and single -", "choose another")
    return label


def row_path(places: Places, label: str, set_name: str) -> Path:
    """Return the file of a row."""
    return places.rows / f"{label}--{set_name}.json"


def find_row(places: Places, method: Method, opened: OpenSet) -> dict[str, Any] | None:
    """Return the row of a method and a set if it is there; a test set is read once for each.

    Raises
    ------
    ConfigError
        If the row of that label is of another model, other picks or another set.
    """
    path = row_path(places, method.label, opened.name)
    if not path.exists():
        return None
    row = read_row(path)
    for what, there, here in (
        ("made by", row["made_by"], method.made_by),
        ("set", row["set_identity"], opened.identity),
    ):
        if there != here:
            problem = f"is there already, of another {'method' if what == 'made by' else 'set'}"
            raise ConfigError(path, problem, "choose another --label, or delete it")
    return row


def write_row(
    places: Places,
    method: Method,
    opened: OpenSet,
    content: Content,
    candidates: Picks,
    *,
    has_frozen_voxels: bool,
    load: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the row of a method's candidates on a set, and return it.

    Raises
    ------
    PicksError
        If the candidates share no run with the set, or are of unknown objects.
    """
    if len(candidates) and not set(candidates.run_names) & set(opened.runs):
        problem = f"are of runs {', '.join(candidates.run_names[:3])}, none of which is in set {opened.name}"
        raise PicksError(f"picks of {method.label}", problem, f"its runs are {', '.join(opened.runs[:3])} ...")
    counts = Counts.of(candidates, opened.truth, opened.particles, runs=opened.runs)
    row = {
        "format": FORMAT,
        **asdict(method),
        "set": opened.name,
        "role": opened.spec.role,
        "set_identity": opened.identity,
        "simulator_version": opened.made_from.get("simulator_version"),
        "picks_sha256": content.picks_sha256,
        "voxels_sha256": content.voxels_sha256,
        "voxels_as_frozen": has_frozen_voxels,
        "date": timestamp(),
        "commit": read_commit(),
        "hardware": describe_hardware(),
        "load": load,
        "counts": write_counts(counts),
        "figures": measure_figures(counts, candidates, opened),
    }
    text = json.dumps(row, indent=2, allow_nan=False)
    write_text(row_path(places, method.label, opened.name), _NUMBERS.sub(_on_one_line, text) + "\n")
    return row


def _on_one_line(numbers: re.Match[str]) -> str:
    return " ".join(numbers[0].split()).replace("[ ", "[").replace(" ]", "]")


def measure_figures(counts: Counts, candidates: Picks, opened: OpenSet) -> dict[str, Any]:
    """Return the figures of a row, JSON-ready; an estimate is [value, low, high], without an interval [value]."""
    false_picks = count_false_at_recall(candidates, opened.truth, opened.particles, runs=opened.runs)
    figures = {
        "f4": _write(estimate_total(counts)),
        "f4_at_real_abundance": None,
        "objects": {name: _write(estimate) for name, estimate in estimate_objects(counts).items()},
        "false_picks_per_tomogram": float((counts.picks - counts.hits).sum() / len(counts.runs)),
        "false_picks_at_recall_0.8": {name: false_picks[name] for name in counts.objects},
    }
    if set(counts.objects) <= set(czii.OBJECT_NAMES):
        factors = counts.abundance_factors(volumes_per_run(opened))
        figures["f4_at_real_abundance"] = _write(estimate_total(counts, factors))
    return figures


def volumes_per_run(opened: OpenSet) -> float:
    """Return how many of the challenge's tomograms one of the set is, by volume."""
    volumes = [np.prod(entry.read_grid().extent_zyx_angstrom) for entry in opened.entries]
    return float(np.mean(volumes) / np.prod(czii.TOMOGRAM_GRID.extent_zyx_angstrom))


def read_row(path: Path) -> dict[str, Any]:
    """Return a row.

    Raises
    ------
    ConfigError
        If the file is no row.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(path, f"cannot be read ({error})", "restore it, or make the row again") from error
    if not isinstance(row, dict) or row.get("format") != FORMAT:
        raise ConfigError(path, f"is not a row of format {FORMAT}", "give a file of rows/")
    return row


def choose_row(places: Places, name: str) -> dict[str, Any]:
    """Return the row of a file, or of `LABEL--SET`.

    Raises
    ------
    ConfigError
        If there is none, with the nearest name.
    """
    path = Path(name) if name.endswith(".json") else places.rows / f"{name}.json"
    if not path.is_file():
        known = [path.stem for path in sorted(places.rows.glob("*.json"))]
        raise ConfigError(f"row '{name}'", "is not there", advise_known_names(name, known))
    return read_row(path)


def counts_of_row(row: Mapping[str, Any]) -> Counts:
    """Return the counts of a row."""
    counts = row["counts"]
    tables = (np.array(counts[name], float) for name in ("references", "hits", "picks"))
    return Counts(tuple(counts["objects"]), np.array(counts["weights"]), tuple(counts["runs"]), *tables)


def write_counts(counts: Counts) -> dict[str, Any]:
    """Return counts as a row holds them; `counts_of_row` reads them."""
    tables = {name: getattr(counts, name).astype(int).tolist() for name in ("references", "hits", "picks")}
    weights = counts.weights.tolist()
    return {"objects": list(counts.objects), "weights": weights, "runs": list(counts.runs), **tables}


def _write(estimate: Estimate) -> list[float]:
    values = [estimate.value, estimate.low, estimate.high]
    return [round(value, 5) for value in values if np.isfinite(value)]
