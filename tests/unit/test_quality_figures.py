"""The figures of the quality benchmark against the scorer, and what their intervals say."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cryofind import czii, score
from cryofind.types import ParticleSpec, Picks
from tests.benchmark_scripts import import_scripts

SPECS = (ParticleSpec("a", 50.0, 1, score_weight=1.0), ParticleSpec("b", 100.0, 2, score_weight=2.0))


@pytest.fixture(scope="module")
def figures() -> Iterator[Any]:
    with import_scripts("quality", ["figures"]) as scripts:
        yield scripts.figures


def make_picks(runs: int, *, found: float, false: int, seed: int = 0) -> tuple[Picks, Picks]:
    """Return picks that find a share of the truth, and the truth: 20 of `a` and 10 of `b` in every run."""
    random = np.random.default_rng(seed)
    truth, picks = [], []
    for number in range(runs):
        for spec, count in zip(SPECS, (20, 10), strict=True):
            places = random.permutation(400)[: count + false][:, None] * [400.0, 0.0, 0.0] + [
                0.0,
                1000.0 * spec.label,
                0.0,
            ]
            is_found = random.random(count) < found
            chosen = np.concatenate([places[:count][is_found], places[count:]])
            truth.append(Picks.build(f"R{number}", spec.name, places[:count]))
            scores = np.concatenate([np.full(is_found.sum(), 0.9), np.full(false, 0.4)])
            picks.append(Picks.build(f"R{number}", spec.name, chosen, scores=scores))
    return Picks.concatenate(picks), Picks.concatenate(truth)


def test_the_total_is_that_of_the_scorer(figures: Any) -> None:
    picks, truth = make_picks(5, found=0.7, false=6)
    counts = figures.Counts.of(picks, truth, SPECS)
    report = score(picks, truth, SPECS)
    assert counts.f_beta() == pytest.approx([report.objects[name].f_beta for name in counts.objects])
    assert float(counts.total()) == pytest.approx(report.f_beta)
    assert figures.estimate_total(counts).value == pytest.approx(float(counts.total()))


def test_the_challenge_has_its_own_weights(figures: Any) -> None:
    plain = tuple(ParticleSpec(spec.name, spec.radius_angstrom, spec.label) for spec in czii.OBJECTS)
    truth = Picks.concatenate(
        Picks.build("R", spec.name, [[1000.0 * row, 0, 1000.0 * spec.label] for row in range(4)]) for spec in plain
    )
    picks = truth.where(truth.objects != "beta-amylase")
    assert float(figures.Counts.of(picks, truth, plain).total()) == pytest.approx(1.0)


def test_intervals_shrink_with_runs_and_hold_the_value(figures: Any) -> None:
    widths = []
    for runs in (6, 60):
        estimate = figures.estimate_total(figures.Counts.of(*make_picks(runs, found=0.6, false=5, seed=runs), SPECS))
        assert estimate.low <= estimate.value <= estimate.high
        widths.append(estimate.high - estimate.low)
    assert widths[1] < 0.6 * widths[0]


def test_few_tomograms_prove_nothing(figures: Any) -> None:
    picks, truth = make_picks(5, found=0.2, false=3)
    better, _ = make_picks(5, found=1.0, false=3)
    one, other = figures.Counts.of(better, truth, SPECS), figures.Counts.of(picks, truth, SPECS)
    assert not figures.compare_paired(one, other)["total"].excludes_zero


def test_draws_without_an_object_do_not_count(figures: Any) -> None:
    truth = Picks.concatenate([Picks.build(f"R{number}", "a", [[0.0, 0.0, 0.0]]) for number in range(2)])
    runs = [f"R{number}" for number in range(8)]
    estimate = figures.estimate_objects(figures.Counts.of(truth, truth, SPECS[:1], runs=runs))["a"]
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_a_paired_margin_counts_only_when_it_is_one(figures: Any) -> None:
    picks, truth = make_picks(12, found=0.7, false=3)
    better, _ = make_picks(12, found=0.95, false=3)
    one, other = figures.Counts.of(better, truth, SPECS), figures.Counts.of(picks, truth, SPECS)
    assert figures.compare_paired(one, other)["total"].excludes_zero
    same = figures.compare_paired(other, other)
    assert set(same) == {"total", "a", "b"}
    assert not any(estimate.excludes_zero for estimate in same.values())
    with pytest.raises(ValueError, match="same runs"):
        figures.compare_paired(one, figures.Counts.of(*make_picks(3, found=0.7, false=3), SPECS))


def test_false_picks_weigh_as_much_as_in_a_sparser_sample(figures: Any) -> None:
    counts = figures.Counts.of(*make_picks(6, found=1.0, false=20), SPECS)
    doubled = counts.total(None, np.array([2.0, 2.0]))
    # F4 = 17 TP / (16 references + TP + factor x false picks)
    expected = np.array([17 * 20 / (17 * 20 + 40), 17 * 10 / (17 * 10 + 40)]) @ [1, 2] / 3
    assert float(doubled) == pytest.approx(float(expected))
    real = ParticleSpec("ribosome", 150.0, 1)
    positions = np.arange(94.0)[:, None] * [400.0, 0, 0]
    crowded = figures.Counts.of(
        Picks.build("R", "ribosome", positions), Picks.build("R", "ribosome", positions), (real,)
    )
    assert crowded.abundance_factors(1.0) == pytest.approx([94 / (331 / 7)])
    assert crowded.abundance_factors(0.5) == pytest.approx([2 * 94 / (331 / 7)])


def test_false_picks_at_a_recall(figures: Any) -> None:
    picks, truth = make_picks(4, found=1.0, false=7)
    assert figures.count_false_at_recall(picks, truth, SPECS) == {"a": 0.0, "b": 0.0}
    doubled = Picks.concatenate([picks, picks.where(picks.scores > 0.8)])
    assert figures.count_false_at_recall(doubled, truth, SPECS) == {"a": 20.0, "b": 10.0}
    lower = picks.with_scores(1 - picks.scores)
    assert figures.count_false_at_recall(lower, truth, SPECS) == {"a": 7.0, "b": 7.0}
    few, truth = make_picks(4, found=0.2, false=7)
    assert figures.count_false_at_recall(few, truth, SPECS) == {"a": None, "b": None}
