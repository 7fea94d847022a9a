"""Thresholds against trying every one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.locate import fit_threshold


def f_beta_of(selected: list[bool], pairs: list[tuple[int, int]], references: int, beta: float) -> float:
    hit = {reference for candidate, reference in pairs if selected[candidate]}
    return (1 + beta**2) * len(hit) / (beta**2 * references + sum(selected))


def test_threshold_lies_nearer_to_the_next_candidate_the_more_a_miss_costs() -> None:
    threshold = fit_threshold([0.9, *[0.2] * 20, 0.7], [(0, 0), (21, 1)], 2, beta=4)
    assert threshold.value == pytest.approx(0.2 + 0.5 / 17)
    assert threshold.f_beta == threshold.curve.best == 1.0
    assert threshold.curve.thresholds.tolist() == [0.9, 0.7, 0.2]
    assert threshold.curve.true_positives.tolist() == [1, 2, 2]
    assert threshold.curve.candidate_counts.tolist() == [1, 2, 22]


def test_a_few_false_picks_do_not_outweigh_half_a_hit() -> None:
    hits = [(0, 0), (1, 1)]
    for false_picks, expected in ((11, 0.2), (12, 0.2 + 0.5 / 17)):
        threshold = fit_threshold([0.9, 0.7, *[0.2] * false_picks], hits, 2, beta=4)
        assert threshold.value == pytest.approx(expected)
        assert threshold.f_beta >= threshold.curve.best - 0.5 * 17 / (16 * 2 + 2)


def test_within_a_gap_it_is_the_probability_worth_picking() -> None:
    hits = [(0, 0), (21, 1)]
    assert fit_threshold([0.9, *[0.2] * 20, 0.7], hits, 2, beta=1).value == pytest.approx(0.5)
    assert fit_threshold([0.9, *[0.01] * 20, 0.7], hits, 2, beta=4).value == pytest.approx(1 / 17)
    assert fit_threshold([0.04, 0.01], [(0, 0)], 1, beta=4).value == pytest.approx(0.04)


def test_when_all_candidates_are_worth_it_the_threshold_is_the_lowest_score() -> None:
    assert fit_threshold([0.9, 0.3], [(0, 0), (1, 1)], 2, beta=4).value == 0.3


def test_the_golden_counts() -> None:
    """Ten references, eight hit, thirty candidates."""
    scores = np.linspace(0.9, 0.3, 30)
    threshold = fit_threshold(scores, [(29, 0), *((row, row + 1) for row in range(7))], 10, beta=4)
    assert threshold.curve.f_beta[-1] == pytest.approx(17 * 8 / (160 + 30))


def test_beta_decides_how_many_false_picks_a_hit_may_cost() -> None:
    scores, pairs = np.linspace(0.9, 0.1, 10), [(0, 0), (9, 1)]
    assert fit_threshold(scores, pairs, 2, beta=4).value == pytest.approx(0.1)
    assert fit_threshold(scores, pairs, 2, beta=0.5).value > 0.7


def test_one_candidate_may_hit_two_references_and_minus_one_is_none() -> None:
    threshold = fit_threshold([0.9, 0.5], [(0, 0), (0, 1), (1, -1)], 2, beta=4)
    assert threshold.curve.best == pytest.approx(17 * 2 / (32 + 1))


def test_of_equally_good_thresholds_the_nearest_to_the_probability_worth_picking_is_taken() -> None:
    threshold = fit_threshold([0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [(0, 0), (4, 1)], 3, beta=1)
    assert threshold.curve.f_beta.tolist() == pytest.approx([1 / 2, 2 / 5, 1 / 3, 2 / 7, 1 / 2, 4 / 9])
    assert threshold.value == pytest.approx(0.3)


@pytest.mark.parametrize("scores", [[], [0.5, 0.4]])
def test_without_a_hit_nothing_is_selected(scores: list[float]) -> None:
    threshold = fit_threshold(scores, np.zeros((0, 2)), 3, beta=4)
    assert (threshold.value, threshold.f_beta) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "pairs", "references", "message"),
    [
        ([0.5], [], 0, "at least one reference"),
        ([np.nan], [], 1, "finite"),
        ([0.5], [(1, 0)], 1, "beyond 1 and 1"),
        ([0.5], [(0, 1)], 1, "beyond 1 and 1"),
        ([0.5], [(-1, 0)], 1, "beyond 1 and 1"),
    ],
)
def test_threshold_refuses_nonsense(
    scores: list[float], pairs: list[tuple[int, int]], references: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_threshold(scores, pairs, references, beta=4)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=12),
    st.sampled_from([0.5, 1.0, 4.0]),
)
def test_no_threshold_is_better_by_more_than_half_a_hit(
    tenths: list[int], pairs: list[tuple[int, int]], beta: float
) -> None:
    scores = [tenth / 10 for tenth in tenths]
    pairs = [(candidate % len(scores), reference) for candidate, reference in pairs]
    threshold = fit_threshold(scores, pairs, 5, beta=beta)
    reached = f_beta_of([score >= threshold.value for score in scores], pairs, 5, beta)
    best = max(f_beta_of([score >= limit for score in scores], pairs, 5, beta) for limit in scores)
    assert reached == pytest.approx(threshold.f_beta)
    assert threshold.curve.best == pytest.approx(best)
    assert reached >= best - 0.5 * (1 + beta**2) / (beta**2 * 5) - 1e-12
