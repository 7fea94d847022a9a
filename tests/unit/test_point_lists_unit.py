"""Picks of other programs, read for tomograms that are known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.errors import PicksError
from cryofind.export import export_picks
from cryofind.io.em import read_em
from cryofind.io.point_lists import read_loose_picks
from cryofind.io.relion import TomogramGeometry
from cryofind.io.run_names import match_run, require_run
from cryofind.types import Picks, VoxelGrid

GRID = VoxelGrid.isotropic((20, 30, 40), 10.012)
GRIDS = {"TS_1": GRID}
XYZ = "100 50 20"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def star(path: Path, columns: list[str], rows: list[str], *, optics: str = "") -> Path:
    header = "\n".join(f"_{column} #{index}" for index, column in enumerate(columns, start=1))
    return write(path, f"{optics}\ndata_particles\n\nloop_\n{header}\n" + "\n".join(rows) + "\n")


CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
PIXELS = [f"rlnCoordinate{axis}" for axis in "XYZ"]
ORIGINS = [f"rlnOrigin{axis}Angst" for axis in "XYZ"]
SUBTOMOGRAM = [f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi")]
ANGLES = [f"rlnAngle{angle}" for angle in ("Rot", "Tilt", "Psi")]
OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n1 2.5\n"


def positions_xyz(path: Path, **options: object) -> list[list[float]]:
    loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome", **options)  # type: ignore[arg-type]
    return np.round(loose.picks.positions_zyx_angstrom[:, ::-1], 3).tolist()  # type: ignore[no-any-return]


def test_centred_form_wins_and_scores_are_kept(tmp_path: Path) -> None:
    columns = ["rlnTomoName", *CENTRED, *PIXELS, "rlnAutopickFigureOfMerit"]
    path = star(tmp_path / "a.star", columns, ["TS_1 -100.24 -100.18 -80.12 7 7 7 0.25"])
    loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    np.testing.assert_allclose(loose.picks.positions_zyx_angstrom, [[20, 50, 100]], atol=1e-9)
    assert loose.picks.scores.tolist() == [0.25]
    assert loose.unit == "Angstrom from the centre"
    assert loose.extent.startswith("1 picks in 1 tomogram, read as Angstrom from the centre: x 100.0..100.0")


def test_pixel_size_comes_from_user_then_optics_then_detector_then_is_asked_for(tmp_path: Path) -> None:
    path = star(tmp_path / "a.star", ["rlnTomoName", *PIXELS], ["TS_1 40 20 8"], optics=OPTICS)
    assert positions_xyz(path) == [[100, 50, 20]]
    assert positions_xyz(path, pixel_size_angstrom=5.0) == [[200, 100, 40]]
    detector = ["rlnMicrographName", *PIXELS, "rlnDetectorPixelSize"]
    path = star(tmp_path / "b.star", detector, ["TS_1.tomostar 40 20 8 2.5"])
    assert positions_xyz(path) == [[100, 50, 20]]
    path = star(tmp_path / "c.star", [*detector, "rlnMagnification"], ["TS_1.tomostar 40 20 8 5 20000"])
    assert positions_xyz(path) == [[100, 50, 20]]
    path = star(tmp_path / "d.star", [*detector, "rlnMagnification"], ["TS_1.tomostar 40 20 8 5 0"])
    with pytest.raises(PicksError, match="has a pixel size that is not positive"):
        positions_xyz(path)
    path = star(tmp_path / "e.star", ["rlnTomoName", *PIXELS], ["TS_1 40 20 8"])
    assert positions_xyz(path, geometries={"TS_1": TomogramGeometry((160, 120, 80), 2.5)}) == [[100, 50, 20]]
    with pytest.raises(PicksError, match="does not say the pixel size; give the pixel size of the tilt series"):
        positions_xyz(path)
    with pytest.raises(PicksError, match="pixel size: is -1"):
        positions_xyz(path, pixel_size_angstrom=-1.0)


def test_optics_groups(tmp_path: Path) -> None:
    optics = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n1 2.5\n2 5\n"
    columns = ["rlnTomoName", "rlnOpticsGroup", *PIXELS]
    path = star(tmp_path / "a.star", columns, ["TS_1 1 40 20 8", "TS_1 2 20 10 4"], optics=optics)
    assert positions_xyz(path) == [[100, 50, 20]] * 2
    path = star(tmp_path / "b.star", columns, ["TS_1 3 40 20 8"], optics=optics)
    with pytest.raises(PicksError, match="data_optics has no rlnOpticsGroup 3"):
        positions_xyz(path)
    path = star(tmp_path / "c.star", ["rlnTomoName", *PIXELS], ["TS_1 40 20 8"], optics=optics)
    with pytest.raises(PicksError, match="has 2 pixel sizes and no rlnOpticsGroup"):
        positions_xyz(path)


def test_origin_is_subtracted_and_turned_with_the_subtomogram(tmp_path: Path) -> None:
    columns = ["rlnTomoName", *CENTRED, *ORIGINS]
    path = star(tmp_path / "a.star", columns, ["TS_1 -100.24 -100.18 -80.12 5 0 0"])
    assert positions_xyz(path) == [[95, 50, 20]]
    # RELION's rot of 90 takes x to -y: see the table of golden values.
    path = star(tmp_path / "b.star", [*columns, *SUBTOMOGRAM], ["TS_1 -100.24 -100.18 -80.12 5 0 0 90 0 0"])
    assert positions_xyz(path) == [[100, 55, 20]]
    columns = ["rlnTomoName", *PIXELS, "rlnOriginX", "rlnOriginY", "rlnOriginZ"]
    path = star(tmp_path / "c.star", columns, ["TS_1 40 20 8 2 0 0"], optics=OPTICS)
    assert positions_xyz(path) == [[95, 50, 20]]


def test_particle_turns_inside_its_subtomogram(tmp_path: Path) -> None:
    def rotation(columns: list[str], angles: str) -> NDArray[np.float64] | None:
        path = star(tmp_path / "a.star", ["rlnTomoName", *CENTRED, *columns], [f"TS_1 0 0 0 {angles}"])
        rotations = read_loose_picks(path, grids=GRIDS, object_name="ribosome").picks.rotations_zyx
        return None if rotations is None else rotations[0]

    outer = rotation(SUBTOMOGRAM, "10 20 30")
    inner = rotation(ANGLES, "40 50 60")
    both = rotation([*SUBTOMOGRAM, *ANGLES], "10 20 30 40 50 60")
    assert outer is not None
    assert inner is not None
    assert both is not None
    np.testing.assert_allclose(both, outer @ inner, atol=1e-12)
    assert rotation(ANGLES, "0 0 0") is None


def test_star_names_only_some_of_the_tomograms(tmp_path: Path) -> None:
    rows = ["tomograms/rec_TS_1_10.00Apx.mrc 0 0 0", "TS_2 0 0 0", "TS_3 0 0 0"]
    path = star(tmp_path / "a.star", ["rlnTomoName", *CENTRED], rows)
    loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    assert loose.picks.run_names == ("TS_1",)
    assert "2 picks of 2 tomograms that are not given were left out (TS_2, TS_3)" in loose.notes[0]
    with pytest.raises(PicksError, match=r"tomogram 'tomograms/rec_TS_1_10.00Apx.mrc' is not among the given ones"):
        read_loose_picks(path, grids={"other": GRID}, object_name="ribosome")


def test_star_without_names(tmp_path: Path) -> None:
    path = star(tmp_path / "TS_1_particles.star", CENTRED, ["0 0 0"])
    grids = {"TS_1": GRID, "TS_2": GRID}
    assert read_loose_picks(path, grids=grids, object_name="ribosome").picks.run_names == ("TS_1",)
    path = star(tmp_path / "run3.star", CENTRED, ["0 0 0"])
    with pytest.raises(PicksError, match=r"does not say which tomogram.*runs: TS_1, TS_2"):
        read_loose_picks(path, grids=grids, object_name="ribosome")
    assert read_loose_picks(path, grids=grids, object_name="ribosome", run="TS_2").picks.run_names == ("TS_2",)
    with pytest.raises(PicksError, match="run 'TS_9': has no tomogram here"):
        read_loose_picks(path, grids=grids, object_name="ribosome", run="TS_9")
    with pytest.raises(PicksError, match="does not say which object its points are; put its name into the file's"):
        read_loose_picks(path, grids=GRIDS)
    path = star(tmp_path / "plane.star", ["rlnTomoName", *PIXELS[:2]], ["TS_1 1 1"])
    with pytest.raises(PicksError, match="give a STAR file of particles in three dimensions"):
        read_loose_picks(path, grids=GRIDS, object_name="ribosome")


def test_index_star_problems(tmp_path: Path) -> None:
    columns = "data_coordinate_files\nloop_\n_rlnTomoName\n_rlnTomoImportParticleFile\n"
    path = write(tmp_path / "index.star", columns + "TS_1 absent.star\n")
    with pytest.raises(PicksError, match=r"names 'absent.star', which does not exist"):
        read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    path = write(tmp_path / "index.star", columns + "TS_1 a.star\nTS_1 b.star\n")
    with pytest.raises(PicksError, match="lists a tomogram twice"):
        read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    star(tmp_path / "part.star", CENTRED, ["0 0 0"])
    path = write(tmp_path / "index.star", columns + "TS_1 part.star\n")
    assert positions_xyz(path) == [[200.24, 150.18, 100.12]]


def test_coords(tmp_path: Path) -> None:
    path = write(tmp_path / "TS_1.coords", "10 5 2\n\n1.5 2 3\r\n")
    assert positions_xyz(path) == [[100.12, 50.06, 20.024], [15.018, 20.024, 30.036]]
    assert positions_xyz(path, pixel_size_angstrom=5.0) == [[50, 25, 10], [7.5, 10, 15]]
    loose = read_loose_picks(path, grids=GRIDS, object_name="ribosome")
    assert loose.pixel_size_angstrom == 10.012
    assert "pixels from the corner, taken as voxels of the tomogram of 10.012 A" in loose.extent
    for text, message in [("1 2\n", "line 1: has 2 values"), ("1 2 3\n1 2 3,5\n", "line 2: is '3,5'; .*comma")]:
        with pytest.raises(PicksError, match=message):
            positions_xyz(write(tmp_path / "TS_1.coords", text))


def test_dynamo_numbers_and_shifts(tmp_path: Path) -> None:
    def row(tomogram: int) -> str:
        cells = ["0"] * 26
        cells[3], cells[9], cells[19] = "0.5", "0.75", str(tomogram)
        cells[23:26] = ["10", "5", "2"]
        return " ".join(cells) + "\n"

    path = write(tmp_path / "a.tbl", row(3))
    assert positions_xyz(path) == [[105.126, 50.06, 20.024]]
    path = write(tmp_path / "a.tbl", row(3) + row(4))
    with pytest.raises(PicksError, match=r"numbers several tomograms \(3, 4\) without names"):
        positions_xyz(path)
    assert len(positions_xyz(path, tomogram_names={3: "TS_1.mrc", 4: "rec_TS_1.rec"})) == 2
    with pytest.raises(PicksError, match="tomogram 4 is not in the list"):
        positions_xyz(path, tomogram_names={3: "TS_1"})
    with pytest.raises(PicksError, match="tomogram 'TS_8' is not among the given ones"):
        positions_xyz(path, tomogram_names={3: "TS_1", 4: "TS_8"})
    with pytest.raises(PicksError, match="line 1: has 5 columns, expected at least 26"):
        positions_xyz(write(tmp_path / "a.tbl", "1 2 3 4 5\n"))
    with pytest.raises(PicksError, match="line 1, column 10: is 'nan'"):
        positions_xyz(write(tmp_path / "a.tbl", row(3).replace("0.75", "nan")))


def test_em_shift_and_damage(tmp_path: Path) -> None:
    export_picks(Picks.build("TS_1", "ribosome", [[20, 50, 100]]), tmp_path, format="em", grids=GRIDS)
    path = tmp_path / "ribosome" / "TS_1.em"
    content = path.read_bytes()
    table = np.frombuffer(content, "<f4", offset=512).copy()
    table[10] = 1.0
    path.write_bytes(content[:512] + table.tobytes())
    assert positions_xyz(path) == [[110.012, 50, 20]]
    table[8] = np.nan
    for damaged, message in [
        (content[:100], "has 100 bytes, an .em header has 512"),
        (content[:-1], "has 591 bytes, its header promises 592"),
        (content + b"\0", "has 593 bytes"),
        (b"\x03" + content[1:], "machine 3, data type 5, expected 6 and 5"),
        (content[:4] + b"\x15" + content[5:], "is of size 21 x 1 x 1"),
        (content[:8] + b"\xff\xff\xff\xff" + content[12:], "is of size 20 x -1 x 1"),
        (content[:8] + b"\xff\xff\xff\x7f" + content[12:], "its header promises"),
        (content[:512] + table.tobytes(), "particle 1: row 9 is nan"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(PicksError, match=message):
            read_em(path)


def test_csv_and_json(tmp_path: Path) -> None:
    plain = write(tmp_path / "TS_1.csv", "x,y,z\n100,50,20\n")
    assert positions_xyz(plain) == [[100, 50, 20]]
    assert positions_xyz(plain, pixel_size_angstrom=2.0) == [[200, 100, 40]]
    kaggle = write(
        tmp_path / "a.csv",
        "experiment,particle_type,x,y,z\nTS_1,ribosome,100,50,20\nTS_1,apo-ferritin,1,2,3\nTS_7,ribosome,1,2,3\n",
    )
    loose = read_loose_picks(kaggle, grids=GRIDS, object_name="ribosome", pixel_size_angstrom=2.0)
    assert loose.picks.positions_zyx_angstrom.tolist() == [[20, 50, 100]]
    assert "1 picks of 1 tomograms" in loose.notes[0]
    assert len(read_loose_picks(kaggle, grids=GRIDS).picks) == 2
    with pytest.raises(PicksError, match="has no picks of 'ribosom'; did you mean 'ribosome'"):
        read_loose_picks(kaggle, grids=GRIDS, object_name="ribosom")
    with pytest.raises(PicksError, match="tomogram 'TS_1' is not among"):
        read_loose_picks(kaggle, grids={"TS_2": GRID})
    copick = export_picks(
        Picks.build("TS_1", "ribosome", [[20, 50, 100]]), tmp_path, format="copick", grids=GRIDS
    ).paths[0]
    assert positions_xyz(copick, run="TS_1") == [[100, 50, 20]]
    with pytest.raises(PicksError, match="has no picks of 'apo-ferritin'; known: ribosome"):
        read_loose_picks(copick, grids=GRIDS, object_name="apo-ferritin")
    with pytest.raises(PicksError, match="tomogram 'TS_1' is not among the given ones"):
        read_loose_picks(copick, grids={"TS_2": GRID}, object_name="ribosome", run="TS_2")


@pytest.mark.parametrize("row", ["100 50 250", "400 50 20"])
def test_outside(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "TS_1.csv", "x,y,z\n" + row.replace(" ", ",") + "\n1,1,1\n")
    if row.startswith("400"):
        assert len(positions_xyz(path)) == 2
    else:
        with pytest.raises(PicksError) as caught:
            positions_xyz(path)
        message = str(caught.value)
        assert "1 of 2 picks of run 'TS_1' lie outside the tomogram" in message
        assert "picks x 1.0..100.0, y 1.0..50.0, z 1.0..250.0 A, tomogram 400.5 x 300.4 x 200.2 A" in message
        assert "they look like z,y,x order" in message


def test_voxels_read_as_angstrom_are_noticed(tmp_path: Path) -> None:
    rows = "\n".join(f"{4 * n},{3 * n},{2 * n}" for n in range(10))
    path = write(tmp_path / "TS_1.csv", f"x,y,z\n{rows}\n")
    with pytest.raises(PicksError, match="the 10 picks of run 'TS_1' are read as Angstrom, but look like voxels"):
        positions_xyz(path)
    assert len(positions_xyz(path, force=True)) == 10
    assert len(positions_xyz(path, pixel_size_angstrom=10.012)) == 10
    centred = write(tmp_path / "TS_1.csv", "x,y,z\n-100,50,20\n")
    with pytest.raises(PicksError, match="counted from the centre"):
        positions_xyz(centred)


@pytest.mark.parametrize(
    ("name", "advice"), [("a.cbox", "export .coords or .star"), ("a.mod", "model2point"), ("a.xml", "known: .star")]
)
def test_other_formats(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(PicksError, match=advice):
        read_loose_picks(write(tmp_path / name, ""), grids=GRIDS, object_name="ribosome")


def test_names_of_runs() -> None:
    runs = ["TS_1", "TS_1_2", "TS_5_4"]
    for name in ("TS_1", "TS_1.tomostar", "a/b/TS_1.mrc", r"a\TS_1.rec", "rec_TS_1.mrc", "TS_1_10.00Apx.mrc"):
        assert match_run(name, runs) == "TS_1"
    for name in ("TS_1_bin4_rec.mrc.zarr", "tomo_TS_1_denoised", "ts_1", "TS_1_ctf_corrected_b4"):
        assert match_run(name, runs) == "TS_1"
    assert match_run("TS_1_2.mrc", runs) == "TS_1_2"
    assert match_run("TS_1_3", runs) is None
    assert match_run("TS_5", runs) is None
    assert match_run("TS_1", ["TS_1_bin4"]) == "TS_1_bin4"
    with pytest.raises(PicksError, match="may be run TS_1_even or TS_1_odd"):
        match_run("TS_1", ["TS_1_even", "TS_1_odd"])
    with pytest.raises(
        PicksError, match=r"a.star: tomogram 'TS_54' is not among the given ones; did you mean 'TS_5_4'"
    ):
        require_run("TS_54", runs, subject="a.star")
