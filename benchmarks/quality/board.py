"""The rows as tables, in the leaderboard between two marks."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lock import SHOWN
from places import Places
from rows import read_row
from sets import read_definitions

from cryofind.atomic import write_text
from cryofind.errors import ConfigError

Row = Mapping[str, Any]

BEGIN = "<!-- rows: written by `run.py table`; what lies between these marks is written anew -->"
END = "<!-- end of rows -->"
_ROLES = {"test": "reported only", "validation": "every choice is made here", "train": "learnt from"}


def write_tables(places: Places) -> None:
    """Write all rows into the leaderboard; the marks are put at its end where it has none.

    Raises
    ------
    ConfigError
        If it has only one of the two marks.
    """
    rows = [read_row(path) for path in sorted(places.rows.glob("*.json"))]
    section = f"{BEGIN}\n\n{format_tables(rows, list(read_definitions(places)))}\n{END}"
    text = places.leaderboard.read_text(encoding="utf-8") if places.leaderboard.exists() else "# Leaderboard\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if bool(begin) != bool(end) or END in before:
        raise ConfigError(places.leaderboard, "has only one of the two marks of the rows", f"write both: {BEGIN} {END}")
    parts = [part.strip("\n") for part in (before, section, after)]
    write_text(places.leaderboard, "\n\n".join(filter(None, parts)) + "\n")


def format_tables(rows: Sequence[Row], order: Sequence[str]) -> str:
    """Return a table for each set, its best row first."""
    position = {name: number for number, name in enumerate(order)}
    rows = sorted(rows, key=lambda row: (position.get(row["set"], len(order)), row["set"], -row["figures"]["f4"][0]))
    return "\n".join(_format_set(name, list(group)) for name, group in itertools.groupby(rows, lambda row: row["set"]))


def _format_set(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    runs = len(first["counts"]["runs"])
    version = first["simulator_version"]
    made = "made by another generator" if version is None else f"simulator version {version}"
    contents = sorted({row["picks_sha256"][:SHOWN] for row in rows})
    head = f"### `{name}`: {runs} tomogram{'s' if runs > 1 else ''}, {made}, {first['role']} ({_ROLES[first['role']]})"
    objects = first["counts"]["objects"]
    columns = (
        *("method", "F4", "at real abundance", *objects, "false picks", "at recall 0.8"),
        *("s a tomogram", "training", "date, commit", "on"),
    )
    lines = [_format_row(row, objects, marked=len(contents) > 1) for row in rows]
    hashes = f"Identity {first['set_identity'][:SHOWN]}, picks {', '.join(contents)}."
    return "\n".join([head, "", hashes, "", *_table(columns, lines), ""])


def _format_row(row: Row, objects: Sequence[str], *, marked: bool) -> list[str]:
    figures, hardware = row["figures"], row["hardware"]
    costs = figures["false_picks_at_recall_0.8"]
    marks = [f"picks {row['picks_sha256'][:SHOWN]}"] if marked else []
    marks += [] if row["voxels_as_frozen"] else ["voxels of another processor"]
    marks += [row["note"]] if row["note"] else []
    device = hardware["gpu"] or f"{hardware['cores']} cores of {hardware['cpu']}"
    return [
        row["label"] + (f" ({'; '.join(marks)})" if marks else ""),
        f"**{format_estimate(figures['f4'])}**",
        format_estimate(figures["f4_at_real_abundance"]),
        *(format_estimate(figures["objects"].get(name)) for name in objects),
        f"{figures['false_picks_per_tomogram']:.0f}",
        ", ".join("-" if costs.get(name) is None else f"{costs[name]:.3g}" for name in objects),
        "" if row["seconds_per_tomogram"] is None else f"{row['seconds_per_tomogram']:.1f}",
        "" if row["training_seconds"] is None else f"{row['training_seconds'] / 3600:.1f} h",
        f"{row['date'][:10]}, `{row['commit']}`",
        device,
    ]


def format_estimate(estimate: Sequence[float] | None) -> str:
    """Return `0.812 (0.790 to 0.831)`, of [value] the value alone."""
    if not estimate:
        return ""
    value, *interval = estimate
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |".replace("\n", " ") for cells in (columns, ["---"] * len(columns), *rows)]
