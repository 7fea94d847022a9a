"""Mean offsets of matched picks: planted shifts come back, and noise is passed over."""

import json

import numpy as np
import pytest

from cryofind.scoring import Residuals, analyse_failures, measure_residuals
from cryofind.types import ParticleSpec, Picks, VoxelGrid

SPECS = (ParticleSpec("large", 120.0, 1), ParticleSpec("small", 60.0, 2))
GRIDS = {run: VoxelGrid.isotropic((200, 600, 600), 10.0) for run in "ABC"}


def shift(
    seed: int, zyx: tuple[float, float, float], *, only: str = "", count: int = 150, known: bool = True
) -> Residuals:
    """Return the residuals of picks that scatter by 6 Angstrom about their particles, shifted by `zyx`."""
    random = np.random.default_rng(seed)
    runs, names = random.choice(list("ABC"), count), random.choice(["large", "small"], count)
    truth = Picks.build(list(runs), list(names), random.uniform(0, (2000, 6000, 6000), (count, 3)))
    is_shifted = (runs == only) | (names == only) | (only == "")
    positions = truth.positions_zyx_angstrom + random.normal(0, 6.0, (count, 3)) + is_shifted[:, None] * np.array(zyx)
    picks = Picks.build(list(runs), list(names), positions)
    grids = GRIDS if known else {}
    return measure_residuals(picks, truth, analyse_failures(picks, truth, SPECS, grids).picks, grids)


@pytest.mark.parametrize(
    ("offset", "cause"),
    [
        (5.0, "one side counts from the corner of a voxel, the other from its middle"),
        (10.0, "one side counts voxels from 1, the other from 0"),
    ],
)
def test_a_shift_of_voxels_comes_back_with_its_likely_cause(offset: float, cause: str) -> None:
    residuals = shift(1, (offset, offset, offset))
    pooled = residuals.pooled
    assert pooled is not None
    np.testing.assert_allclose(pooled.mean_zyx_angstrom, offset, atol=3 * max(pooled.error_zyx_angstrom))
    np.testing.assert_allclose(pooled.error_zyx_angstrom, 6.0 / np.sqrt(pooled.count), rtol=0.2)
    (sentence,) = residuals.sentences  # and not one more for every object and run
    assert sentence.startswith(f"{pooled.count} matched picks lie off their particles by +")
    assert all(f"along {axis}" in sentence for axis in "zyx")
    assert sentence.endswith(f"as when {cause}.")


def test_one_axis_of_one_run_or_object_is_named() -> None:
    of_run = shift(2, (0.0, 0.0, -10.0), only="B", count=240)
    assert [part.run for part in of_run.by_run if any(part.stands_out)] == ["B"]
    (of_b,) = (text for text in of_run.sentences if "in run B lie off" in text)
    assert "along x" in of_b
    assert "along z" not in of_b
    assert of_b.endswith("on average.")  # who counts voxels from 1 does so along z, too
    of_object = shift(3, (4.0, 0.0, 0.0), only="small", count=240)
    named = [part.object for part in of_object.by_object if part.stands_out[0]]
    assert named == ["small"]
    assert not any("along y" in text or "along x" in text for text in of_object.sentences)


def test_noise_and_slight_shifts_are_passed_over() -> None:
    for seed in range(10, 25):
        assert shift(seed, (0.0, 0.0, 0.0)).sentences == ()
    slight = shift(4, (0.8, 0.0, 0.0), count=6000)  # far beyond three standard errors, but 0.08 voxels
    assert slight.pooled is not None
    assert slight.pooled.mean_zyx_angstrom[0] > 6 * slight.pooled.error_zyx_angstrom[0]
    assert slight.sentences == ()


def test_few_picks_prove_nothing_and_none_are_no_mean() -> None:
    assert shift(5, (9.0, 0.0, 0.0), count=2).sentences == ()
    single = shift(6, (9.0, 0.0, 0.0), count=1)
    assert single.pooled is not None
    assert single.pooled.error_zyx_angstrom == (np.inf,) * 3
    assert json.loads(json.dumps(single.to_dict(), allow_nan=False))["pooled"]["error_zyx_angstrom"] == [None] * 3
    nothing = shift(7, (500.0, 0.0, 0.0))
    assert nothing == Residuals(None, (), (), (), ())
    assert nothing.to_dict()["pooled"] is None


def test_without_a_voxel_spacing_nothing_is_said() -> None:
    residuals = shift(8, (5.0, 5.0, 5.0), known=False)
    assert residuals.sentences == ()
    assert residuals.pooled is not None
    assert residuals.pooled.spacing_angstrom is None


def test_parts_add_up_to_the_whole() -> None:
    residuals = shift(9, (1.0, 2.0, 3.0))
    assert residuals.pooled is not None
    for parts in (residuals.by_object, residuals.by_run, residuals.by_object_and_run):
        counts = [part.count for part in parts]
        assert sum(counts) == residuals.pooled.count
        means = np.average([part.mean_zyx_angstrom for part in parts], axis=0, weights=counts)
        np.testing.assert_allclose(means, residuals.pooled.mean_zyx_angstrom)
    assert len(residuals.by_object_and_run) == 6
    assert residuals.pooled.mean_zyx_angstrom == pytest.approx((1.0, 2.0, 3.0), abs=2.0)
