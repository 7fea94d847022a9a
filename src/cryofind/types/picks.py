"""A table of picks, and its text form `picks.csv`."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.atomic import write_text
from cryofind.coordinates import xyz_from_zyx, zyx_from_xyz
from cryofind.errors import PicksError

# The run of picks whose tomogram was given without a name.
UNNAMED_RUN = "tomogram"

CSV_COLUMNS = ("run", "object", "x_angstrom", "y_angstrom", "z_angstrom", "score", "selected")


def _no_rotations() -> NDArray[np.float64] | None:
    return None


@dataclass(frozen=True, eq=False)
class Picks:
    """Picks of any number of runs and objects, one row each.

    Parameters
    ----------
    runs, objects
        Name of the run and of the object, N strings each.
    positions_zyx_angstrom
        Centres, shape (N, 3), zyx, Angstrom, finite.
    scores
        Shape (N,), 0 to 1, comparable within one object; 1 for picks that carry none (a truth). Default all 1.
    selected
        Shape (N,), whether the pick passed its object's threshold. Default all True.
    rotations_zyx
        Shape (N, 3, 3), particle frame to tomogram frame, acting on zyx column vectors; None when unknown.

    Raises
    ------
    ValueError
        If lengths disagree or a position is not finite.
    """

    runs: NDArray[np.str_]
    objects: NDArray[np.str_]
    positions_zyx_angstrom: NDArray[np.float64]
    scores: NDArray[np.float64]
    selected: NDArray[np.bool_]
    rotations_zyx: NDArray[np.float64] | None = field(default_factory=_no_rotations)

    def __post_init__(self) -> None:
        count = len(self.runs)
        lengths = {count, len(self.objects), len(self.scores), len(self.selected)}
        if len(lengths) != 1 or self.positions_zyx_angstrom.shape != (count, 3):
            raise ValueError(f"columns of picks differ in length: {sorted(lengths)}")
        if self.rotations_zyx is not None and self.rotations_zyx.shape != (count, 3, 3):
            raise ValueError(f"rotations have shape {self.rotations_zyx.shape}, expected {(count, 3, 3)}")
        if not (np.isfinite(self.positions_zyx_angstrom).all() and np.isfinite(self.scores).all()):
            raise ValueError("positions and scores of picks must be finite")

    @classmethod
    def build(
        cls,
        runs: str | Sequence[str],
        objects: str | Sequence[str],
        positions_zyx_angstrom: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        selected: ArrayLike | None = None,
        rotations_zyx: ArrayLike | None = None,
    ) -> "Picks":
        """Return picks from array-likes; one string for `runs` or `objects` stands for every row."""
        positions = np.asarray(positions_zyx_angstrom, dtype=np.float64).reshape(-1, 3)
        count = len(positions)
        return cls(
            _names(runs, count),
            _names(objects, count),
            positions,
            np.ones(count) if scores is None else np.asarray(scores, dtype=np.float64),
            np.ones(count, bool) if selected is None else np.asarray(selected, dtype=bool),
            None if rotations_zyx is None else np.asarray(rotations_zyx, dtype=np.float64),
        )

    @classmethod
    def empty(cls) -> "Picks":
        """Return a table without rows."""
        return cls.build([], [], np.zeros((0, 3)))

    @classmethod
    def concatenate(cls, tables: Iterable["Picks"]) -> "Picks":
        """Return all rows of the tables in order; rotations are kept only if every non-empty table has them."""
        tables = [table for table in tables if len(table)]
        if not tables:
            return cls.empty()
        rotations = [table.rotations_zyx for table in tables if table.rotations_zyx is not None]
        return cls(
            np.concatenate([table.runs for table in tables]),
            np.concatenate([table.objects for table in tables]),
            np.concatenate([table.positions_zyx_angstrom for table in tables]),
            np.concatenate([table.scores for table in tables]),
            np.concatenate([table.selected for table in tables]),
            np.concatenate(rotations) if len(rotations) == len(tables) else None,
        )

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def run_names(self) -> tuple[str, ...]:
        """The runs that occur, sorted."""
        return tuple(sorted({str(run) for run in self.runs}))

    @property
    def object_names(self) -> tuple[str, ...]:
        """The objects that occur, sorted."""
        return tuple(sorted({str(name) for name in self.objects}))

    def where(self, keep: NDArray[np.bool_] | NDArray[np.integer]) -> "Picks":
        """Return the rows that a mask of shape (N,) keeps, or that an index array names, in its order."""
        return Picks(
            self.runs[keep],
            self.objects[keep],
            self.positions_zyx_angstrom[keep],
            self.scores[keep],
            self.selected[keep],
            None if self.rotations_zyx is None else self.rotations_zyx[keep],
        )

    def of_run(self, run: str) -> "Picks":
        """Return the rows of one run."""
        return self.where(self.runs == run)

    def of_object(self, name: str) -> "Picks":
        """Return the rows of one object."""
        return self.where(self.objects == name)

    def only_selected(self) -> "Picks":
        """Return the rows whose score passed the threshold of their object."""
        return self.where(self.selected)

    def selected_above(self, thresholds: dict[str, float], *, default: float = 0.5) -> "Picks":
        """Return the same rows with `selected` set anew: score >= the object's threshold (or `default`)."""
        limits = np.array([thresholds.get(str(name), default) for name in self.objects], dtype=np.float64)
        return Picks(
            self.runs,
            self.objects,
            self.positions_zyx_angstrom,
            self.scores,
            self.scores >= limits,
            self.rotations_zyx,
        )

    def with_scores(self, scores: ArrayLike) -> "Picks":
        """Return the same rows with other scores, shape (N,)."""
        return Picks(
            self.runs,
            self.objects,
            self.positions_zyx_angstrom,
            np.asarray(scores, dtype=np.float64),
            self.selected,
            self.rotations_zyx,
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 of the objects and positions of one run, to recognise the run by its picks.

        Neither the order of rows nor the run's name, scores or rotations matter. Positions count to 0.1 Angstrom,
        after rounding to the 3 decimals that files carry, so a table and its written copy agree.

        Raises
        ------
        ValueError
            If the picks are of several runs.
        """
        if len(self.run_names) > 1:
            raise ValueError(f"picks of one run have a fingerprint, found runs {', '.join(self.run_names)}")
        tenths = np.rint(np.rint(self.positions_zyx_angstrom * 1000) / 100).astype(np.int64)
        rows = sorted(f"{name} {z} {y} {x}" for name, (z, y, x) in zip(self.objects, tenths, strict=True))
        return hashlib.sha256("\n".join(rows).encode("utf-8")).hexdigest()

    def to_csv_text(self) -> str:
        """Return the table as `picks.csv`: Angstrom with 3 decimals, score with 6, selected as 0 or 1."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        points_xyz = xyz_from_zyx(self.positions_zyx_angstrom)
        for run, name, (x, y, z), score, selected in zip(
            self.runs, self.objects, points_xyz, self.scores, self.selected, strict=True
        ):
            writer.writerow([run, name, f"{x:.3f}", f"{y:.3f}", f"{z:.3f}", f"{score:.6f}", int(selected)])
        return text.getvalue()

    def to_csv(self, path: str | Path) -> None:
        """Write `picks.csv` (see `to_csv_text`), beside its final name and renamed."""
        write_text(Path(path), self.to_csv_text())

    @classmethod
    def from_csv(cls, path: str | Path) -> "Picks":
        """Read a `picks.csv`.

        Raises
        ------
        PicksError
            If the file is missing, the header differs, or a row cannot be understood (with its line).
        """
        path = Path(path)
        try:
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise PicksError(path, f"cannot be read ({error})", "give a picks.csv written by cryofind") from error
        header = tuple(rows[0]) if rows else ()
        if header != CSV_COLUMNS:
            raise PicksError(path, f"header is {','.join(header)[:80]!r}", f"expected {','.join(CSV_COLUMNS)!r}")
        parsed = [_parse_row(path, line, row) for line, row in enumerate(rows[1:], start=2) if row]
        if not parsed:
            return cls.empty()
        runs, objects, numbers = zip(*parsed, strict=True)
        table = np.array(numbers, dtype=np.float64)
        return cls.build(
            runs, objects, zyx_from_xyz(table[:, :3]), scores=table[:, 3], selected=table[:, 4].astype(bool)
        )


def _names(names: str | Sequence[str], count: int) -> NDArray[np.str_]:
    if isinstance(names, str):
        names = [names] * count
    return np.array(names, dtype=np.str_)


def _parse_row(path: Path, line: int, row: list[str]) -> tuple[str, str, list[float]]:
    where = f"{path}: line {line}"
    if len(row) != len(CSV_COLUMNS):
        raise PicksError(where, f"has {len(row)} fields, expected {len(CSV_COLUMNS)}", "write the file anew")
    for column, text in zip(CSV_COLUMNS[2:], row[2:], strict=True):
        try:
            finite = bool(np.isfinite(float(text)))
        except ValueError:
            finite = False
        if not finite:
            raise PicksError(f"{where}: {column}", f"is {text!r}", "give a finite number with a decimal point")
    if row[-1] not in {"0", "1"}:
        raise PicksError(f"{where}: selected", f"is {row[-1]!r}", "give 0 or 1")
    return row[0], row[1], [float(text) for text in row[2:]]
