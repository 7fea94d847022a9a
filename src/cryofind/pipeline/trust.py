"""What to expect of the picks of one tomogram without a truth, and the selection that is expected to be best."""

from collections.abc import Sequence
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
    others = [name for name in names if name not in objects]
    trust = {**_sum_up(known, specs, config), "objects": known, "not_calibrated": others}
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
    """Return precision and recall of all objects together, each particle and pick with the weight of its object."""
    weights = dict.fromkeys(objects, 1.0)
    if any(spec.score_weight for spec in specs if spec.is_particle):
        weighted = weighted_specs(Picks.empty(), specs, config.score)
        weights = {spec.name: spec.score_weight for spec in weighted}
    hits, picks, expected = (
        sum(weights[name] * known[field] for name, known in objects.items())
        for field in ("expected_hits", "picks", "expected")
    )
    return {
        "picks": sum(known["picks"] for known in objects.values()),
        "expected_precision": _ratio(hits, picks),
        "expected_recall": _ratio(hits, expected),
    }


def _ratio(part: float, whole: float) -> float | None:
    """Return a share with 4 decimals, at most 1; None of nothing."""
    return round(min(part / whole, 1.0), 4) if whole > 0 else None


def describe_trust(run: str, trust: Record) -> str:
    """Return what to expect of a run's picks as one line."""
    objects, others = trust["objects"], trust["not_calibrated"]
    if not objects:
        return f"{run}: scores are not calibrated, so nothing can be expected of them (`cryofind tune`)"
    numbers = ", ".join(
        f"{known['expected']:.0f} ({known['interval_95'][0]:.0f}-{known['interval_95'][1]:.0f}) {name}"
        for name, known in objects.items()
    )
    line = f"{run}: about {numbers}; of {trust['picks']} picks {_percent(trust['expected_precision'])} expected right"
    line += f", recall {_percent(trust['expected_recall'])}"
    return f"{line}; not calibrated: {', '.join(others)}" if others else line


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
