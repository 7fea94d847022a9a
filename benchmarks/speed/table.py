"""Lines of the result: what, target, measured, whether it was reached; as Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MARKS = {True: "yes", False: "**no**", None: ""}


@dataclass(frozen=True)
class Line:
    """A line of the table; `reached` is None where there is no target or it does not apply."""

    what: str
    target: str
    measured: str
    reached: bool | None = None


def failed_line(what: str, target: str, reason: str) -> Line:
    """Return the line of what could not be measured: it reaches no target."""
    return Line(what, target, f"failed: {reason}", False if target else None)


def format_spread(values: dict[str, Any], unit: str = "s", digits: int = 2) -> str:
    """Return median, least and most, and their number as text."""
    middle, count = values["median"], len(values["samples"])
    low, high = min(values["samples"]), max(values["samples"])
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, n = {count})"


def format_ratio(above: dict[str, Any], below: dict[str, Any], digits: int = 1) -> str:
    """Return the ratio of two medians, and the least and the most that single values of both would give."""
    low = min(above["samples"]) / max(below["samples"])
    high = max(above["samples"]) / min(below["samples"])
    counts = f"n = {len(above['samples'])} / {len(below['samples'])}"
    return f"{above['median'] / below['median']:.{digits}f} x ({low:.{digits}f} to {high:.{digits}f}, {counts})"


def format_table(lines: Sequence[tuple[str, Line]]) -> str:
    """Return Markdown: row of the benchmark, what, target, measured, reached."""
    rows = [(row, line.what, line.target, line.measured, MARKS[line.reached]) for row, line in lines]
    return format_columns(("row", "what", "target", "measured", "reached"), rows)


def format_columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    texts = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*texts, *(f"| {' | '.join(row)} |".replace("\n", " ") for row in rows)])
