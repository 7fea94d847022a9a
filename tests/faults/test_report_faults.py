"""What cannot be reported says so in one line that names it and ends in advice; nothing half written is left."""

import json
from pathlib import Path

import pytest

from cryofind.types import Picks
from tests.e2e.conftest import Run, run
from tests.result_folders import make_tomogram, scatter, write_result

__all__ = ["run"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_result(tmp_path / "result", scatter("TS_1", "ball", 9, seed=1), tomograms=[make_tomogram("TS_1")])


def refuse(run: Run, *arguments: object) -> str:
    code, out, err = run("report", *arguments)
    assert code == 2, (out, err)
    assert out == ""
    lines = err.strip().splitlines()
    assert lines[-1].startswith("cryofind: error: ")
    assert "Traceback" not in err
    return lines[-1]


def test_a_folder_without_results_says_what_is_expected(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no tomograms and no project" in refuse(run, tmp_path / "empty", "--out", tmp_path / "out")
    assert "does not exist" in refuse(run, tmp_path / "absent", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_three_paths_are_too_many(folder: Path, run: Run) -> None:
    assert "3 paths; give one, or two results" in refuse(run, folder, folder, folder)


def test_two_paths_must_be_results(folder: Path, tmp_path: Path, run: Run) -> None:
    assert "is no folder written by `cryofind pick`" in refuse(run, folder, tmp_path, "--out", tmp_path / "out")


def test_a_truth_of_other_runs_is_refused(folder: Path, tmp_path: Path, run: Run) -> None:
    scatter("TS_8", "ball", 3, seed=2).to_csv(tmp_path / "truth.csv")
    line = refuse(run, folder, "--truth", tmp_path / "truth.csv")
    assert "shares no annotated run with the result (it has: TS_8)" in line
    assert not (folder / "report").exists()


def test_a_truth_of_unknown_objects_is_refused(folder: Path, tmp_path: Path, run: Run) -> None:
    Picks.build("TS_1", "balls", [[1, 2, 3]]).to_csv(tmp_path / "truth.csv")
    assert "did you mean 'ball'" in refuse(run, folder, "--truth", tmp_path / "truth.csv")


def test_truth_and_no_truth_contradict_each_other(folder: Path, run: Run) -> None:
    assert "--no-truth" in refuse(run, folder, "--truth", folder, "--no-truth")


def test_an_unknown_run_is_named_with_the_nearest(folder: Path, run: Run) -> None:
    assert "did you mean 'TS_1'" in refuse(run, folder, "--run", "TS_l")


def test_an_unknown_setting_is_named_with_the_nearest(folder: Path, run: Run) -> None:
    assert "did you mean 'score.mode'" in refuse(run, folder, "--set", "score.mod=octopi")


@pytest.mark.parametrize("field", ["run", "path", "shape_zyx"])
def test_a_damaged_record_is_named(folder: Path, run: Run, field: str) -> None:
    record = json.loads((folder / "run.json").read_text())
    del record["runs"][0][field]
    (folder / "run.json").write_text(json.dumps(record))
    assert "run.json: runs" in refuse(run, folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runs", None),
        ("models", {}),
        ("failed", [3]),
        ("thresholds", []),
        ("config", "x"),
        ("objects", [{"name": "a"}]),
    ],
)
def test_a_record_of_another_shape_is_named(folder: Path, run: Run, field: str, value: object) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, field: value}))
    assert f"run.json: {field}" in refuse(run, folder)


def test_what_would_be_passed_over_is_refused(folder: Path, tmp_path: Path, run: Run) -> None:
    for option in ("--picks", "--tomogram", "--voxel-size"):
        line = refuse(run, folder, option, "10")
        assert f"is taken for a result of `cryofind pick`, about which {option} says nothing" in line
    tomogram = folder / "tomograms" / "0.mrc"
    for option in ("--truth", "--truth-uri", "--set"):
        line = refuse(run, tomogram, option, "score.mode=octopi", "--out", tmp_path / "out")
        assert f"is taken for tomograms, about which {option} says nothing" in line
    assert "a model, about which --run says nothing" in refuse(run, "czii-sim-small", "--run", "TS_1")


def test_damaged_picks_are_named_with_their_line(folder: Path, run: Run) -> None:
    (folder / "picks.csv").write_text((folder / "picks.csv").read_text().replace("0.", "zero.", 1))
    assert "picks.csv: line" in refuse(run, folder)


def test_an_output_that_is_a_file_or_foreign_folder_is_refused(folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refuse(run, folder, "--out", tmp_path / "file")
    assert "holds other files" in refuse(run, folder, "--out", folder)
    assert (folder / "picks.csv").is_file()
