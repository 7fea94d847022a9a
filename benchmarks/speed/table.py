"""Lines of the result: what, target, measured, whether it was reached; as Markdown."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """A line of the table; `reached` is None where there is no target or it does not apply."""

    what: str
    target: str
    measured: str
    reached: bool | None = None


def format_spread(values: dict[str, Any], unit: str = "s", digits: int = 2) -> str:
    """Return median, quartiles and their number as text."""
    low, high = values["quartiles"]
    middle = values["median"]
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, n = {len(values['samples'])})"


def format_table(lines: list[tuple[str, Line]]) -> str:
    """Return Markdown: row of the benchmark, what, target, measured, reached."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [
        f"| {row} | {line.what} | {line.target} | {line.measured} | {marks[line.reached]} |".replace("\n", " ")
        for row, line in lines
    ]
    return "\n".join(["| row | what | target | measured | reached |", "|---|---|---|---|---|", *rows])
