"""Dynamo tables (`.tbl`) and lists of tomograms.

A table has one particle a line, of up to 42 numbers, counted from 1: 1 tag, 4-6 shift, 7-9 tdrot, tilt, narot, 10
correlation, 20 tomogram, 24-26 x, y, z in pixels; here index 0 is the first pixel, as copick reads them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofind.atomic import write_text
from cryofind.errors import PicksError
from cryofind.io.text import advise_number, parse_number, read_text

Floats = NDArray[np.float64]

_COLUMNS = 42
_USED = (4, 5, 6, 7, 8, 9, 10, 20, 24, 25, 26)


@dataclass(frozen=True, eq=False)
class DynamoTable:
    """Particles of a Dynamo table.

    Parameters
    ----------
    indices_xyz
        Array indices x, y, z, shift added, shape (N, 3).
    angles_degrees
        tdrot, tilt, narot, shape (N, 3).
    scores
        Correlation, shape (N,).
    tomogram_numbers
        Shape (N,), whole numbers.
    """

    indices_xyz: Floats
    angles_degrees: Floats
    scores: Floats
    tomogram_numbers: NDArray[np.int64]


def read_dynamo_table(path: str | Path) -> DynamoTable:
    """Read a Dynamo table.

    Raises
    ------
    PicksError
        If a line has fewer than 26 numbers or one that is not finite, with line and column.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < max(_USED):
            problem = f"has {len(words)} columns, expected at least {max(_USED)}"
            raise PicksError(f"{path}: line {number}", problem, "give a Dynamo table")
        rows.append([_number(path, number, column, words[column - 1]) for column in _USED])
    table = np.array(rows, dtype=np.float64).reshape(-1, len(_USED))
    return DynamoTable(
        table[:, 8:11] + table[:, 0:3], table[:, 3:6], table[:, 6], np.rint(table[:, 7]).astype(np.int64)
    )


def write_dynamo_table(path: Path, table: DynamoTable) -> None:
    """Write a Dynamo table of 42 columns: tags from 1, no shifts, to be aligned, class 1."""
    lines = []
    rows = zip(table.indices_xyz, table.angles_degrees, table.scores, table.tomogram_numbers, strict=True)
    for tag, (point, angles, score, tomogram) in enumerate(rows, start=1):
        cells = ["0"] * _COLUMNS
        cells[0], cells[1], cells[19], cells[21] = str(tag), "1", str(int(tomogram)), "1"
        cells[6:9] = [f"{angle:.6f}" for angle in angles]
        cells[9] = f"{score:.6f}"
        cells[23:26] = [f"{index:.6f}" for index in point]
        lines.append(" ".join(cells) + "\n")
    write_text(path, "".join(lines))


def read_tomogram_list(path: str | Path) -> dict[int, str]:
    """Read a Dynamo list of tomograms (`number path` a line) as file name by number.

    Raises
    ------
    PicksError
        If a line is not a whole number and a path, or a number comes twice.
    """
    path = Path(path)
    names: dict[int, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2 or not words[0].isdecimal() or int(words[0]) in names:
            problem = f"is {line[:60]!r}, expected a new whole number and a path"
            raise PicksError(f"{path}: line {number}", problem, "mend the list")
        names[int(words[0])] = words[1].strip()
    return names


def write_tomogram_list(path: Path, names: dict[int, str]) -> None:
    """Write a Dynamo list of tomograms."""
    write_text(path, "".join(f"{number} {name}\n" for number, name in sorted(names.items())))


def _number(path: Path, line: int, column: int, text: str) -> float:
    number = parse_number(text)
    if number is None:
        raise PicksError(f"{path}: line {line}, column {column}", f"is {text[:40]!r}", advise_number(text))
    return number
