"""What may not change what is said of failures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import ScoreConfig
from cryofind.scoring import analyse_failures, measure_residuals
from cryofind.types import ParticleSpec, Picks, VoxelGrid

SPECS = tuple(ParticleSpec(name, radius, label) for name, radius, label in (("a", 40.0, 1), ("b", 70.0, 2)))
GRIDS = {run: VoxelGrid.isotropic((40, 60, 60), 10.0) for run in "AB"}
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int) -> tuple[Picks, Picks]:
    """Draw particles, picks near most of them and strays, with distinct scores."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    truth = Picks.build(
        list(random.choice(["A", "B"], count)),
        list(random.choice(["a", "b"], count)),
        random.uniform(0, (400, 600, 600), (count, 3)),
    )
    near = truth.where(random.random(count) < 0.8)
    moved = near.positions_zyx_angstrom + random.normal(0, 12, (len(near), 3))
    strays = random.uniform(0, (400, 600, 600), (count // 2, 3))
    names = [*near.objects.tolist(), *random.choice(["a", "b"], count // 2).tolist()]
    runs = [*near.runs.tolist(), *random.choice(["A", "B"], count // 2).tolist()]
    scores = random.permutation(len(names)) / max(len(names), 1)
    picks = Picks.build(runs, names, np.concatenate([moved, strays]), scores=scores, selected=scores > 0.3)
    return picks, truth


@pytest.mark.parametrize("mode", ["kaggle", "one-to-one", "octopi"])
@settings(deadline=None, max_examples=12)
@given(seed=SEEDS)
def test_the_order_of_rows_changes_nothing(mode: str, seed: int) -> None:
    picks, truth = draw(seed)
    random = np.random.default_rng(seed)
    order, other = random.permutation(len(picks)), random.permutation(len(truth))
    config = ScoreConfig.model_validate({"mode": mode})
    found = analyse_failures(picks, truth, SPECS, GRIDS, config=config)
    again = analyse_failures(picks.where(order), truth.where(other), SPECS, GRIDS, config=config)
    assert again.sentences == found.sentences
    assert again.confusions == found.confusions
    assert [table.to_dict() for table in again.tables] == [table.to_dict() for table in found.tables]
    np.testing.assert_array_equal(again.picks.verdicts, found.picks.verdicts[order])
    np.testing.assert_array_equal(again.truths.causes, found.truths.causes[other])


@settings(deadline=None, max_examples=12)
@given(SEEDS)
def test_each_run_is_judged_on_its_own(seed: int) -> None:
    picks, truth = draw(seed)
    together = analyse_failures(picks, truth, SPECS, GRIDS)
    for run in truth.run_names:
        # An object of another run is scored there, and thereby its picks in this one.
        of_run = np.isin(picks.objects, truth.of_run(run).object_names) & (picks.runs == run)
        alone = analyse_failures(picks.where(of_run), truth.of_run(run), SPECS, GRIDS)
        np.testing.assert_array_equal(alone.picks.verdicts, together.picks.verdicts[of_run])
        np.testing.assert_array_equal(alone.truths.verdicts, together.truths.verdicts[truth.runs == run])


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.tuples(*[st.floats(-5.0, 5.0)] * 3))
def test_a_shift_of_all_adds_to_the_residual(seed: int, shift: tuple[float, float, float]) -> None:
    _, truth = draw(seed)
    picks = Picks.build(
        truth.runs.tolist(), truth.objects.tolist(), truth.positions_zyx_angstrom + np.array(shift), scores=None
    )
    # One to one: of particles that lie almost at one place each has its own pick.
    found = analyse_failures(picks, truth, SPECS, GRIDS, config=ScoreConfig(mode="one-to-one"))
    pooled = measure_residuals(picks, truth, found.picks, GRIDS).pooled
    assert pooled is not None
    assert pooled.count == len(truth)
    np.testing.assert_allclose(pooled.mean_zyx_angstrom, shift, atol=1e-9)
