"""What a writer wrote, the reader reads: any picks, any odd sizes, any rotation."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryofind.export import export_picks, validate_submission, write_submission
from cryofind.io.angles import (
    dynamo_from_rotations_zyx,
    relion_from_rotations_zyx,
    rotations_zyx_from_dynamo,
    rotations_zyx_from_relion,
    rotations_zyx_from_tom,
    tom_from_rotations_zyx,
)
from cryofind.io.dynamo import read_tomogram_list
from cryofind.io.point_lists import read_loose_picks
from cryofind.io.relion import TomogramGeometry
from cryofind.io.tables import read_points_table
from cryofind.types import Picks, VoxelGrid

GRIDS = {
    "TS_1": VoxelGrid((21, 31, 41), (10.012, 9.7, 11.3)),
    "TS_2": VoxelGrid.isotropic((33, 17, 25), 13.48),
}
FEW = settings(deadline=None, max_examples=25)


@st.composite
def picks_of_two_runs(draw: st.DrawFn) -> Picks:
    """Picks anywhere in two small tomograms, with scores and any rotations, or none."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 7))
    random = np.random.default_rng(seed)
    runs = ["TS_1", *random.choice(sorted(GRIDS), size=count - 1)]
    extents = np.array([GRIDS[run].extent_zyx_angstrom for run in runs])
    oriented = draw(st.booleans())
    return Picks.build(
        [str(run) for run in runs],
        "ribosome",
        random.random((count, 3)) * extents,
        scores=random.random(count),
        rotations_zyx=Rotation.random(count, rng=random).as_matrix() if oriented else None,
    )


def assert_same(found: Picks, expected: Picks, *, tolerance: float = 1e-5, scores: bool = True) -> None:
    assert found.run_names == expected.run_names
    for run in expected.run_names:
        left, right = found.of_run(run), expected.of_run(run)
        np.testing.assert_allclose(left.positions_zyx_angstrom, right.positions_zyx_angstrom, atol=tolerance)
        if scores:
            np.testing.assert_allclose(left.scores, right.scores, atol=1e-6)
        if right.rotations_zyx is None:
            assert left.rotations_zyx is None
        else:
            assert left.rotations_zyx is not None
            np.testing.assert_allclose(left.rotations_zyx, right.rotations_zyx, atol=1e-5)


@FEW
@given(picks_of_two_runs(), st.sampled_from([None, 2.503]))
def test_relion5_round_trip(picks: Picks, pixel: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export_picks(picks, folder, format="relion5", grids=GRIDS, tilt_series_pixel_size_angstrom=pixel)
        for name in ("particles.star", "coordinates.star"):
            loose = read_loose_picks(Path(folder) / "ribosome" / name, grids=GRIDS, object_name="ribosome")
            assert_same(loose.picks, picks)
            assert loose.pixel_size_angstrom is None
            assert "Angstrom from the centre" in loose.extent


@FEW
@given(picks_of_two_runs())
def test_relion5_round_trip_with_unbinned_sizes(picks: Picks) -> None:
    geometries = {
        run: TomogramGeometry((size[2] / 2.5 - 3, size[1] / 2.5 + 1, size[0] / 2.5 + 2), 2.5)
        for run, size in ((run, grid.extent_zyx_angstrom) for run, grid in GRIDS.items())
    }
    with tempfile.TemporaryDirectory() as folder:
        export_picks(picks, folder, format="relion5", grids=GRIDS, geometries=geometries)
        path = Path(folder) / "ribosome" / "particles.star"
        loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome", geometries=geometries)
    assert_same(loose.picks, picks)


@FEW
@given(picks_of_two_runs(), st.sampled_from([None, 2.503]))
def test_relion4_round_trip(picks: Picks, pixel: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export_picks(picks, folder, format="relion4", grids=GRIDS, tilt_series_pixel_size_angstrom=pixel)
        path = Path(folder) / "ribosome" / "particles.star"
        loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    assert_same(loose.picks, picks, tolerance=3e-4)


@FEW
@given(picks_of_two_runs())
def test_dynamo_round_trip(picks: Picks) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export_picks(picks, folder, format="dynamo", grids=GRIDS)
        names = read_tomogram_list(Path(folder) / "tomograms.doc")
        path = Path(folder) / "ribosome.tbl"
        loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome", tomogram_names=names)
    assert_same(loose.picks, picks, tolerance=2e-5)


@FEW
@given(picks_of_two_runs())
def test_em_and_coords_round_trip(picks: Picks) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, tolerance in (("em", 1e-3), ("coords", 2e-3)):
            export_picks(picks, folder, format=name, grids=GRIDS)
            parts = [
                read_loose_picks(path, grids=GRIDS, object_name="ribosome").picks
                for path in sorted(Path(folder, "ribosome").glob(f"*.{name}"))
            ]
            expected = picks
            if name == "coords":
                expected = Picks.build(list(picks.runs), list(picks.objects), picks.positions_zyx_angstrom)
            assert_same(Picks.concatenate(parts), expected, tolerance=tolerance, scores=name == "em")


@FEW
@given(picks_of_two_runs())
def test_copick_round_trip(picks: Picks) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exported = export_picks(picks, folder, format="copick", grids=GRIDS)
        parts = [read_loose_picks(path, grids=GRIDS, force=True).picks for path in exported.paths]
        assert_same(Picks.concatenate(parts), picks, tolerance=1e-9)
        csv = export_picks(picks, folder, format="csv", grids=GRIDS).paths[0]
        assert_same(read_points_table(csv, object_name="ribosome"), picks)


@FEW
@given(picks_of_two_runs())
def test_submission_round_trip(picks: Picks) -> None:
    grid = VoxelGrid.isotropic((33, 31, 41), 13.48)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.csv"
        assert write_submission(path, picks) == len(picks)
        validate_submission(path, runs=sorted(GRIDS), grid=grid, force=True)
        found = read_points_table(path)
    np.testing.assert_allclose(found.positions_zyx_angstrom, picks.positions_zyx_angstrom, atol=5.1e-4)
    assert found.runs.tolist() == picks.runs.tolist()


ANGLES = [
    (rotations_zyx_from_relion, relion_from_rotations_zyx),
    (rotations_zyx_from_dynamo, dynamo_from_rotations_zyx),
    (rotations_zyx_from_tom, tom_from_rotations_zyx),
]


@pytest.mark.parametrize(("from_angles", "to_angles"), ANGLES)
@settings(deadline=None, max_examples=50)
@given(
    angles=st.tuples(
        st.floats(-360, 360), st.sampled_from([0.0, 180.0, 90.0, 1e-10, 179.9999999, 37.0]), st.floats(-360, 360)
    )
)
def test_angles_round_trip_even_where_two_axes_coincide(
    from_angles: object, to_angles: object, angles: tuple[float, float, float]
) -> None:
    assert callable(from_angles)
    assert callable(to_angles)
    for order in ([0, 1, 2], [0, 2, 1]):
        matrices: NDArray[np.float64] = from_angles(np.array([angles])[:, order])
        again = from_angles(to_angles(matrices))
        np.testing.assert_allclose(again, matrices, atol=1e-7)
        np.testing.assert_allclose(matrices[0] @ matrices[0].T, np.eye(3), atol=1e-12)
