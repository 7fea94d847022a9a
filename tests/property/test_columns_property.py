"""Columns share a volume without gap or overlap, and respect what fits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryofind.predict.columns import plan_columns
from cryofind.predict.tiling import IntTriple

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(1, 300))


@given(shape=SHAPES, limit=st.integers(64, 400), halo=st.integers(0, 40), seed=st.integers(0, 99))
def test_every_place_belongs_to_one_column_that_fits(shape: IntTriple, limit: int, halo: int, seed: int) -> None:
    columns = plan_columns(shape, multiple=16, fits=lambda box: max(box[1:]) <= limit, halo_voxels=halo)
    if columns is None:
        assert limit < 16 + 2 * (halo + 15)
        return
    places = np.random.default_rng(seed).uniform((-1, -1), (shape[1], shape[2]), size=(50, 2))
    owners = np.sum([column.owns(places) for column in columns], axis=0)
    assert (owners == 1).all()
    for column in columns:
        for (start, end), (outer_start, outer_end), length in (
            (column.core_y, column.outer_y, shape[1]),
            (column.core_x, column.outer_x, shape[2]),
        ):
            assert start % 16 == outer_start % 16 == 0
            assert 0 <= outer_start <= start < end <= outer_end <= length
            assert outer_end - outer_start <= limit
            assert start - outer_start >= min(halo, start)
            assert outer_end - end >= min(halo, length - end)


def test_a_volume_that_fits_is_one_column() -> None:
    columns = plan_columns((10, 100, 90), multiple=16, fits=lambda box: True)
    assert columns is not None
    assert [(column.outer_y, column.outer_x) for column in columns] == [((0, 100), (0, 90))]


def test_the_longer_side_is_cut_first() -> None:
    columns = plan_columns((10, 100, 400), multiple=16, fits=lambda box: box[2] <= 320, halo_voxels=16)
    assert columns is not None
    assert [column.core_x for column in columns] == [(0, 208), (208, 400)]
    assert {column.core_y for column in columns} == {(0, 100)}
