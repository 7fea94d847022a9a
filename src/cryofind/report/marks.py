"""Picks as a page's script gets them: columns of numbers for each object, and which particle each is in reach of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.report.colors import Rgb, format_color

Floats = NDArray[np.float64]

# More candidates make a page slow to open; the selected ones are always there.
MAX_CANDIDATES = 20_000


@dataclass(frozen=True, eq=False)
class ObjectMarks:
    """The candidates and the true particles of one object in one run.

    Parameters
    ----------
    name
        The object.
    radius_angstrom
        Its radius.
    color
        Its colour.
    weight
        Its weight in the score.
    threshold
        Score from which its picks were selected; None where nothing says so.
    positions_zyx_angstrom
        Centres of the N candidates, shape (N, 3).
    scores
        Shape (N,).
    selected
        Shape (N,): those that the result selects.
    truth_zyx_angstrom
        Centres of the M true particles (or of the other result's candidates), shape (M, 3); None without a truth.
    pairs
        Candidates and particles in reach of each other, shape (P, 2), the best pairs first.
    left_out
        How many more candidates there were.
    other
        The other result's candidates, where two are compared: those that stand in the place of a truth.
    """

    name: str
    radius_angstrom: float
    color: Rgb
    weight: float
    threshold: float | None
    positions_zyx_angstrom: Floats
    scores: Floats
    selected: NDArray[np.bool_]
    truth_zyx_angstrom: Floats | None = None
    pairs: NDArray[np.int64] | None = None
    left_out: int = 0
    other: "ObjectMarks | None" = None

    @property
    def sides(self) -> tuple["ObjectMarks", ...]:
        """The marks of every result: these, and where two are compared the other's."""
        return (self,) if self.other is None else (self, self.other)

    def limited_to(self, share: float) -> "ObjectMarks":
        """Return the marks with the selected candidates and, up to a share of all, the best-scored others."""
        kept = self._choose(share)
        marks = self._keep(kept)
        pairs = self._renumber(self.pairs, 0, kept)
        if self.other is None:
            return replace(marks, pairs=pairs)
        kept_other = self.other._choose(share)
        other = self.other._keep(kept_other)
        pairs = self._renumber(pairs, 1, kept_other)
        return replace(marks, pairs=pairs, other=other, truth_zyx_angstrom=other.positions_zyx_angstrom)

    def _choose(self, share: float) -> NDArray[np.int64]:
        others = np.flatnonzero(~self.selected)
        room = max(0, int(share * len(self.scores)) - int(self.selected.sum()))
        best = others[np.argsort(-self.scores[others], kind="stable")[:room]]
        return np.sort(np.concatenate([np.flatnonzero(self.selected), best]))

    def _keep(self, kept: NDArray[np.int64]) -> "ObjectMarks":
        return replace(
            self,
            positions_zyx_angstrom=self.positions_zyx_angstrom[kept],
            scores=self.scores[kept],
            selected=self.selected[kept],
            left_out=len(self.scores) - len(kept),
        )

    @staticmethod
    def _renumber(pairs: NDArray[np.int64] | None, column: int, kept: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the pairs whose number in a column is kept (ascending), with its place among the kept."""
        if pairs is None:
            return None
        pairs = pairs[np.isin(pairs[:, column], kept)]
        numbers = np.searchsorted(kept, pairs[:, column])
        return np.stack([numbers, pairs[:, 1]] if column == 0 else [pairs[:, 0], numbers], axis=1)

    @property
    def has_scores(self) -> bool:
        """Whether there is anything to choose by a threshold: not among annotations, which all have the score 1."""
        return len(self.scores) > 0 and not (self.selected.all() and self.scores.min() == self.scores.max())

    @property
    def lowest(self) -> float:
        """The lowest threshold for which all candidates above are there."""
        if not self.left_out:
            return 0.0
        rest = self.scores[~self.selected]
        return float(rest.min()) if len(rest) else self.first_threshold

    @property
    def first_threshold(self) -> float:
        """What the slider shows at first: the threshold, else the lowest score that was selected, else 1."""
        if self.threshold is not None:
            return self.threshold
        return float(self.scores[self.selected].min()) if self.selected.any() else 1.0

    def as_data(self) -> dict[str, Any]:
        """Return the columns, JSON-ready: positions to 0.1 Angstrom, scores with 6 decimals."""
        data: dict[str, Any] = {
            "name": self.name,
            "radius": self.radius_angstrom,
            "color": format_color(self.color),
            "weight": self.weight,
            **self._choice_as_data(),
            "zyx": _columns(self.positions_zyx_angstrom),
        }
        if self.truth_zyx_angstrom is not None and self.pairs is not None:
            data["truth"] = _columns(self.truth_zyx_angstrom)
            data["pairs"] = self.pairs.ravel().tolist()
        if self.other is not None:
            data["other"] = self.other._choice_as_data()
        return data

    def _choice_as_data(self) -> dict[str, Any]:
        """Return what a slider chooses by."""
        return {
            "threshold": round(self.first_threshold, 6),
            "lowest": round(self.lowest, 6),
            "scores": np.round(self.scores, 6).tolist(),
            "selected": "".join("1" if is_selected else "0" for is_selected in self.selected),
        }


def limit_marks(objects: Sequence[ObjectMarks], most: int = MAX_CANDIDATES) -> tuple[ObjectMarks, ...]:
    """Return the marks of a page with at most about `most` candidates, shared out by how many each object has."""
    total = sum(len(side.scores) for marks in objects for side in marks.sides)
    if total <= most:
        return tuple(objects)
    return tuple(marks.limited_to(most / total) for marks in objects)


def _columns(positions_zyx_angstrom: Floats) -> list[list[float]]:
    return np.round(positions_zyx_angstrom.T, 1).tolist() if len(positions_zyx_angstrom) else [[], [], []]
