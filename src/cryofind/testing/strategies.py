"""Hypothesis strategies for the types; needs `hypothesis`, which the package itself does not."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryofind import czii
from cryofind.types import Picks, VoxelGrid

RUN_NAMES = ("TS_1", "TS_2", "TS_99_9")


@st.composite
def grids(draw: st.DrawFn, *, max_size: int = 200, has_origin: bool = False) -> VoxelGrid:
    """Draw a VoxelGrid: sizes 1 to `max_size`, spacings 0.5 to 50 Angstrom by axis, origin 0 unless asked."""
    shape = draw(st.tuples(*[st.integers(1, max_size)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.5, 50.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-1e4, 1e4)] * 3)) if has_origin else (0.0, 0.0, 0.0)
    return VoxelGrid(shape, spacing, origin)


@st.composite
def positions(draw: st.DrawFn, grid: VoxelGrid, *, max_count: int = 20) -> NDArray[np.float64]:
    """Draw up to `max_count` positions inside a grid's box: float64 of shape (N, 3), zyx, Angstrom."""
    count = draw(st.integers(0, max_count))
    fractions = draw(st.lists(st.tuples(*[st.floats(0.0, 1.0)] * 3), min_size=count, max_size=count))
    offsets = np.reshape(np.array(fractions, dtype=np.float64), (-1, 3)) * grid.extent_zyx_angstrom
    return np.asarray(offsets + grid.origin_zyx_angstrom, dtype=np.float64)


@st.composite
def rotation_matrices(draw: st.DrawFn, *, count: int) -> NDArray[np.float64]:
    """Draw `count` proper rotations, shape (count, 3, 3)."""
    seed = draw(st.integers(0, 2**32 - 1))
    quaternions = np.random.default_rng(seed).normal(size=(count, 4))
    if not count:
        return np.zeros((0, 3, 3))
    return np.asarray(Rotation.from_quat(quaternions).as_matrix(), dtype=np.float64)


@st.composite
def picks(
    draw: st.DrawFn,
    *,
    grid: VoxelGrid = czii.TOMOGRAM_GRID,
    runs: Sequence[str] = RUN_NAMES,
    objects: Sequence[str] = czii.OBJECT_NAMES,
    max_count: int = 20,
    has_rotations: bool | None = None,
) -> Picks:
    """Draw Picks inside a grid's box, with scores 0 to 1; with rotations if asked, either way if None."""
    points = draw(positions(grid, max_count=max_count))
    count = len(points)

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=count, max_size=count))

    with_rotations = draw(st.booleans()) if has_rotations is None else has_rotations
    return Picks.build(
        [str(run) for run in column(st.sampled_from(list(runs)))],
        [str(name) for name in column(st.sampled_from(list(objects)))],
        points,
        scores=np.array(column(st.floats(0.0, 1.0)), dtype=np.float64),
        selected=np.array(column(st.booleans()), dtype=bool),
        rotations_zyx=draw(rotation_matrices(count=count)) if with_rotations else None,
    )
