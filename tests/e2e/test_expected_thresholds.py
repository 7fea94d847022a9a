"""`cryofind pick --thresholds expected`, what it says to expect, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

import cryofind
from cryofind.io import open_project
from cryofind.locate import apply_calibration
from cryofind.models import load_model_folder, save_model
from cryofind.pipeline.tuning import DEFAULT_THRESHOLD
from cryofind.types import Calibration, CandidateCounts, Picks
from tests.e2e.conftest import Run

COUNTS = CandidateCounts(0.0001, 500, 20, 25, 0.4)


@pytest.fixture(scope="module")
def calibrated(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with a calibration of all its objects, as if it had been tuned."""
    loaded = load_model_folder(model)
    calibration = {name: Calibration.line(1.0, 0.5, COUNTS) for name in loaded.card.object_names}
    changes = {"calibration": calibration, "calibrated_for": {"engine": "torch", "test_time_augmentation": 2}}
    folder = tmp_path_factory.mktemp("calibrated") / "tiny"
    save_model(folder, loaded.network, loaded.card.model_copy(update=changes))
    return folder


def test_expected_and_tuned_thresholds_are_told_of_and_never_mixed(
    project: Path, calibrated: Path, tmp_path: Path, run: Run
) -> None:
    arguments = ("pick", project, "--model", calibrated, "--run", "P_4", "--set", 'predict.engine="torch"')
    code, text, err = run(*arguments, "--out", tmp_path / "a", "--thresholds", "expected")
    assert code == 0, err
    (line,) = [line for line in text.splitlines() if line.startswith("P_4: about ")]
    assert "expected right, recall" in line
    assert err.count("scores were calibrated for test_time_augmentation 2, not 1") == 1
    (record,) = json.loads((tmp_path / "a" / "run.json").read_text())["runs"]
    picks = Picks.from_csv(tmp_path / "a" / "picks.csv")
    for name, known in record["trust"]["objects"].items():
        of_object = picks.of_object(name)
        assert known["picks"] == of_object.selected.sum()
        assert known["interval_95"][0] <= known["expected"] <= known["interval_95"][1]
        assert known["expected_hits"] == pytest.approx(of_object.scores[of_object.selected].sum(), abs=0.01)
    assert record["trust"]["not_calibrated"] == []
    code, again, err = run(*arguments, "--out", tmp_path / "a", "--thresholds", "expected")
    assert (code, line in again) == (0, True), err
    code, _, err = run(*arguments, "--out", tmp_path / "a")
    assert code == 2
    assert "another model, recipe" in err


def test_the_library_selects_like_the_command(project: Path, calibrated: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run(
        "pick", project, "--model", calibrated, "--run", "P_4", "--out", tmp_path / "a", "--thresholds", "expected"
    )
    assert code == 0, err
    tomogram = open_project(project).select_tomograms(runs=("P_4",))[0].read()
    picker = cryofind.load_model(calibrated, settings=["locate.thresholds=expected"])
    found = picker.pick(tomogram.volume_zyx, voxel_spacing_angstrom=tomogram.grid.spacing_angstrom)
    written = Picks.from_csv(tmp_path / "a" / "picks.csv")
    assert found.selected.sum() == written.selected.sum() > 0


def test_a_model_without_calibration_is_refused_before_anything_is_written(
    project: Path, calibrated: Path, tmp_path: Path, run: Run
) -> None:
    plain = shutil.copytree(calibrated, tmp_path / "plain")
    loaded = load_model_folder(plain)
    save_model(plain, loaded.network, loaded.card.model_copy(update={"calibration": {}}))
    code, _, err = run("pick", project, "--model", plain, "--out", tmp_path / "out", "--thresholds", "expected")
    assert code == 2
    assert "cryofind tune" in err
    assert not (tmp_path / "out").exists()
    code, text, err = run("pick", project, "--model", plain, "--out", tmp_path / "out", "--run", "P_4")
    assert code == 0, err
    assert "P_4: scores are not calibrated" in text


def test_an_unknown_kind_of_thresholds_is_a_usage_error(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("pick", project, "--model", model, "--out", tmp_path / "x", "--thresholds", "best")
    assert code == 2
    assert "'tuned', 'expected'" in err
    code, _, err = run("pick", project, "--model", model, "--out", tmp_path / "x", "--set", "locate.thresholds=best")
    assert code == 2
    assert "locate.thresholds" in err


def test_tuning_keeps_no_calibration_that_is_for_something_else(
    project: Path, calibrated: Path, tmp_path: Path, run: Run
) -> None:
    arguments = (
        "tune", project, "--model", calibrated, "--run", "P_4",
        "--set", "tune.min_picks=2", "--set", 'predict.engine="torch"',
    )  # fmt: skip
    before = load_model_folder(calibrated).card
    code, _, err = run(*arguments, "--out", tmp_path / "same", "--set", "predict.test_time_augmentation=2")
    assert code == 0, err
    assert "old calibration" not in err
    card = load_model_folder(tmp_path / "same").card
    assert card.calibration["thyroglobulin"] == before.calibration["thyroglobulin"]
    code, _, err = run(*arguments, "--out", tmp_path / "other")
    assert code == 0, err
    (line,) = [line for line in err.splitlines() if "old calibration" in line]
    assert line.endswith("the old calibration is for test_time_augmentation 2, not 1: scores are left as they are")
    card = load_model_folder(tmp_path / "other").card
    tuned = {name for name, value in card.metrics["tuned_f_beta"].items() if value}
    lost = set(before.calibration) - tuned
    assert "thyroglobulin" in lost
    assert set(line.removeprefix("warning: ").split(": ")[0].split(", ")) == lost
    assert set(card.calibration) == tuned
    # By raw scores the same picks are selected.
    raw = card.thresholds["thyroglobulin"]
    assert apply_calibration(raw, before.calibration["thyroglobulin"]) == pytest.approx(
        before.thresholds.get("thyroglobulin", DEFAULT_THRESHOLD)
    )


def test_tuning_says_what_its_calibration_holds_for(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "tuned"
    code, _, err = run(
        "tune", project, "--model", model, "--out", out, "--run", "P_4", "--set", "tune.min_picks=1",
        "--set", "predict.test_time_augmentation=2",
    )  # fmt: skip
    assert code == 0, err
    card = json.loads((out / "model.json").read_text())
    assert card["calibrated_for"]["test_time_augmentation"] == 2
    assert card["calibrated_for"]["members"] == 1
    counts = [entry["counts"] for entry in card["calibration"].values() if entry["counts"]]
    assert counts
    assert all(known["found"] <= known["references"] for known in counts)
