"""Picks whose axes, direction or unit are wrong are recognised, and picks that are merely bad are not."""

import numpy as np
import pytest

from cryofind.config import ScoreConfig
from cryofind.scoring.mistakes import find_mistake
from cryofind.types import ParticleSpec, Picks, VoxelGrid

SPECS = (ParticleSpec("ball", 60.0, 1),)
GRIDS = {run: VoxelGrid.isotropic((150, 400, 500), 12.5) for run in "AB"}
EXTENT = np.array(GRIDS["A"].extent_zyx_angstrom)
RANDOM = np.random.default_rng(3)
TRUTH = Picks.build(["A", "B"] * 30, "ball", RANDOM.uniform((0, 0, 0), EXTENT, (60, 3)))
TRUE = TRUTH.positions_zyx_angstrom


def find(
    positions: np.ndarray[tuple[int, int], np.dtype[np.float64]], *, known: bool = True, truth: Picks = TRUTH
) -> str:
    picks = Picks.build(list(truth.runs), "ball", positions)
    return find_mistake(picks, truth, SPECS, GRIDS if known else {}, config=ScoreConfig(), runs=("A", "B"))


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (TRUE[:, [2, 1, 0]], "if their columns x, y, z were taken for z, y, x"),
        (TRUE[:, [0, 2, 1]], "if their columns x, y, z were taken for y, x, z"),
        # The file's columns x, y, z hold z, x, y: so in zyx order y, x, z.
        (TRUE[:, [1, 2, 0]], "if their columns x, y, z were taken for z, x, y"),
        (np.array([1, 0, 0]) * EXTENT + np.array([-1, 1, 1]) * TRUE, "if z ran the other way"),
        (TRUE / 12.5, "if their coordinates were voxels"),
        (TRUE * 12.5, "if the truth's coordinates were voxels"),
    ],
)
def test_a_mistake_is_named(positions: np.ndarray[tuple[int, int], np.dtype[np.float64]], words: str) -> None:
    sentence = find(positions)
    assert words in sentence
    assert "would hit 60 (100 %)" in sentence


def test_without_grids_axes_are_tried_and_nothing_else() -> None:
    assert "z, y, x" in find(TRUE[:, ::-1], known=False)
    assert find(TRUE / 12.5, known=False) == ""


def test_good_bad_and_few_picks_are_passed_over() -> None:
    assert find(TRUE + 5.0) == ""
    assert find(RANDOM.uniform((0, 0, 0), EXTENT, (60, 3))) == ""
    few = TRUTH.where(np.arange(9))
    assert find(few.positions_zyx_angstrom[:, ::-1], truth=few) == ""
    assert find_mistake(Picks.empty(), TRUTH, SPECS, GRIDS, config=ScoreConfig(), runs=("A",)) == ""
