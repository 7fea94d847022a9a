"""Tables of points in CSV files, recognised by their header. All are in Angstrom, x, y, z."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofind.coordinates import rotations_zyx_from_xyz, zyx_from_xyz
from cryofind.errors import NameRefused, PicksError, advise_known_names
from cryofind.io.text import advise_number, parse_number, read_text
from cryofind.types import Picks, check_name, check_run_name
from cryofind.types.picks import CSV_COLUMNS

TRANSFORM_COLUMNS = tuple(f"transform_{row}{column}" for row in range(4) for column in range(4))

_KAGGLE_COLUMNS = ("experiment", "particle_type", "x", "y", "z")
_COPICK_COLUMNS = ("run_name", "x", "y", "z")
_PLAIN_COLUMNS = ("x", "y", "z")
_KNOWN_HEADERS = "experiment,particle_type,x,y,z or run_name,x,y,z,... or x,y,z or that of picks.csv"


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file.

    Parameters
    ----------
    path
        Where it was read.
    header
        Column names, stripped.
    rows
        Cells of every row that is not blank, as many as columns.
    lines
        Line number of every row.
    """

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def has(self, *columns: str) -> bool:
        """Say whether all these columns exist."""
        return set(columns) <= set(self.header)

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column."""
        index = self.header.index(column)
        return [row[index] for row in self.rows]

    def numbers(self, column: str) -> list[float]:
        """Return the cells of a column as finite numbers; `PicksError` names line and column of one that is none."""
        return [self._number(line, column, text) for line, text in zip(self.lines, self.texts(column), strict=True)]

    def names(self, column: str, check: Callable[[str], str]) -> list[str]:
        """Return the cells of a column, each checked as a name; `PicksError` names line and column of a refused one."""
        known: set[str] = set()
        texts = self.texts(column)
        for line, text in zip(self.lines, texts, strict=True):
            if text in known:
                continue
            try:
                known.add(check(text))
            except NameRefused as error:
                where = f"{self.path}: line {line}: {column}"
                raise PicksError(where, f"is {text[:60]!r}: {error.problem}", error.advice) from error
        return texts

    def _number(self, line: int, column: str, text: str) -> float:
        number = parse_number(text)
        if number is None:
            raise PicksError(f"{self.path}: line {line}: {column}", f"is {text[:40]!r}", advise_number(text))
        return number


def read_csv_table(path: str | Path) -> CsvTable:
    """Read the cells of a CSV file with a header: UTF-8, comma-separated; blank lines are passed over.

    Raises
    ------
    PicksError
        If the file cannot be read, has no header, repeats a column, or a row has too few or many cells (with its line).
    """
    path = Path(path)
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        _check_header(path, header)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                where = f"{path}: line {reader.line_num}"
                problem = f"has {len(row)} fields, expected {len(header)} ({','.join(header)[:80]})"
                raise PicksError(where, problem, "separate fields by commas and write numbers with a decimal point")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise PicksError(f"{path}: line {reader.line_num}", f"is not CSV ({error})", "mend the line") from error
    return CsvTable(path, header, rows, lines)


def read_points_table(
    path: str | Path,
    *,
    run: str | None = None,
    object_name: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Picks:
    """Read a table of points; its kind is told by its header.

    Known are `picks.csv`, the challenge's truth and submissions (`experiment,particle_type,x,y,z`), copick's CSV
    (`run_name,x,y,z,...`, one object a file), and plain `x,y,z`. Other columns are passed over.

    Parameters
    ----------
    path
        CSV file, UTF-8.
    run, object_name
        Names for tables that do not hold them.
    columns
        Names of the file's columns by what they mean: `x`, `y`, `z`, and if present `run`, `object`, `score`. Then the
        header is not guessed.

    Returns
    -------
    Picks
        Positions in Angstrom, as the file has them.

    Raises
    ------
    PicksError
        If the header is not known, a name is missing or unsafe, or a cell is wrong (with line and column).
    """
    path = Path(path)
    table = read_csv_table(path)
    if columns is not None:
        return _read_mapped(table, columns, run, object_name)
    if table.header == CSV_COLUMNS:
        return _read_own(table)
    if table.has(*_KAGGLE_COLUMNS):
        mapping = {"run": "experiment", "object": "particle_type", "x": "x", "y": "y", "z": "z"}
        return _read_mapped(table, mapping, None, None)
    if table.has(*_COPICK_COLUMNS):
        return _read_copick(table, object_name)
    if table.has(*_PLAIN_COLUMNS):
        mapping = {name: name for name in ("x", "y", "z", "score") if table.has(name)}
        return _read_mapped(table, mapping, run, object_name)
    raise PicksError(
        path, f"header is {','.join(table.header)[:80]!r}, of no known table", _advise_header(table.header)
    )


def is_plain_points_table(path: str | Path) -> bool:
    """Say whether a CSV file is a plain `x,y,z` table, which states neither run nor object nor unit.

    Raises
    ------
    PicksError
        If it cannot be read.
    """
    table = read_csv_table(path)
    named = table.has(*_KAGGLE_COLUMNS) or table.has(*_COPICK_COLUMNS) or table.header == CSV_COLUMNS
    return table.has(*_PLAIN_COLUMNS) and not named


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    if not any(header):
        raise PicksError(path, "is empty, expected a header", f"begin it with {_KNOWN_HEADERS}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise PicksError(path, f"column '{repeated[0]}' occurs twice", "keep one of them")


def _advise_header(header: tuple[str, ...]) -> str:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return "separate the fields by commas"
    return f"begin it with {_KNOWN_HEADERS}"


def _read_own(table: CsvTable) -> Picks:
    for line, text in zip(table.lines, table.texts("selected"), strict=True):
        if text not in {"0", "1"}:
            raise PicksError(f"{table.path}: line {line}: selected", f"is {text[:40]!r}", "give 0 or 1")
    return Picks.build(
        table.names("run", check_run_name),
        table.names("object", check_name),
        _positions_zyx(table, "x_angstrom", "y_angstrom", "z_angstrom"),
        scores=table.numbers("score"),
        selected=np.array(table.texts("selected"), dtype=np.str_) == "1",
    )


def _read_mapped(table: CsvTable, columns: Mapping[str, str], run: str | None, object_name: str | None) -> Picks:
    for name in columns.values():
        if name not in table.header:
            advice = advise_known_names(name, table.header)
            raise PicksError(f"{table.path}: header", f"column '{name}' is missing", advice)
    missing = [axis for axis in "xyz" if axis not in columns]
    if missing:
        raise ValueError(f"columns must name x, y and z; {missing} missing")
    return Picks.build(
        _names_or(table, columns.get("run"), run, "run", check_run_name),
        _names_or(table, columns.get("object"), object_name, "object", check_name),
        _positions_zyx(table, columns["x"], columns["y"], columns["z"]),
        scores=table.numbers(columns["score"]) if "score" in columns else None,
    )


def _read_copick(table: CsvTable, object_name: str | None) -> Picks:
    """Add the translation of the transforms, as copick does; identity transforms are no orientations."""
    names = _names_or(table, None, object_name, "object", check_name)
    positions = _positions_zyx(table, "x", "y", "z")
    rotations = None
    if table.has(*TRANSFORM_COLUMNS):
        cells = np.array([table.numbers(column) for column in TRANSFORM_COLUMNS], dtype=np.float64)
        transforms = cells.reshape(4, 4, -1).transpose(2, 0, 1)
        positions = positions + zyx_from_xyz(transforms[:, :3, 3])
        if not np.array_equal(transforms[:, :3, :3], np.broadcast_to(np.eye(3), (len(transforms), 3, 3))):
            rotations = rotations_zyx_from_xyz(transforms[:, :3, :3])
    return Picks.build(
        table.names("run_name", check_run_name),
        names,
        positions,
        scores=table.numbers("score") if table.has("score") else None,
        rotations_zyx=rotations,
    )


def _positions_zyx(table: CsvTable, x: str, y: str, z: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return zyx_from_xyz(np.array([table.numbers(x), table.numbers(y), table.numbers(z)], dtype=np.float64).T)


def _names_or(
    table: CsvTable, column: str | None, given: str | None, what: str, check: Callable[[str], str]
) -> list[str]:
    if column is not None:
        return table.names(column, check)
    if given is None:
        raise PicksError(table.path, f"does not say which {what} its points belong to", f"name the {what}")
    return [check(given)] * len(table.rows)
