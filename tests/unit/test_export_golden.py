"""Values worked out by hand, or read back by other programs, for one pick in a small asymmetric tomogram."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind import czii
from cryofind.errors import NameRefused, OutputError, PicksError
from cryofind.export import FORMATS, export_picks
from cryofind.io.angles import rotations_zyx_from_dynamo, rotations_zyx_from_relion, rotations_zyx_from_tom
from cryofind.io.picks_json import read_picks_json
from cryofind.io.relion import TomogramGeometry, read_tomograms_star, tomogram_centre_xyz_angstrom
from cryofind.io.star import read_star
from cryofind.types import Picks, VoxelGrid

GRID = VoxelGrid.isotropic((20, 30, 40), 10.012)
PICKS = Picks.build("TS_1", "ribosome", [[20.0, 50.0, 100.0]], scores=[0.87])
CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
PIXELS = [f"rlnCoordinate{axis}" for axis in "XYZ"]


def numbers(path: Path, columns: list[str]) -> list[float]:
    block = read_star(path)["particles"]
    return [float(block[column][0]) for column in columns]


@pytest.mark.parametrize(
    ("shape", "centre", "pixel", "expected"),
    [
        ((20, 30, 40), "half", None, (-100.24, -100.18, -80.12)),
        ((20, 30, 40), "half", 2.503, (-100.24, -100.18, -80.12)),
        ((20, 30, 40), "half-minus-one", 10.012, (-90.228, -90.168, -70.108)),
        ((20, 30, 40), "half-minus-one", 2.503, (-97.737, -97.677, -77.617)),
        ((21, 31, 41), "half", None, (-105.246, -105.186, -85.126)),
    ],
)
def test_relion5_counts_from_the_centre(
    tmp_path: Path, shape: tuple[int, ...], centre: str, pixel: float | None, expected: tuple[float, ...]
) -> None:
    grids = {"TS_1": VoxelGrid.isotropic(shape, 10.012)}
    exported = export_picks(
        PICKS,
        tmp_path,
        format="relion5",
        grids=grids,
        centre="half" if centre == "half" else "half-minus-one",
        tilt_series_pixel_size_angstrom=pixel,
    )
    assert len(exported.paths) == 3
    for name in ("particles.star", "coordinates/TS_1.star"):
        np.testing.assert_allclose(numbers(tmp_path / "ribosome" / name, CENTRED), expected, atol=2e-6)
    optics = read_star(tmp_path / "ribosome" / "particles.star")["optics"]
    assert float(optics["rlnTomoTiltSeriesPixelSize"][0]) == pytest.approx(pixel or 10.012)


def test_relion5_bundle_names_files_scores_and_units(tmp_path: Path) -> None:
    exported = export_picks(PICKS, tmp_path, format="relion5", grids={"TS_1": GRID})
    index = read_star(tmp_path / "ribosome" / "coordinates.star")["coordinate_files"]
    assert index == {"rlnTomoName": ["TS_1"], "rlnTomoImportParticleFile": ["coordinates/TS_1.star"]}
    listed = read_star(tmp_path / "ribosome" / "coordinates" / "TS_1.star")
    assert list(listed) == ["particles"]
    assert listed["particles"]["rlnAutopickFigureOfMerit"] == ["0.870000"]
    assert "rlnAngleRot" not in listed["particles"]
    assert "from the centre" in exported.summary
    assert "10.012 A" in exported.summary
    assert "no tilt-series pixel size was given" in exported.summary
    assert "x 100.0..100.0" in exported.summary


def test_relion5_paths_follow_the_project_folder(tmp_path: Path) -> None:
    (tmp_path / "default_pipeline.star").write_text("")
    export_picks(PICKS, tmp_path / "picks", format="relion5", grids={"TS_1": GRID})
    index = read_star(tmp_path / "picks" / "ribosome" / "coordinates.star")["coordinate_files"]
    assert index["rlnTomoImportParticleFile"] == ["picks/ribosome/coordinates/TS_1.star"]
    export_picks(PICKS, tmp_path / "picks", format="relion5", grids={"TS_1": GRID}, relion_project=tmp_path / "picks")
    index = read_star(tmp_path / "picks" / "ribosome" / "coordinates.star")["coordinate_files"]
    assert index["rlnTomoImportParticleFile"] == ["ribosome/coordinates/TS_1.star"]


@pytest.mark.parametrize(
    ("pixel", "expected"), [(2.503, (39.952058, 19.976029, 7.990411)), (None, (9.988014, 4.994007, 1.997603))]
)
def test_relion4_counts_pixels_of_the_tilt_series(
    tmp_path: Path, pixel: float | None, expected: tuple[float, ...]
) -> None:
    exported = export_picks(
        PICKS, tmp_path, format="relion4", grids={"TS_1": GRID}, tilt_series_pixel_size_angstrom=pixel
    )
    path = tmp_path / "ribosome" / "particles.star"
    np.testing.assert_allclose(numbers(path, PIXELS), expected, atol=1e-6)
    assert numbers(path, ["rlnDetectorPixelSize"]) == [pixel or 10.012]
    assert ("no tilt-series pixel size" in exported.summary) == (pixel is None)


def test_em_counts_pixels_from_one(tmp_path: Path) -> None:
    export_picks(PICKS, tmp_path, format="em", grids={"TS_1": GRID})
    content = (tmp_path / "ribosome" / "TS_1.em").read_bytes()
    assert content[:4] == bytes([6, 0, 0, 5])
    assert np.frombuffer(content, "<i4", count=3, offset=4).tolist() == [20, 1, 1]
    row = np.frombuffer(content, "<f4", offset=512)
    np.testing.assert_array_equal(row[7:10], np.array([10.988014, 5.994007, 2.997603], dtype=np.float32))
    assert row[3] == np.float32(0.87)
    assert row[4:7].tolist() == [1, 1, 1]


def test_dynamo_and_coords_count_voxels_from_zero(tmp_path: Path) -> None:
    export_picks(PICKS, tmp_path, format="dynamo", grids={"TS_1": GRID})
    cells = (tmp_path / "ribosome.tbl").read_text().split()
    assert len(cells) == 42
    np.testing.assert_allclose([float(cell) for cell in cells[23:26]], (9.988014, 4.994007, 1.997603), atol=1e-6)
    assert (cells[0], cells[9], cells[19]) == ("1", "0.870000", "1")
    export_picks(PICKS, tmp_path, format="coords", grids={"TS_1": GRID})
    assert (tmp_path / "ribosome" / "TS_1.coords").read_text() == "9.9880 4.9940 1.9976\n"


RELION_10_20_30 = [[0.714610, 0.633718, -0.296198], [-0.613092, 0.771281, 0.171010], [0.336824, 0.059391, 0.939693]]
TOM_10_20_30 = [[0.771281, -0.613092, 0.171010], [0.633718, 0.714610, -0.296198], [0.059391, 0.336824, 0.939693]]


def test_angles_of_other_programs() -> None:
    def as_xyz(rotations_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        return rotations_zyx[0, ::-1, ::-1]

    np.testing.assert_allclose(as_xyz(rotations_zyx_from_relion([[10, 20, 30]])), RELION_10_20_30, atol=1e-6)
    quarter = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(as_xyz(rotations_zyx_from_relion([[90, 0, 0]])), quarter, atol=1e-12)
    # phi, theta, psi = 10, 20, 30; a list holds phi, psi, theta.
    np.testing.assert_allclose(as_xyz(rotations_zyx_from_tom([[10, 30, 20]])), TOM_10_20_30, atol=1e-6)
    dynamo = as_xyz(rotations_zyx_from_dynamo([[10, 20, 30]]))
    np.testing.assert_allclose(dynamo, np.array(TOM_10_20_30).T, atol=1e-6)


def test_centre_of_the_challenge_volume() -> None:
    centre = tomogram_centre_xyz_angstrom(czii.TOMOGRAM_GRID)
    np.testing.assert_allclose(centre, (3153.920029, 3153.919922, 921.144866), atol=1e-6)


def test_sample_row_of_the_challenge(tmp_path: Path) -> None:
    row = np.array([[764.124, 3154.13, 2983.596]])
    indices = czii.TOMOGRAM_GRID.indices_from_positions(row)
    np.testing.assert_allclose(indices[0, ::-1], (297.988767, 315.020982, 76.317429), atol=1e-6)
    export_picks(
        Picks.build("TS_5_4", "ribosome", row), tmp_path, format="relion5", grids={"TS_5_4": czii.TOMOGRAM_GRID}
    )
    found = numbers(tmp_path / "ribosome" / "particles.star", CENTRED)
    np.testing.assert_allclose(found, (-170.324029, 0.210078, -157.020866), atol=2e-6)


def test_unbinned_size_moves_the_centre_and_binning_does_not_enter(tmp_path: Path) -> None:
    # A depth of 159 unbinned pixels became 20 voxels of bin 8, which stand for 160.
    tomograms = tmp_path / "tomograms.star"
    tomograms.write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesPixelSize #2\n_rlnTomoSizeX #3\n_rlnTomoSizeY #4\n"
        "_rlnTomoSizeZ #5\n_rlnTomoTomogramBinning #6\nTS_1 1.2515 320 240 159 8\n"
    )
    geometries = read_tomograms_star(tomograms)
    assert geometries == {"TS_1": TomogramGeometry((320, 240, 159), 1.2515)}
    export_picks(PICKS, tmp_path, format="relion5", grids={"TS_1": GRID}, geometries=geometries)
    found = numbers(tmp_path / "ribosome" / "particles.star", CENTRED)
    np.testing.assert_allclose(found, (-100.24, -100.18, -80.12 + 1.2515 / 2), atol=2e-6)
    wrong = {"TS_1": TomogramGeometry((159, 240, 320), 1.2515)}
    with pytest.raises(PicksError, match=r"tomograms.star: TS_1: size is 199.0 x 300.4 x 400.5 A"):
        export_picks(PICKS, tmp_path, format="relion5", grids={"TS_1": GRID}, geometries=wrong)


def test_tomograms_star_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "tomograms.star"
    path.write_text("data_global\nloop_\n_rlnTomoName\nTS_1\n")
    with pytest.raises(PicksError, match="has no column rlnTomoTiltSeriesPixelSize"):
        read_tomograms_star(path)
    header = "_rlnTomoName\n_rlnTomoTiltSeriesPixelSize\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n"
    path.write_text(f"data_global\nloop_\n{header}TS_1 0 10 10 10\n")
    with pytest.raises(PicksError, match="not positive"):
        read_tomograms_star(path)


def test_copick_and_csv(tmp_path: Path) -> None:
    exported = export_picks(PICKS, tmp_path, format="copick", grids={"TS_1": GRID})
    assert exported.paths == (tmp_path / "ExperimentRuns" / "TS_1" / "Picks" / "cryofind_1_ribosome.json",)
    assert read_picks_json(exported.paths[0]).scores.tolist() == [0.87]
    export_picks(PICKS, tmp_path, format="csv", grids={"TS_1": GRID})
    header, row = (tmp_path / "ribosome.csv").read_text().splitlines()
    assert header.startswith("run_name,x,y,z,transform_00,transform_01")
    assert header.endswith("transform_33,score,instance_id")
    assert row == "TS_1,100.000000,50.000000,20.000000,1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1,0.870000,0"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_refuses_picks_outside_and_unsafe_names(tmp_path: Path, name: str) -> None:
    outside = Picks.build("TS_1", "ribosome", [[20.0, 50.0, 401.0]])
    with pytest.raises(PicksError, match="1 of 1 picks of run 'TS_1' lie outside"):
        export_picks(outside, tmp_path / "out", format=name, grids={"TS_1": GRID})
    with pytest.raises(PicksError, match="run 'TS_1' has no tomogram here"):
        export_picks(PICKS, tmp_path / "out", format=name, grids={})
    for run, object_name in [("..", "ribosome"), ("=TS", "ribosome"), ("TS_1", "@cmd"), ("TS_1", "a_b")]:
        unsafe = Picks.build(run, object_name, [[1.0, 1.0, 1.0]])
        with pytest.raises(NameRefused):
            export_picks(unsafe, tmp_path / "out", format=name, grids={run: GRID})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_no_picks(tmp_path: Path, name: str) -> None:
    assert export_picks(Picks.empty(), tmp_path, format=name, grids={}).summary.startswith("0 picks")


def test_unknown_format_and_pixel_size(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="did you mean 'relion5'"):
        export_picks(PICKS, tmp_path, format="relion", grids={"TS_1": GRID})
    with pytest.raises(PicksError, match="tilt series pixel size: is nan"):
        export_picks(
            PICKS, tmp_path, format="relion4", grids={"TS_1": GRID}, tilt_series_pixel_size_angstrom=float("nan")
        )
