"""Every mode against its rule, written out pick by pick."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.scoring import score
from cryofind.types import Picks

Point = tuple[float, float, float]
Counts = tuple[int, int, int]

RUNS = ("A", "B", "C")
NAMES = ("apo-ferritin", "beta-amylase", "ribosome", "thyroglobulin")
FACTORS = {"kaggle": 0.5, "one-to-one": 0.5, "octopi": 0.8}


@st.composite
def pick_tables(draw: Any) -> tuple[Picks, Picks]:
    """Predictions and a truth on a coarse lattice, so that crowds and exact distances are common."""

    def table(rows: list[tuple[str, str, tuple[int, int, int]]]) -> Picks:
        return Picks.build([r[0] for r in rows], [r[1] for r in rows], [np.array(r[2]) * 15.0 for r in rows])

    place = st.tuples(*[st.integers(0, 6)] * 3)
    row = st.tuples(st.sampled_from(RUNS), st.sampled_from(NAMES), place)
    predictions = draw(st.lists(row, max_size=25))
    truth = draw(st.lists(row, max_size=14, unique_by=lambda r: (r[0], r[2])))
    return table(predictions), table(truth)


def distance(a: Point, b: Point) -> float:
    return float(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5)


def most_matches(candidates: list[Point], references: list[Point], radius: float) -> int:
    """Try every assignment (Kuhn's augmenting paths, by recursion)."""
    partner: dict[int, int] = {}

    def place(candidate: int, tried: set[int]) -> bool:
        for reference in range(len(references)):
            if reference in tried or distance(candidates[candidate], references[reference]) > radius:
                continue
            tried.add(reference)
            if reference not in partner or place(partner[reference], tried):
                partner[reference] = candidate
                return True
        return False

    return sum(place(candidate, set()) for candidate in range(len(candidates)))


def count(candidates: list[Point], references: list[Point], radius: float, mode: str) -> Counts:
    if mode == "octopi":
        tp = sum(any(distance(c, r) < radius for r in references) for c in candidates)
        fn = sum(not any(distance(c, r) < radius for c in candidates) for r in references)
        return tp, len(candidates) - tp, fn
    if mode == "one-to-one":
        tp = most_matches(candidates, references, radius)
    else:
        tp = sum(any(distance(c, r) <= radius for c in candidates) for r in references)
    return tp, len(candidates) - tp, len(references) - tp


def f_beta(counts: Counts, beta: float) -> float:
    tp, fp, fn = counts
    return (1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp) if tp else 0.0


def points(picks: Picks, run: str, name: str) -> list[Point]:
    return [tuple(p) for p in picks.of_run(run).of_object(name).positions_zyx_angstrom.tolist()]


@pytest.mark.parametrize("mode", ["kaggle", "one-to-one", "octopi"])
@settings(deadline=None, max_examples=60)
@given(pick_tables(), st.sampled_from([1.0, 4.0]))
def test_score_follows_the_rule(mode: str, tables: tuple[Picks, Picks], beta: float) -> None:
    predictions, truth = tables
    report = score(predictions, truth, config=ScoreConfig.model_validate({"mode": mode, "beta": beta}))
    total, divisor = 0.0, 0.0
    for spec in czii.OBJECTS:
        if spec.name not in truth.object_names:
            assert spec.name not in report.objects
            divisor += spec.score_weight if mode != "octopi" else 0.0
            continue
        radius = spec.particle_radius_angstrom * FACTORS[mode]
        by_run = {
            run: count(points(predictions, run, spec.name), points(truth, run, spec.name), radius, mode)
            for run in truth.run_names
        }
        expected = tuple(sum(parts) for parts in zip(*by_run.values(), strict=True))
        found = report.objects[spec.name]
        assert (found.tp, found.fp, found.fn) == expected
        if mode == "octopi":
            assert found.f_beta == pytest.approx(f_beta(expected, beta))
        else:
            references = len(truth.of_object(spec.name))
            candidates = expected[0] + expected[1]
            closed_form = (1 + beta**2) * expected[0] / (beta**2 * references + candidates)
            assert found.f_beta == pytest.approx(closed_form)
        for run, counts in by_run.items():
            rated = report.runs[run][spec.name]
            assert (rated.tp, rated.fp, rated.fn) == counts
        total += spec.score_weight * found.f_beta
        divisor += spec.score_weight
    assert report.divisor == divisor
    assert report.f_beta == pytest.approx(total / divisor if divisor else 0.0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_one_to_one_has_the_least_total_distance(seed: int, candidate_count: int, reference_count: int) -> None:
    from cryofind.scoring import match_candidates

    random = np.random.default_rng(seed)
    candidates = random.uniform(0, 150, (candidate_count, 3))
    references = random.uniform(0, 150, (reference_count, 3))
    config = ScoreConfig(mode="one-to-one")
    found = match_candidates(
        Picks.build("A", "ribosome", candidates),
        Picks.build("A", "ribosome", references),
        czii.OBJECTS,
        config=config,
    )["ribosome"]
    slots = [*range(reference_count), *[-1] * candidate_count]
    options = []
    for chosen in set(permutations(slots, candidate_count)):
        lengths = [float(np.linalg.norm(candidates[c] - references[r])) for c, r in enumerate(chosen) if r >= 0]
        if all(length <= 75 for length in lengths):
            options.append((-len(lengths), sum(lengths)))
    best_count, best_distance = min(options)
    assert len(found.pairs) == -best_count
    assert found.distances_angstrom.sum() == pytest.approx(best_distance)
