"""Verdicts, neighbours and chances against their definitions, written out one by one."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from cryofind.config import ScoreConfig
from cryofind.scoring import analyse_failures, score, trace_curves
from cryofind.scoring.chance import tail_probability
from cryofind.scoring.places import CROWDING_RADII, measure_membrane_distances, measure_places
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid

RADII = {"a": 60.0, "b": 90.0}
SPECS = tuple(ParticleSpec(name, radius, label) for label, (name, radius) in enumerate(RADII.items(), start=1))
FACTORS = {"kaggle": 0.5, "one-to-one": 0.5, "octopi": 0.8}
MODES = tuple(FACTORS)
RUNS = ("A", "B")
GRIDS = {run: VoxelGrid.isotropic((12, 20, 20), 10.0) for run in RUNS}


@st.composite
def tables(draw: Any) -> tuple[Picks, Picks]:
    """Draw candidates and a truth on a coarse lattice, so that crowds, ties and exact distances are common."""
    place = st.tuples(*[st.integers(0, 7)] * 3)
    row = st.tuples(st.sampled_from(RUNS), st.sampled_from(tuple(RADII)), place)
    candidates = draw(st.lists(st.tuples(row, st.sampled_from([0.1, 0.4, 0.4001, 0.9]), st.booleans()), max_size=20))
    truth = draw(st.lists(row, min_size=1, max_size=12, unique_by=lambda r: (r[0], r[2])))

    def build(rows: list[Any], **columns: Any) -> Picks:
        return Picks.build([r[0] for r in rows], [r[1] for r in rows], [np.array(r[2]) * 15.0 for r in rows], **columns)

    picks = build(
        [row for row, _, _ in candidates], scores=[s for _, s, _ in candidates], selected=[c for _, _, c in candidates]
    )
    return picks, build(truth)


def distances_between(first: Picks, second: Picks) -> np.ndarray[Any, Any]:
    """Return all distances, infinite between runs."""
    gaps = first.positions_zyx_angstrom[:, None] - second.positions_zyx_angstrom
    return np.where(first.runs[:, None] == second.runs, np.sqrt((gaps**2).sum(axis=-1)), np.inf)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(data=tables())
def test_verdicts_follow_the_rule_pick_by_pick(mode: str, data: tuple[Picks, Picks]) -> None:
    picks, truth = data
    found = analyse_failures(picks, truth, SPECS, GRIDS, config=ScoreConfig.model_validate({"mode": mode}))
    distances = distances_between(picks, truth)
    reach = np.array([RADII[name] * FACTORS[mode] for name in truth.objects.tolist()])
    near = distances < reach if mode == "octopi" else distances <= reach
    own = near & (picks.objects[:, None] == truth.objects)
    other = (distances <= reach) & (picks.objects[:, None] != truth.objects)
    is_found = found.truths.verdicts == "matched"
    judged = np.isin(picks.objects, truth.object_names)
    judged &= np.isin(picks.runs, truth.run_names)
    for row in range(len(truth)):
        hits = np.flatnonzero(own[:, row] & picks.selected)
        if mode != "one-to-one":
            assert is_found[row] == bool(len(hits))
        cause = "absent"
        if (own[:, row] & ~picks.selected).any():
            cause = "threshold"
        elif len(hits):
            cause = "shared"
        elif (other[:, row] & picks.selected).any():
            cause = "confused"
        assert found.truths.causes[row] == ("" if is_found[row] else cause)
    for row in range(len(picks)):
        is_hit = is_a_hit(row, picks, own, distances, is_found, mode, found)
        assert found.picks.verdicts[row] == ("" if not judged[row] else "matched" if is_hit else "false")
        cause = "duplicate" if own[row].any() else "confused" if other[row].any() else "background"
        assert found.picks.causes[row] == (cause if judged[row] and not is_hit else "")
        if other[row].any():
            nearest = np.where(other[row], distances[row], np.inf)
            assert distances[row, found.picks.confused_with[row]] == nearest.min()
        else:
            assert found.picks.confused_with[row] == -1


def is_a_hit(row: int, picks: Picks, own: Any, distances: Any, is_found: Any, mode: str, found: Any) -> bool:
    """Say whether a pick is a hit, from pairs in reach; of an assignment only that it pairs what is in reach."""
    if picks.selected[row] and mode == "one-to-one":
        hit = int(found.picks.hit_truths[row])
        return hit >= 0 and bool(own[row, hit])
    if picks.selected[row] and mode == "octopi":
        return bool(own[row].any())
    for truth_row in np.flatnonzero(own[row]):
        if not picks.selected[row] and is_found[truth_row]:
            continue
        rivals = np.flatnonzero(own[:, truth_row] & (picks.selected == picks.selected[row]))
        best = min(rivals, key=lambda rival: (-picks.scores[rival], distances[rival, truth_row], rival))
        if best == row:
            return True
    return False


@settings(deadline=None, max_examples=30)
@given(tables())
def test_the_nearest_is_the_nearest_of_all(data: tuple[Picks, Picks]) -> None:
    picks, truth = data
    found = analyse_failures(picks, truth, SPECS, GRIDS)
    distances = distances_between(picks, truth)
    for rows, gaps, table in (
        (found.picks.nearest_truths, found.picks.nearest_distances_angstrom, distances),
        (found.truths.nearest_candidates, found.truths.nearest_distances_angstrom, distances.T),
    ):
        nearest = table.min(axis=1, initial=np.inf)
        np.testing.assert_allclose(gaps, nearest)
        np.testing.assert_array_equal(rows < 0, np.isinf(nearest))
        for row in np.flatnonzero(rows >= 0):
            assert table[row, rows[row]] == pytest.approx(nearest[row])


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(data=tables())
def test_failures_are_those_of_the_score(mode: str, data: tuple[Picks, Picks]) -> None:
    picks, truth = data
    config = ScoreConfig.model_validate({"mode": mode})
    report = score(picks, truth, SPECS, config=config)
    found = analyse_failures(picks, truth, SPECS, GRIDS, config=config)
    assert len(found.missed_rows) == sum(rated.fn for rated in report.objects.values())
    if mode != "kaggle":  # there a pick that hits two particles makes up for a false one
        assert len(found.false_rows) == sum(rated.fp for rated in report.objects.values())
    for failure, rows in (("missed", len(found.missed_rows)), ("false", len(found.false_rows))):
        for table in found.tables:
            if table.failure == failure:
                assert sum(row.failures for row in table.bins) == rows
                assert table.unknown == 0 or table.circumstance == "membrane"


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=30)
@given(data=tables())
def test_curves_are_scores_at_every_threshold(mode: str, data: tuple[Picks, Picks]) -> None:
    picks, truth = data
    config = ScoreConfig.model_validate({"mode": mode})
    curves = trace_curves(picks, truth, SPECS, config=config)
    chosen = score(picks, truth, SPECS, config=config)
    assert set(curves) == set(chosen.objects)
    for name, curve in curves.items():
        candidates = picks.of_object(name).where(np.isin(picks.of_object(name).runs, truth.run_names))
        np.testing.assert_array_equal(curve.thresholds, np.unique(candidates.scores)[::-1])
        for row, threshold in enumerate(curve.thresholds):
            rated = score(picks.selected_above({}, default=threshold), truth, SPECS, config=config).objects[name]
            assert (curve.true_positives[row], curve.picks[row]) == (rated.tp, rated.tp + rated.fp)
            expected = (rated.precision, rated.recall, rated.f_beta)
            assert (curve.precision[row], curve.recall[row], curve.f_beta[row]) == pytest.approx(expected)
        rated = chosen.objects[name]
        assert (curve.chosen.true_positives, curve.chosen.picks) == (rated.tp, rated.tp + rated.fp)
        assert curve.chosen.f_beta == pytest.approx(rated.f_beta)
        assert curve.best.f_beta == curve.f_beta.max(initial=0.0)


@settings(deadline=None, max_examples=30)
@given(tables())
def test_places_are_those_of_a_comparison_with_everything(data: tuple[Picks, Picks]) -> None:
    _, truth = data
    labels = np.random.default_rng(len(truth)).random((12, 20, 20)) < 0.02
    volume = LabelVolume("A", labels.astype(np.uint8), GRIDS["A"], {1: "membrane"})
    (to_membrane,) = measure_membrane_distances([truth], {"A": lambda: volume})
    places = measure_places(truth, SPECS, GRIDS, to_membrane)
    radii = np.array([RADII[name] for name in truth.objects.tolist()])
    distances = distances_between(truth, truth)
    np.testing.assert_array_equal(places["crowding"], (distances <= CROWDING_RADII * radii[:, None]).sum(axis=1) - 1)
    extent = np.array([120.0, 200.0, 200.0])
    faces = np.concatenate([truth.positions_zyx_angstrom, extent - truth.positions_zyx_angstrom], axis=1)
    np.testing.assert_allclose(places["edge"], faces.min(axis=1) / radii)
    np.testing.assert_allclose(places["depth"], truth.positions_zyx_angstrom[:, 0] / 120.0)
    voxels = np.argwhere(labels) * 10.0
    for row in range(len(truth)):
        expected = np.nan
        if truth.runs[row] == "A":
            position = truth.positions_zyx_angstrom[row]
            expected = np.linalg.norm(voxels - position, axis=1).min(initial=np.inf)
            nearest = np.rint(position / 10.0).astype(int)
            if (nearest < labels.shape).all() and labels[tuple(nearest)]:
                expected = 0.0
        np.testing.assert_allclose(to_membrane[row], expected)


def test_a_chance_in_one_stratum_is_fishers() -> None:
    for failures, count, in_bin, seen in ((20, 100, 30, 12), (5, 9, 4, 4), (3, 50, 10, 0), (50, 400, 40, 17)):
        expected = hypergeom.sf(seen - 1, count, failures, in_bin)
        assert tail_probability(*one(failures, count, in_bin), seen) == pytest.approx(expected, rel=1e-6)


def one(*numbers: int) -> tuple[Any, Any, Any]:
    failures, counts, in_bin = (np.array([number]) for number in numbers)
    return failures, counts, in_bin


def test_a_chance_in_several_strata_is_that_of_all_combinations() -> None:
    strata = [(3, 8, 4), (1, 5, 2), (1, 5, 2), (6, 7, 3)]
    failures, counts, in_bin = (np.array(column) for column in zip(*strata, strict=True))
    for seen in range(3, 9):
        expected = 0.0
        for numbers in product(*(range(n + 1) for _, _, n in strata)):
            if sum(numbers) >= seen:
                terms = (hypergeom.pmf(k, count, f, n) for k, (f, count, n) in zip(numbers, strata, strict=True))
                expected += float(np.prod(list(terms)))
        assert tail_probability(failures, counts, in_bin, seen) == pytest.approx(expected, abs=1e-12)


def test_wide_sums_are_nearly_those_of_the_exact_test() -> None:
    # A variance above 100: the normal distribution stands in.
    for seen in (640, 660, 680):
        exact = hypergeom.sf(seen - 1, 6000, 3000, 1200)
        assert tail_probability(*one(3000, 6000, 1200), seen) == pytest.approx(exact, rel=0.1)
