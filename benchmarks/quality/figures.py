"""What picks of several tomograms are worth, with the uncertainty that so few tomograms leave."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.config import ScoreConfig
from cryofind.scoring import match_candidates, score
from cryofind.types import ParticleSpec, Picks
from cryofind.types.scores import ObjectScore

Floats = NDArray[np.float64]

BETA_SQUARED = ScoreConfig().beta ** 2
DRAWS = 4000
# An interval from fewer promises more than it holds.
LEAST_RUNS = 6
RECALL = 0.8
# Picks of the challenge's seven training tomograms, by tomogram of 184 x 630 x 630 voxels of 10.012 Angstrom.
REAL_ABUNDANCE = {
    "apo-ferritin": 375 / 7,
    "beta-amylase": 87 / 7,
    "beta-galactosidase": 112 / 7,
    "ribosome": 331 / 7,
    "thyroglobulin": 251 / 7,
    "virus-like-particle": 113 / 7,
}


@dataclass(frozen=True)
class Estimate:
    """A figure and the 95 % interval that drawing the tomograms anew gives.

    Of fewer than `LEAST_RUNS` tomograms there is none: `low` and `high` are infinite.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference counts."""
        return self.low > 0 or self.high < 0

    def as_numbers(self) -> dict[str, float | None]:
        """Return figure and interval, JSON-ready: None where there is no interval."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Counts:
    """Of every run and object, shape (R, K): references, those that were hit, and selected picks.

    Parameters
    ----------
    objects
        Names of the K objects.
    weights
        Share of each in the total, shape (K,).
    runs
        Names of the R runs.
    references, hits, picks
        The counts. A second pick on one reference is a false one, as in the challenge.
    """

    objects: tuple[str, ...]
    weights: Floats
    runs: tuple[str, ...]
    references: Floats
    hits: Floats
    picks: Floats

    @classmethod
    def of(
        cls, picks: Picks, truth: Picks, specs: Sequence[ParticleSpec], *, runs: Sequence[str] | None = None
    ) -> "Counts":
        """Return the scorer's counts of the selected picks; `runs` as of `cryofind.score`."""
        report = score(picks, truth, specs, runs=runs)
        objects = tuple(report.objects)
        table = np.array([[_read(report.runs[run][name]) for name in objects] for run in report.runs], float)
        weights = np.array([report.objects[name].weight for name in objects]) / report.divisor
        return cls(objects, weights, tuple(report.runs), *np.moveaxis(table, -1, 0))

    def f_beta(self, draws: NDArray[np.int64] | None = None, factors: Floats | float = 1.0) -> Floats:
        """Return F4 by object, pooled over runs, shape (K,) or, of draws of runs (D, R), (D, K).

        `factors` are those on false picks. F4 = 17 TP / (16 references + TP + false picks); NaN without references.
        """
        rows = np.arange(len(self.runs))[None] if draws is None else draws
        references, hits, picks = (table[rows].sum(axis=1) for table in (self.references, self.hits, self.picks))
        weighed = BETA_SQUARED * references + hits + factors * (picks - hits)
        by_object = np.where(references > 0, (1 + BETA_SQUARED) * hits / np.maximum(weighed, 1e-9), np.nan)
        return np.asarray(by_object[0] if draws is None else by_object)

    def total(self, draws: NDArray[np.int64] | None = None, factors: Floats | float = 1.0) -> Floats:
        """Return the weighted mean of F4 over objects, of all runs or of each draw; NaN for draws without one."""
        weighed = self.weights > 0
        return np.asarray(self.f_beta(draws, factors)[..., weighed] @ self.weights[weighed])

    def abundance_factors(self, volumes_per_run: float) -> Floats:
        """Return how many times as many of each object a run holds as a real one of its size would.

        False picks by volume stay what they are where the particles are fewer, so each weighs so many times as much.

        Raises
        ------
        ValueError
            If an object is not one of the challenge, whose abundance is not known.
        """
        if unknown := set(self.objects) - set(REAL_ABUNDANCE):
            raise ValueError(f"abundance of {', '.join(sorted(unknown))} in real tomograms is not known")
        real = np.array([REAL_ABUNDANCE[name] for name in self.objects]) * volumes_per_run
        return np.asarray(self.references.mean(axis=0) / real)


def _read(counted: ObjectScore) -> tuple[int, int, int]:
    return counted.tp + counted.fn, counted.tp, counted.tp + counted.fp


def draw_runs(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return rows of runs drawn with replacement, shape (`DRAWS`, count): the same for every method."""
    return np.random.default_rng(seed).integers(0, count, (DRAWS, count))


def estimate_total(counts: Counts, factors: Floats | float = 1.0) -> Estimate:
    """Return the weighted F4 with its interval by bootstrap over runs."""
    drawn = counts.total(draw_runs(len(counts.runs)), factors)
    return _estimate(counts.total(None, factors), drawn, counts)


def estimate_objects(counts: Counts) -> dict[str, Estimate]:
    """Return F4 by object with its interval by bootstrap over runs."""
    values, drawn = counts.f_beta(), counts.f_beta(draw_runs(len(counts.runs)))
    return {name: _estimate(values[column], drawn[:, column], counts) for column, name in enumerate(counts.objects)}


def compare_paired(one: Counts, other: Counts) -> dict[str, Estimate]:
    """Return how much better `one` is than `other` on the same runs, in all (`total`) and by object.

    Raises
    ------
    ValueError
        If the runs or objects differ.
    """
    if one.runs != other.runs or one.objects != other.objects:
        raise ValueError("only picks of the same runs and objects can be compared")
    draws = draw_runs(len(one.runs))
    differences = {"total": _estimate(one.total() - other.total(), one.total(draws) - other.total(draws), one)}
    values, drawn = one.f_beta() - other.f_beta(), one.f_beta(draws) - other.f_beta(draws)
    for column, name in enumerate(one.objects):
        differences[name] = _estimate(values[column], drawn[:, column], one)
    return differences


def count_false_at_recall(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    *,
    recall: float = RECALL,
    runs: Sequence[str] | None = None,
) -> dict[str, float | None]:
    """Return the false picks by tomogram that each object costs at a recall; None where that is never reached.

    `candidates` are all that there are (`cryofind pick --set locate.floor_factor=0`), selected or not; `runs` as of
    `cryofind.score`. One pick on two particles counts as one that is true.
    """
    particles = [spec for spec in specs if spec.is_particle]
    counted = truth.run_names if runs is None else tuple(runs)
    found: dict[str, float | None] = {}
    for name, match in match_candidates(candidates, truth, particles, runs=counted).items():
        best_hit = np.full(match.reference_count, -np.inf)
        np.maximum.at(best_hit, match.pairs[:, 1], match.scores[match.pairs[:, 0]])
        needed = int(np.ceil(recall * match.reference_count))
        threshold = np.sort(best_hit)[::-1][needed - 1] if needed else np.inf
        false = np.count_nonzero(match.scores >= threshold) - np.count_nonzero(best_hit >= threshold)
        found[name] = max(0.0, float(false)) / len(counted) if np.isfinite(threshold) else None
    return found


def _estimate(value: Floats, drawn: Floats, counts: Counts) -> Estimate:
    if len(counts.runs) < LEAST_RUNS:
        return Estimate(float(value), -np.inf, np.inf)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
