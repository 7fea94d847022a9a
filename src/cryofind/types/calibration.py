"""What a score is worth: the curve from raw scores to probabilities, and the candidates that it was learnt from."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Knot = tuple[float, float]


@dataclass(frozen=True)
class CandidateCounts:
    """What the candidates were of which a calibration was learnt: those of at least `floor`, all runs together.

    Parameters
    ----------
    floor
        Probability from which on candidates were counted, 0 to 1.
    candidates
        Candidates of at least this probability.
    found
        Those of them that are new hits: the first to reach a particle that no better one reaches.
    references
        Annotated particles.
    spread
        How scores drift from tomogram to tomogram: standard deviation of a shift of all log-odds.

    Raises
    ------
    ValueError
        If the counts contradict each other.
    """

    floor: float
    candidates: int
    found: int
    references: int
    spread: float

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor is {self.floor}, expected a probability below 1")
        if not 0 <= self.found <= min(self.candidates, self.references) or self.references < 1:
            problem = f"{self.found} of {self.candidates} candidates cannot have found {self.references} references"
            raise ValueError(problem)
        if not (math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"spread is {self.spread}, expected 0 or more")

    @property
    def recall(self) -> float:
        """Share of the particles that have a candidate; never quite 0 or 1, half a particle being added to each."""
        return (self.found + 0.5) / (self.references + 1)

    @property
    def odds(self) -> float:
        """Hits to others among the candidates, half a candidate being added to each."""
        return (self.found + 0.5) / (self.candidates - self.found + 0.5)


@dataclass(frozen=True)
class Calibration:
    """How the raw scores of one object become probabilities: a line, or several, between log-odds.

    Parameters
    ----------
    knots
        Pairs of raw and calibrated log-odds, both strictly ascending, at least two. Between them the curve is straight,
        beyond them it goes on as it was.
    counts
        The candidates it was learnt from; None where that is not known.

    Raises
    ------
    ValueError
        If there are fewer than two knots, or one does not ascend.
    """

    knots: tuple[Knot, ...]
    counts: CandidateCounts | None = None

    def __post_init__(self) -> None:
        if len(self.knots) < 2:
            raise ValueError(f"{len(self.knots)} knots, expected two or more")
        if not all(math.isfinite(value) for knot in self.knots for value in knot):
            raise ValueError("a knot is not finite")
        if not all(low[0] < high[0] and low[1] < high[1] for low, high in pairwise(self.knots)):
            raise ValueError("knots must ascend in raw and in calibrated log-odds")

    @classmethod
    def line(cls, slope: float, intercept: float, counts: CandidateCounts | None = None) -> "Calibration":
        """Return calibrated log-odds = slope * raw log-odds + intercept; the slope is positive.

        Raises
        ------
        ValueError
            If the slope is not positive.
        """
        if not slope > 0:
            raise ValueError(f"slope is {slope}, expected a positive number")
        return cls(((0.0, intercept), (1.0, intercept + slope)), counts)

    @classmethod
    def read(cls, document: Any) -> Any:
        """Return the calibration of a card's entry: a list [slope, intercept] as older cards have it is a line."""
        if not isinstance(document, list | tuple):
            return document
        if len(document) != 2 or not all(isinstance(value, int | float) for value in document):
            raise ValueError(f"is {document!r}, expected [slope, intercept] or a table with knots")
        return cls.line(float(document[0]), float(document[1]))
