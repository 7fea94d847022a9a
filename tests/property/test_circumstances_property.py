"""What may not change the circumstances of particles, against a comparison of every two of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.scoring import find_circumstances, recall_by_circumstance, wilson_interval
from cryofind.types import ParticleSpec, Picks, VoxelGrid

SPECS = tuple(ParticleSpec(name, radius, label) for name, radius, label in (("a", 40.0, 1), ("b", 70.0, 2)))
GRIDS = {"A": VoxelGrid.isotropic((40, 80, 80), 10.0), "B": VoxelGrid.isotropic((60, 60, 60), 10.0)}
SEEDS = st.integers(0, 2**32 - 1)


def draw_truth(seed: int) -> Picks:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    positions = random.uniform((-20, -20, -20), (420, 620, 620), (count, 3))
    return Picks.build(list(random.choice(["A", "B"], count)), list(random.choice(["a", "b"], count)), positions)


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_every_particle_is_somewhere_and_alone_only_without_company(seed: int) -> None:
    masks = find_circumstances(draw_truth(seed), SPECS, GRIDS)
    assert np.logical_or.reduce(list(masks.values())).all()
    assert not (masks["alone"] & (masks["close-pair"] | masks["contact"] | masks["border"])).any()


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_circumstances_are_those_of_a_comparison_of_every_two(seed: int) -> None:
    truth = draw_truth(seed)
    radii = np.where(truth.objects == "a", 40.0, 70.0)
    distances = np.linalg.norm(truth.positions_zyx_angstrom[:, None] - truth.positions_zyx_angstrom, axis=-1)
    np.fill_diagonal(distances, np.inf)
    distances[truth.runs[:, None] != truth.runs] = np.inf
    is_same = truth.objects[:, None] == truth.objects
    masks = find_circumstances(truth, SPECS, GRIDS)
    np.testing.assert_array_equal(masks["close-pair"], (is_same & (distances < 2.6 * radii[:, None])).any(axis=1))
    touches = ~is_same & (distances < radii[:, None] + radii)
    np.testing.assert_array_equal(masks["contact"], touches.any(axis=1))


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    truth, random = draw_truth(seed), np.random.default_rng(seed)
    order = random.permutation(len(truth))
    masks, shuffled = find_circumstances(truth, SPECS, GRIDS), find_circumstances(truth.where(order), SPECS, GRIDS)
    for name, mask in masks.items():
        np.testing.assert_array_equal(shuffled[name], mask[order])
    moved = truth.positions_zyx_angstrom + random.normal(0, 20, (len(truth), 3))
    picks = Picks.build(list(truth.runs), list(truth.objects), moved, selected=random.random(len(truth)) < 0.7)
    table = recall_by_circumstance(picks, truth, SPECS, GRIDS)
    other = random.permutation(len(truth))
    assert recall_by_circumstance(picks.where(other), truth.where(order), SPECS, GRIDS) == table
    for row in table.values():
        assert all(recall.hits <= recall.located <= recall.references for recall in row.values())


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_what_was_seen(hits: int, others: int) -> None:
    low, high = wilson_interval(hits, hits + others)
    share = hits / (hits + others) if hits + others else 0.5
    assert 0 <= low <= share <= high <= 1
    mirrored = wilson_interval(others, hits + others)
    np.testing.assert_allclose(mirrored, (1 - high, 1 - low), atol=1e-12)
