"""The challenge's submission file: written exactly, checked strictly."""

import locale
import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.errors import NameRefused, SubmissionError
from cryofind.export import export_picks, validate_submission, write_submission
from cryofind.io.tables import read_points_table
from cryofind.types import Picks

HEADER = "id,experiment,particle_type,x,y,z\n"
GOOD = HEADER + "0,TS_5_4,ribosome,2983.596,3154.130,764.124\n1,TS_6_4,apo-ferritin,100.000,6200.500,1700.000\n"
RUNS = ["TS_5_4", "TS_69_2", "TS_6_4"]


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "submission.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_written_exactly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out" / "submission.csv"
    positions = [
        [764.124, 3154.13, 2983.596],
        [1700.0, 6200.5, 100.0],
        [-0.0001, 5000, 5000],
        [1700.0, 6200.5, 100.0001],
    ]
    runs = ["TS_5_4", "TS_6_4", "TS_6_4", "TS_6_4"]
    picks = Picks.build(runs, ["ribosome", "apo-ferritin", "apo-ferritin", "apo-ferritin"], positions)
    with caplog.at_level(logging.INFO, logger="cryofind"):
        assert write_submission(path, picks, runs=RUNS) == 3
    assert path.read_bytes() == (GOOD + "2,TS_6_4,apo-ferritin,5000.000,5000.000,0.000\n").encode()
    assert "1 rows that repeat another were left out" in caplog.text
    notes = validate_submission(path, runs=RUNS)
    assert notes == ("1 experiments have no picks: TS_69_2",)


def test_empty_is_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    assert write_submission(path, Picks.empty()) == 0
    assert path.read_text() == HEADER
    assert validate_submission(path, runs=RUNS) == ("the file holds no picks, which is valid and scores 0",)


def test_writing_refuses_what_is_not_in_the_task(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    with pytest.raises(SubmissionError, match="run 'TS_54': is not one of the task; did you mean 'TS_5_4'"):
        write_submission(path, Picks.build("TS_54", "ribosome", np.ones((1, 3))), runs=RUNS)
    with pytest.raises(SubmissionError, match="did you mean 'virus-like-particle'"):
        write_submission(path, Picks.build("TS_5_4", "pp7-vlp", np.ones((1, 3))))
    with pytest.raises(SubmissionError, match="known: apo-ferritin, "):
        write_submission(path, Picks.build("TS_5_4", "membrane", np.ones((1, 3))))
    with pytest.raises(NameRefused):
        write_submission(path, Picks.build("=TS_5_4", "ribosome", np.ones((1, 3))))
    assert not path.exists()


ROW = "0,TS_5_4,ribosome,"
WRONG: list[tuple[str | bytes, str]] = [
    (b"\xef\xbb\xbf" + GOOD.encode(), "byte 0: begins with a byte order mark"),
    (GOOD.encode().replace(b"ribosome", b"ribos\xf6me"), "which is not UTF-8"),
    ("", "is empty, expected a header"),
    ("experiment,particle_type,x,y,z\nTS_5_4,ribosome,1,2,3\n", "header: lacks id"),
    ("id,experiment,particle_type,x,y,z,score\n", "header: has score too"),
    ("id,experiment,particle_type,z,y,x\n", "header: has another order or spelling"),
    ("id, experiment,particle_type,x,y,z\n", "header: has another order or spelling"),
    ("Id,experiment,particle_type,x,y,z\n", "header: lacks id and has Id too"),
    ('"id",experiment,particle_type,x,y,z\n', "header: has another order or spelling"),
    (HEADER + "1,TS_5_4,ribosome,2983,3154,764\n", "line 2: id: is '1', expected a whole number from 0 to 0"),
    (HEADER + "0.0,TS_5_4,ribosome,2983,3154,764\n", "line 2: id: is '0.0'"),
    (HEADER + "9" * 5000 + ",TS_5_4,ribosome,2983,3154,764\n", "line 2: id: is '9999"),
    (GOOD.replace("1,TS_6_4", "0,TS_6_4"), "line 3: id: is 0, which an earlier row has"),
    (GOOD.replace("TS_5_4", "TS_5_5"), "line 2: experiment: is 'TS_5_5'.*did you mean 'TS_5_4'"),
    (GOOD.replace("TS_5_4", "TS_5_4 "), "line 2: experiment: is 'TS_5_4 '"),
    (GOOD.replace("TS_5_4", ""), "line 2: experiment: is ''"),
    (GOOD.replace("TS_5_4", "+1"), "line 2: experiment: .*formula"),
    (GOOD.replace("ribosome", "Ribosome"), "line 2: particle_type: is 'Ribosome'; did you mean 'ribosome'"),
    (GOOD.replace("ribosome", "ribosome "), "line 2: particle_type: is 'ribosome '; did you mean 'ribosome'"),
    (GOOD.replace("apo-ferritin", "ferritin_complex"), "line 3: .*did you mean 'apo-ferritin'"),
    (GOOD.replace("ribosome", "cytosolic-ribosome"), "did you mean 'ribosome'"),
    (GOOD.replace("ribosome", "membrane"), "known: apo-ferritin, beta-amylase"),
    (GOOD.replace("ribosome", ""), "particle_type: is ''"),
    (HEADER + ROW + "nan,1,2\n", "line 2: x: is 'nan'"),
    (HEADER + ROW + "1000,-inf,2\n", "line 2: y: is '-inf'"),
    (HEADER + ROW + '1000,2000,"764,124"\n', "line 2: z: is '764,124'; .*not a comma"),
    (HEADER + ROW + '1000,2000,"1,764.124"\n', "line 2: z: is '1,764.124'"),
    (HEADER + ROW + "1e3,2000,764\n", "line 2: x: is '1e3'"),
    (HEADER + ROW + " 1000,2000,764\n", "line 2: x: is ' 1000'"),
    (HEADER + ROW + "1000,2000\n", "line 2: has 5 fields, expected 6"),
    (HEADER + ROW + "-1,2000,764\n", "line 2: x, y, z: is one of 1 rows outside the tomogram"),
    (HEADER + ROW + "1000,2000,1843\n", "outside.*tomogram 6307.8 x 6307.8 x 1842.3 A"),
    (HEADER + ROW + "764.124,3154.13,2983.596\n", "outside.*they look like z,y,x order"),
    (HEADER + ROW + "-3000,100,5\n", "counted from the centre"),
    (HEADER + ROW + "9000,90000,5000\n", "check that the picks belong to this tomogram"),
    (HEADER + ROW + "60000,50000,15000\n", "multiplied by the voxel spacing twice"),
    (HEADER + ROW + "297.9,315.0,76.3\n", "630 x 630 x 184, the size of the tomogram in voxels; multiply"),
    (GOOD.replace("1,TS_6_4,apo-ferritin,100.000,6200.500,1700.000", "1,TS_5_4,ribosome,2983.596,3154.13,764.124"),
     "line 3: repeats line 2; remove it: every copy counts as a false positive"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_wrong_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        validate_submission(write(tmp_path, content), runs=RUNS)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="does not exist"):
        validate_submission(tmp_path / "absent.csv")


def test_notes(tmp_path: Path) -> None:
    text = (
        HEADER
        + "0,TS_5_4,beta-amylase,2983.596,3154.130,764.124\n"
        + "1,TS_5_4,apo-ferritin,3000,3000,700\n2,TS_5_4,apo-ferritin,3000,3000,729.9\n"
        + "3,TS_6_4,apo-ferritin,3000,3000,700\n4,TS_5_4,ribosome,3000,3000,700\n"
    )
    notes = validate_submission(write(tmp_path, text.replace("\n", "\r\n")))
    assert notes[0] == "1 rows of beta-amylase have no effect on the score"
    assert notes[1].startswith("1 pairs of apo-ferritin are closer than the match radius of 30 A")
    assert len(notes) == 2
    voxels = write(tmp_path, HEADER + ROW + "297.9,315.0,76.3\n")
    assert "are they voxels?" in validate_submission(voxels, force=True)[0]


def test_truth_of_the_challenge_makes_a_valid_submission(tmp_path: Path, shared_data: Path) -> None:
    picks = read_points_table(shared_data / "czii" / "train_picks.csv")
    path = tmp_path / "submission.csv"
    assert write_submission(path, picks) == 1269
    notes = validate_submission(path, runs=picks.run_names)
    assert "87 rows of beta-amylase have no effect on the score" in notes
    # One pair of the truth lies 29.5 A apart, under apo-ferritin's match radius.
    assert sum("pairs of" in note for note in notes) == 1
    swapped = Picks.build(
        [str(run) for run in picks.runs], [str(name) for name in picks.objects], picks.positions_zyx_angstrom[:, ::-1]
    )
    write_submission(path, swapped)
    with pytest.raises(SubmissionError, match="z,y,x order"):
        validate_submission(path, runs=picks.run_names)


@pytest.fixture
def decimal_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run under a locale with a decimal comma, made for the test."""
    folder = tmp_path / "locales"
    folder.mkdir()
    compiler = shutil.which("localedef")
    if compiler is None:
        pytest.skip("localedef is not installed")
    made = subprocess.run([compiler, "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"], capture_output=True)
    if made.returncode:
        pytest.skip("the locale de_DE cannot be made here")
    before = locale.setlocale(locale.LC_ALL)
    monkeypatch.setenv("LOCPATH", str(folder))
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.usefixtures("decimal_comma")
def test_the_locale_changes_nothing(tmp_path: Path) -> None:
    assert locale.localeconv()["decimal_point"] == ","
    picks = Picks.build("TS_5_4", "ribosome", [[764.124, 3154.13, 2983.596]])
    grids = {"TS_5_4": czii.TOMOGRAM_GRID}
    path = tmp_path / "submission.csv"
    write_submission(path, picks)
    assert path.read_text() == HEADER + "0,TS_5_4,ribosome,2983.596,3154.130,764.124\n"
    assert validate_submission(path) == ()
    assert read_points_table(path).positions_zyx_angstrom.tolist() == [[764.124, 3154.13, 2983.596]]
    for name in ("relion5", "relion4", "dynamo", "coords"):
        exported = export_picks(picks, tmp_path / name, format=name, grids=grids)
        assert all("," not in file.read_text() for file in exported.paths)
    exported = export_picks(picks, tmp_path / "csv", format="csv", grids=grids)
    assert "2983.596000,3154.130000,764.124000" in exported.paths[0].read_text()
