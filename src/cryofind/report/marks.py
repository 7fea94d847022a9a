"""Picks as a page's script gets them: columns of numbers for each object, and which particle each is in reach of."""

from collections.abc import Sequence
from dataclasses import dataclass
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
        Centres of the M true particles, shape (M, 3); None without a truth.
    pairs
        Candidates and particles in reach of each other, shape (P, 2), the best pairs first.
    left_out
        How many more candidates there were.
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

    def limited_to(self, count: int) -> "ObjectMarks":
        """Return the marks with the selected candidates and, up to `count` in all, the best-scored others."""
        if len(self.scores) <= count:
            return self
        others = np.flatnonzero(~self.selected)
        room = max(0, count - int(self.selected.sum()))
        best = others[np.argsort(-self.scores[others], kind="stable")[:room]]
        kept = np.sort(np.concatenate([np.flatnonzero(self.selected), best]))
        new_index = np.full(len(self.scores), -1)
        new_index[kept] = np.arange(len(kept))
        pairs = self.pairs
        if pairs is not None:
            pairs = np.stack([new_index[pairs[:, 0]], pairs[:, 1]], axis=1)[new_index[pairs[:, 0]] >= 0]
        return ObjectMarks(
            self.name,
            self.radius_angstrom,
            self.color,
            self.weight,
            self.threshold,
            self.positions_zyx_angstrom[kept],
            self.scores[kept],
            self.selected[kept],
            self.truth_zyx_angstrom,
            pairs,
            len(self.scores) - len(kept),
        )

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
            "threshold": round(self.first_threshold, 6),
            "lowest": round(self.lowest, 6),
            "zyx": _columns(self.positions_zyx_angstrom),
            "scores": np.round(self.scores, 6).tolist(),
            "selected": "".join("1" if is_selected else "0" for is_selected in self.selected),
        }
        if self.truth_zyx_angstrom is not None and self.pairs is not None:
            data["truth"] = _columns(self.truth_zyx_angstrom)
            data["pairs"] = self.pairs.ravel().tolist()
        return data


def limit_marks(objects: Sequence[ObjectMarks], most: int = MAX_CANDIDATES) -> tuple[ObjectMarks, ...]:
    """Return the marks of a page with at most about `most` candidates, shared out by how many each object has."""
    total = sum(len(marks.scores) for marks in objects)
    if total <= most:
        return tuple(objects)
    return tuple(marks.limited_to(int(most * len(marks.scores) / total)) for marks in objects)


def _columns(positions_zyx_angstrom: Floats) -> list[list[float]]:
    return np.round(positions_zyx_angstrom.T, 1).tolist() if len(positions_zyx_angstrom) else [[], [], []]
