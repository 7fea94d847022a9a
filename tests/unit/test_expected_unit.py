"""What candidates say without a truth, against candidates whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from cryofind.locate import count_candidates, count_expected_best, estimate_abundance
from cryofind.types import CandidateCounts

Floats = NDArray[np.float64]


def draw_log_odds(hits: int, others: int, random: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Return log-odds that are calibrated where hits are a tenth of candidates: two normals of sd 2, four apart."""
    log_odds = np.concatenate([random.normal(2.0, 2.0, hits), random.normal(-2.0, 2.0, others)]) - np.log(9)
    return log_odds, np.arange(hits + others) < hits


COUNTS = CandidateCounts(0.0, 10_000, 1000, 1000, 0.0)


def test_the_number_of_particles_is_that_of_probabilities_over_recall() -> None:
    counts = CandidateCounts(0.01, 300, 79, 99, 0.0)
    found = estimate_abundance([0.9, 0.5, 0.1, 0.005], counts)
    assert found.expected == pytest.approx(1.5 / 0.795)
    assert found.probabilities.tolist() == pytest.approx([0.9, 0.5, 0.1, 0.005])
    assert found.factor == 1.0
    assert found.low < found.expected < found.high


def test_a_tomogram_without_candidates_holds_no_more_than_may_have_been_missed() -> None:
    found = estimate_abundance([], COUNTS)
    assert (found.expected, found.low, len(found.probabilities)) == (0.0, 0.0, 0)
    assert 0 < found.high < 1
    blind = estimate_abundance([], CandidateCounts(0.0, 500, 300, 1000, 0.0))
    assert (1 - 0.3) ** blind.high == pytest.approx(0.05, rel=0.01)


def test_one_faint_candidate_does_not_close_the_interval() -> None:
    found = estimate_abundance([0.01], CandidateCounts(0.0, 500, 300, 1000, 0.0))
    assert found.expected == pytest.approx(0.033, abs=0.001)
    assert found.low == pytest.approx(0.0, abs=1e-6)
    assert found.high == pytest.approx(8.4, abs=0.05)


@pytest.mark.parametrize("recall", [0.3, 0.8, 0.97])
@pytest.mark.parametrize("mean", [0.5, 2, 5])
def test_intervals_of_few_particles_hold(mean: float, recall: float) -> None:
    random = np.random.default_rng(4)
    counts = CandidateCounts(0.0, round(1000 * recall), round(1000 * recall), 1000, 0.0)
    holds = []
    for particles in random.poisson(mean, 200):
        # Every candidate is a hit, and said to be: what is not known is what has none.
        found = estimate_abundance([0.99] * random.binomial(particles, recall), counts)
        holds.append(np.floor(found.low) <= particles <= np.ceil(found.high))
    assert np.mean(holds) >= 0.95


@pytest.mark.parametrize("times", [0.1, 0.3, 1.0, 4.0])
def test_a_known_shift_of_abundance_is_recovered(times: float) -> None:
    random = np.random.default_rng(3)
    log_odds, _ = draw_log_odds(round(300 * times), 2700, random)
    found = estimate_abundance(expit(log_odds), COUNTS, factor_spread=2.0)
    assert found.factor == pytest.approx(times, rel=0.3)
    assert found.expected == pytest.approx(300 * times, rel=0.25)
    assert found.low < 300 * times < found.high


def test_the_factor_is_where_expectation_maximisation_settles() -> None:
    random = np.random.default_rng(0)
    log_odds, _ = draw_log_odds(900, 2000, random)
    prior = COUNTS.odds / (1 + COUNTS.odds)
    share = prior
    for _ in range(500):
        shifted = log_odds + logit(share) - logit(prior)
        share = float(expit(shifted).mean())
    settled = np.exp(logit(share) - logit(prior))
    assert settled > 3
    assert estimate_abundance(expit(log_odds), COUNTS, factor_spread=3.0).factor == pytest.approx(settled, rel=0.02)


def test_a_few_candidates_move_a_narrow_prior_little() -> None:
    found = estimate_abundance([0.9, 0.8, 0.7], COUNTS, factor_spread=0.2)
    assert 1 < found.factor < 1.3


def test_the_interval_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    counts = CandidateCounts(0.0, 8000, 800, 1000, 0.0)
    holds = []
    for particles in random.poisson(40, 400):
        hits = random.binomial(particles, 0.8)
        log_odds, _ = draw_log_odds(hits, 288, random)
        found = estimate_abundance(expit(log_odds), counts, factor_spread=0.5)
        holds.append(np.floor(found.low) <= particles <= np.ceil(found.high))
    assert 0.92 <= np.mean(holds) <= 0.995


def test_a_drift_of_scores_between_tomograms_widens_the_interval_so_that_it_holds() -> None:
    random = np.random.default_rng(2)

    def draw_run(hits: int) -> tuple[Floats, NDArray[np.bool_]]:
        log_odds, is_hit = draw_log_odds(hits, 9 * 40, random)
        return expit(log_odds + random.normal(0, 0.8)), is_hit

    numbers = random.poisson(40, 30)
    runs = [draw_run(number) for number in numbers]
    names = np.repeat([str(row) for row in range(30)], [len(scores) for scores, _ in runs])
    counts = count_candidates(
        np.concatenate([scores for scores, _ in runs]),
        np.concatenate([is_hit for _, is_hit in runs]),
        names,
        floor=0.0,
        references_by_run={str(row): int(number) for row, number in enumerate(numbers)},
    )
    assert counts.spread == pytest.approx(0.8, abs=0.3)
    holds: list[bool] = []
    narrow: list[bool] = []
    for number in random.poisson(40, 300):
        scores, _ = draw_run(number)
        for known, spread in ((holds, counts.spread), (narrow, 0.0)):
            found = estimate_abundance(scores, CandidateCounts(0.0, 10_000, 1000, 1000, spread))
            known.append(found.low <= number <= found.high)
    assert np.mean(holds) > 0.88
    assert np.mean(narrow) < np.mean(holds)


def test_candidates_below_the_floor_are_left_out_of_the_counts() -> None:
    counts = count_candidates(
        [0.9, 0.5, 0.001], [True, False, True], ["A", "A", "B"], floor=0.01, references_by_run={"A": 1, "B": 2}
    )
    assert (counts.candidates, counts.found, counts.references, counts.floor) == (2, 1, 3, 0.01)
    assert counts.spread > 0


def test_one_run_says_nothing_of_the_drift() -> None:
    spreads = {
        references: count_candidates([0.5] * 20, [True] * 5 + [False] * 15, ["A"] * 20, floor=0.0,
                                     references_by_run={"A": references}).spread
        for references in (9, 11)
    }  # fmt: skip
    assert len(set(spreads.values())) == 1


def test_the_expected_selection_is_near_the_best_that_the_truth_gives() -> None:
    random = np.random.default_rng(5)
    log_odds, is_hit = draw_log_odds(200, 1800, random)
    found = estimate_abundance(expit(log_odds), COUNTS)
    count = count_expected_best(found.probabilities, found.expected, beta=4)
    hits = np.cumsum(is_hit[np.argsort(-log_odds)])
    f_beta = 17 * hits / (16 * 200 + np.arange(1, len(hits) + 1))
    assert f_beta.max() - f_beta[count - 1] < 0.01
    assert 0 < count < len(hits)


def test_nothing_is_selected_of_nothing() -> None:
    assert count_expected_best([], 0.0, beta=4) == 0
    assert count_expected_best([0.0, 0.0], 3.0, beta=4) == 0
