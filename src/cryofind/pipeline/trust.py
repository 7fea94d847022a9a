"""What to expect of the picks of one tomogram without a truth, and the selection that is expected to be best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import Config
from cryofind.errors import ModelError
from cryofind.locate import Abundance, count_expected_best, estimate_abundance
from cryofind.pipeline.tuning import Tuning
from cryofind.scoring import weighted_specs
from cryofind.types import CandidateCounts, ParticleSpec, Picks

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Selection:
    """The picks of one tomogram.

    Parameters
    ----------
    picks
        Every candidate, with calibrated scores; `selected` marks those that are worth it.
    trust
        What to expect of them, for `run.json` and `describe_trust`.
    """

    picks: Picks
    trust: Record


def check_expected(tuning: Tuning, config: Config) -> None:
    """Refuse thresholds by expectation where nothing is known to expect it from.

    Raises
    ------
    ModelError
        If no object of the model has a calibration with counts.
    """
    if config.locate.thresholds == "expected" and not _known_counts(tuning):
        problem = "needs calibrated scores, and those of the model are not, or by an older cryofind"
        raise ModelError("thresholds 'expected'", problem, "calibrate the model with `cryofind tune`")


def select_picks(candidates: Picks, tuning: Tuning, specs: Sequence[ParticleSpec], config: Config) -> Selection:
    """Return the candidates of one tomogram, with raw scores, calibrated and selected as the recipe says.

    With thresholds `expected` those are selected of which the highest F-beta is to be expected; a score is then the
    probability that was used for it. Objects without a calibration are always selected by their threshold.

    Raises
    ------
    ModelError
        As in `check_expected`.
    """
    check_expected(tuning, config)
    picks = tuning.select(candidates)
    scores, selected = picks.scores.copy(), picks.selected.copy()
    objects: dict[str, Record] = {}
    for name, counts in _known_counts(tuning).items():
        rows = np.flatnonzero(picks.objects == name)
        abundance = estimate_abundance(scores[rows], counts, factor_spread=config.locate.abundance_spread)
        if config.locate.thresholds == "expected":
            best = count_expected_best(abundance.probabilities, abundance.expected, beta=config.score.beta)
            selected[rows] = False
            selected[rows[np.argsort(-abundance.probabilities, kind="stable")[:best]]] = True
            scores[rows] = abundance.probabilities
        objects[name] = _describe_object(abundance, selected[rows])
    names = [spec.name for spec in specs if spec.is_particle]
    known = {name: objects[name] for name in names if name in objects}
    trust = {
        **_sum_up(known, specs, config),
        "objects": known,
        "calibrated_without_counts": [name for name in names if name in tuning.calibration and name not in known],
        "not_calibrated": [name for name in names if name not in tuning.calibration],
    }
    return Selection(replace(picks, scores=scores, selected=selected), trust)


def _known_counts(tuning: Tuning) -> dict[str, CandidateCounts]:
    return {name: known.counts for name, known in tuning.calibration.items() if known.counts is not None}


def _describe_object(abundance: Abundance, selected: NDArray[np.bool_]) -> Record:
    picks, hits = int(np.count_nonzero(selected)), float(abundance.probabilities[selected].sum())
    return {
        "expected": round(abundance.expected, 2),
        "interval_95": [round(abundance.low, 2), round(abundance.high, 2)],
        "abundance_factor": round(abundance.factor, 4),
        "picks": picks,
        "expected_hits": round(hits, 2),
        "expected_precision": _ratio(hits, picks),
        "expected_recall": _ratio(hits, abundance.expected),
    }


def _sum_up(objects: dict[str, Record], specs: Sequence[ParticleSpec], config: Config) -> Record:
    """Return precision and recall of all objects together: of picks and particles, and weighted as the score weighs."""
    weights = dict.fromkeys(objects, 1.0)
    precision, recall = _share_of_hits(objects, weights)
    if any(spec.score_weight for spec in specs if spec.is_particle):
        weighted = weighted_specs(Picks.empty(), specs, config.score)
        weights = {spec.name: spec.score_weight for spec in weighted}
    weighted_precision, weighted_recall = _share_of_hits(objects, weights)
    return {
        "picks": sum(known["picks"] for known in objects.values()),
        "expected_precision": precision,
        "expected_recall": recall,
        "weighted_expected_precision": weighted_precision,
        "weighted_expected_recall": weighted_recall,
    }


def _share_of_hits(objects: dict[str, Record], weights: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Return which share of the picks, and of the particles, the hits are."""
    hits, picks, expected = (
        sum(weights[name] * known[field] for name, known in objects.items())
        for field in ("expected_hits", "picks", "expected")
    )
    return _ratio(hits, picks), _ratio(hits, expected)


def _ratio(part: float, whole: float) -> float | None:
    """Return a share with 4 decimals, at most 1; None of nothing."""
    return round(min(part / whole, 1.0), 4) if whole > 0 else None


def describe_trust(run: str, trust: Record, familiarity: Record | None = None) -> str:
    """Return what to expect of a run's picks as one line, from its record's `trust` and `familiarity`."""
    objects, older, others = trust["objects"], trust.get("calibrated_without_counts", []), trust["not_calibrated"]
    if not objects and not older:
        return f"{run}: scores are not calibrated, so nothing can be expected of them (`cryofind tune`)"
    parts = [f"about {_describe_numbers(trust)}"] if objects else []
    if older:
        unknown = "calibrated by an older cryofind: how many particles to expect is not known (`cryofind tune`)"
        parts.append(f"{', '.join(older)} {unknown}")
    if others:
        parts.append(f"not calibrated: {', '.join(others)}")
    if objects and familiarity is not None and familiarity["warning"] is not None:
        parts.append("unlike the tomograms it learnt from: do not rely on these numbers")
    return f"{run}: {'; '.join(parts)}"


def _describe_numbers(trust: Record) -> str:
    numbers = []
    for name, known in trust["objects"].items():
        low, high = known["interval_95"]
        # Whole particles, outwards: so it was measured how many of the intervals hold.
        numbers.append(f"{known['expected']:.0f} ({math.floor(low)}-{math.ceil(high)}) {name}")
    precision, recall = (_percent(trust[key]) for key in ("expected_precision", "expected_recall"))
    return f"{', '.join(numbers)}; of {trust['picks']} picks {precision} expected right, recall {recall}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
