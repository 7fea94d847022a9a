"""Precision, recall and F-beta of every threshold, with the selection that was made marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import ScoreConfig
from cryofind.scoring.match import DEFAULT_CONFIG, ObjectMatches, in_reach_rule, match_candidates
from cryofind.types import ParticleSpec, Picks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CurvePoint:
    """One selection of candidates, and what it scores.

    Parameters
    ----------
    threshold
        The lowest score that it selects; None if it selects nothing.
    picks
        Candidates selected.
    true_positives
        Hits, as the scorer counts them.
    precision, recall, f_beta
        As the scorer computes them; 0 where undefined.
    """

    threshold: float | None
    picks: int
    true_positives: int
    precision: float
    recall: float
    f_beta: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """What each distinct score of an object's candidates gives as threshold, highest first; arrays of shape (T,).

    Parameters
    ----------
    name
        The object.
    reference_count
        Its true particles.
    thresholds
        The distinct scores: candidates at or above are selected.
    picks
        Candidates selected.
    true_positives
        Hits, as the scorer counts them.
    precision, recall, f_beta
        As the scorer computes them.
    chosen
        The selection that was made (`selected` of the picks). It lies on the curve unless thresholds differ by run.
    """

    name: str
    reference_count: int
    thresholds: Floats
    picks: Ints
    true_positives: Ints
    precision: Floats
    recall: Floats
    f_beta: Floats
    chosen: CurvePoint

    @property
    def best(self) -> CurvePoint:
        """The point of the highest F-beta: of equal ones that of the highest threshold."""
        if not len(self.thresholds):
            return CurvePoint(None, 0, 0, 0.0, 0.0, 0.0)
        row = int(np.argmax(self.f_beta))
        picks, hits = int(self.picks[row]), int(self.true_positives[row])
        ratios = float(self.precision[row]), float(self.recall[row]), float(self.f_beta[row])
        return CurvePoint(float(self.thresholds[row]), picks, hits, *ratios)

    def thinned(self, count: int = 200) -> "ScoreCurve":
        """Return at most about `count` points of the curve for a plot: evenly by rank, the ends and the best kept."""
        length = len(self.thresholds)
        if length <= count:
            return self
        even = np.linspace(0, length - 1, count - 1).round().astype(np.int64)
        rows = np.unique(np.append(even, np.argmax(self.f_beta)))
        return replace(
            self,
            thresholds=self.thresholds[rows],
            picks=self.picks[rows],
            true_positives=self.true_positives[rows],
            precision=self.precision[rows],
            recall=self.recall[rows],
            f_beta=self.f_beta[rows],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as a JSON-ready dictionary; thin it before, for a file to be read."""
        columns = ("thresholds", "picks", "true_positives", "precision", "recall", "f_beta")
        return {
            "object": self.name,
            "reference_count": self.reference_count,
            "chosen": self.chosen.to_dict(),
            "best": self.best.to_dict(),
            **{column: getattr(self, column).tolist() for column in columns},
        }


def trace_curves(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    *,
    config: ScoreConfig = DEFAULT_CONFIG,
    runs: Sequence[str] | None = None,
) -> dict[str, ScoreCurve]:
    """Return for every object of the truth what each threshold would score, all runs pooled.

    Every point is what `score` would say of the candidates at or above it, in all modes. (`locate.fit_threshold` has
    the closed form of the challenge's rule, for candidates of which it is known what they hit.)

    Parameters
    ----------
    candidates
        Picks; `selected` marks the selection that was made.
    truth
        True picks; all rows count.
    specs
        The objects, with their radii.
    config
        Mode, beta and match radius.
    runs
        Runs that count; those of the truth when None.

    Raises
    ------
    PicksError, ConfigError
        As `match_candidates` says.
    """
    matches = match_candidates(candidates, truth, specs, config=in_reach_rule(config), runs=runs)
    return {
        name: _trace(name, match, candidates.selected[match.candidate_rows], config)
        for name, match in matches.items()
        if match.reference_count
    }


def _trace(name: str, match: ObjectMatches, selected: NDArray[np.bool_], config: ScoreConfig) -> ScoreCurve:
    thresholds = np.unique(match.scores)[::-1]
    columns = _rate(match, match.scores, thresholds, config)
    picks, hits, precision, recall, f_beta = (
        column[0] for column in _rate(match, selected.astype(np.float64), np.ones(1), config)
    )
    lowest = float(match.scores[selected].min()) if selected.any() else None
    chosen = CurvePoint(lowest, int(picks), int(hits), float(precision), float(recall), float(f_beta))
    return ScoreCurve(name, match.reference_count, thresholds, *columns, chosen)


def _rate(
    match: ObjectMatches, scores: Floats, thresholds: Floats, config: ScoreConfig
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Return picks, true positives, precision, recall and F-beta of every threshold, shape (T,) each."""
    picks = _count_at_least(scores, thresholds)
    found_at = _find_scores_of_hits(match, scores, config.mode)
    found = _count_at_least(found_at, thresholds)
    hits = _count_at_least(scores[match.candidate_is_hit], thresholds) if config.mode == "octopi" else found
    missed = match.reference_count - found
    precision = hits / np.maximum(picks, 1)
    recall = hits / np.maximum(hits + missed, 1)
    weight = config.beta**2
    denominator = weight * precision + recall
    f_beta = (1 + weight) * precision * recall / np.where(denominator > 0, denominator, 1.0)
    return picks, hits, precision, recall, f_beta


def _count_at_least(values: Floats, thresholds: Floats) -> Ints:
    return np.asarray(len(values) - np.searchsorted(np.sort(values), thresholds, side="left"), dtype=np.int64)


def _find_scores_of_hits(match: ObjectMatches, scores: Floats, mode: str) -> Floats:
    """Return the score of the threshold at which each particle that any candidate finds begins to count."""
    if mode == "one-to-one":
        return _find_augmenting(match.pairs, scores)
    best = np.full(match.reference_count, -np.inf)
    np.maximum.at(best, match.pairs[:, 1], scores[match.pairs[:, 0]])
    return np.asarray(best[np.isfinite(best)], dtype=np.float64)


def _find_augmenting(pairs: Ints, scores: Floats) -> Floats:
    """Return the scores of the candidates with which the largest one-to-one assignment grows, best candidates first.

    Assignments form a matroid, so that greedy choice gives the largest at every threshold (Kuhn's augmenting paths).
    """
    reach_of: dict[int, list[int]] = {}
    for candidate, reference in pairs.tolist():
        reach_of.setdefault(candidate, []).append(reference)
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    ordered = sorted(reach_of, key=lambda candidate: -scores[candidate])
    grown = [scores[candidate] for candidate in ordered if _augment(candidate, reach_of, owner, held)]
    return np.array(grown, dtype=np.float64)


def _augment(candidate: int, reach_of: dict[int, list[int]], owner: dict[int, int], held: dict[int, int]) -> bool:
    """Give a candidate a reference, moving others if need be; say whether that was possible."""
    asked_by: dict[int, int] = {}
    waiting = [candidate]
    for asking in waiting:
        for reference in reach_of[asking]:
            if reference in asked_by:
                continue
            asked_by[reference] = asking
            if reference not in owner:
                _pass_on(reference, asked_by, owner, held)
                return True
            waiting.append(owner[reference])
    return False


def _pass_on(free: int, asked_by: dict[int, int], owner: dict[int, int], held: dict[int, int]) -> None:
    """Hand the free reference to who asked for it, the one that this held to who asked for that, and so on."""
    reference: int | None = free
    while reference is not None:
        taker = asked_by[reference]
        given_up = held.get(taker)
        owner[reference], held[taker] = taker, reference
        reference = given_up
