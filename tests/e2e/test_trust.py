"""Numbers that can be trusted: what a model has seen is known, resumed work is the same work, nothing is left out."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofind.io import open_project, read_tomogram, write_mrc, write_segmentation_zarr, write_tomogram_zarr
from cryofind.models import load_model_folder
from cryofind.pipeline import demo
from cryofind.types import LabelVolume, Picks, Tomogram, VoxelGrid
from tests.e2e.conftest import TINY, Run, copy_project

SETTINGS = [part for setting in TINY for part in ("--set", setting)]
TWO_RUNS = ("--run", "P_1", "--run", "P_2", "--validation", "P_2")


def _hash_weights(model: Path) -> str:
    return load_model_folder(model).card.weights_sha256


def test_a_training_is_reproduced_by_its_seed(project: Path, tmp_path: Path, run: Run) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, _, err = run(
            "train", project, "--out", tmp_path / name, *TWO_RUNS, *SETTINGS, "--set", f"train.seed={seed}"
        )
        assert code == 0, err
    assert _hash_weights(tmp_path / "a") == _hash_weights(tmp_path / "b")
    assert _hash_weights(tmp_path / "a") != _hash_weights(tmp_path / "c")


def test_a_resumed_training_must_learn_from_the_same(project: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "model"
    assert run("train", project, "--out", out, *TWO_RUNS, *SETTINGS)[0] == 0
    assert run("train", project, "--out", out, *TWO_RUNS, *SETTINGS)[0] == 0
    swapped = ("--run", "P_1", "--run", "P_2", "--validation", "P_1")
    for other in (swapped, (*TWO_RUNS, "--voxel-size", "10.5")):
        code, _, err = run("train", project, "--out", out, *other, *SETTINGS)
        assert code == 2
        assert len(err.strip().splitlines()[-1]) < 600
    code, _, err = run("train", project, "--out", out, "--folds", 2, *SETTINGS)
    assert code == 2
    assert "another kind" in err


def test_the_history_of_an_initial_model_stays(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("train", project, "--out", tmp_path / "a", "--init", model, *TWO_RUNS, *SETTINGS)
    assert code == 2
    assert "P_2" in err
    out = tmp_path / "b"
    runs = ("--run", "P_3", "--run", "P_4", "--validation", "P_4")
    code, _, err = run("train", project, "--out", out, "--init", model, *runs, *SETTINGS)
    assert code == 0, err
    seen = [(entry["run"], entry["role"]) for entry in json.loads((out / "model.json").read_text())["training_runs"]]
    assert seen == [("P_1", "train"), ("P_2", "train"), ("P_3", "validate"), ("P_3", "train"), ("P_4", "validate")]
    assert run("tune", project, "--model", out, "--out", tmp_path / "tuned", "--run", "P_1")[0] == 2


def test_the_dice_is_not_that_of_the_truth_with_itself(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    run("pick", project, "--model", model, "--out", out, "--run", "P_4", "--segmentation")
    dice = json.loads(run("score", out, project, "--segmentation", "--json")[1])["dice"]
    assert max(dice.values()) < 0.99


def test_runs_picked_in_several_calls_add_up(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    for name in ("P_4", "P_3"):
        assert run("pick", project, "--model", model, "--out", out, "--run", name)[0] == 0
    assert Picks.from_csv(out / "picks.csv").run_names == ("P_3", "P_4")
    assert [record["run"] for record in json.loads((out / "run.json").read_text())["runs"]] == ["P_3", "P_4"]
    code, _, err = run("pick", project, "--model", model, "--out", out, "--set", "locate.floor=0.3")
    assert code == 2
    assert "another model, recipe" in err


def test_a_corrected_voxel_spacing_is_picked_anew(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    tomogram = open_project(project).select_tomograms(runs=("P_4",))[0].read()
    for spacing in (10.012, 9.95):
        grid = VoxelGrid.isotropic(tomogram.volume_zyx.shape, spacing)
        write_mrc(tmp_path / "P_4.mrc", Tomogram("P_4", tomogram.volume_zyx, grid))
        assert run("pick", tmp_path / "P_4.mrc", "--model", model, "--out", tmp_path / "out")[0] == 0
        record = json.loads((tmp_path / "out" / "run.json").read_text())["runs"][0]
        assert record["spacing_zyx_angstrom"] == pytest.approx([spacing] * 3, rel=1e-6)


def test_a_run_that_fails_now_leaves_no_older_picks(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    arguments = ("pick", copied, "--model", model, "--out", tmp_path / "out")
    assert run(*arguments)[0] == 0
    level = next((copied.parent / "ExperimentRuns" / "P_2").glob("VoxelSpacing*/*.zarr")) / "0"
    next(path for path in sorted(level.rglob("*")) if path.is_file() and not path.name.startswith(".")).unlink()
    assert run(*arguments)[0] == 1
    assert "P_2" not in Picks.from_csv(tmp_path / "out" / "picks.csv").run_names
    assert not list((tmp_path / "out" / "ExperimentRuns" / "P_2" / "Picks").glob("cryofind_*"))


def test_runs_without_the_asked_tomogram_are_named(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    for path in (copied.parent / "ExperimentRuns" / "P_2").glob("VoxelSpacing*"):
        shutil.rmtree(path)
    code, _, err = run("pick", copied, "--model", model, "--tomogram", "denoised", "--out", tmp_path / "out")
    assert code == 1
    assert "P_2" in err


@pytest.mark.parametrize("command", ["train", "tune", "score", "pick"])
def test_a_mistyped_run_is_refused(
    command: str, project: Path, model: Path, result: Path, tmp_path: Path, run: Run
) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "train": (project, "--out", tmp_path / "x", "--run", "P_1", *SETTINGS),
        "tune": (project, "--model", model, "--out", tmp_path / "x", "--run", "P_4"),
        "score": (result, project, "--run", "P_4"),
        "pick": (project, "--model", model, "--out", tmp_path / "x", "--run", "P_4"),
    }
    code, _, err = run(command, *arguments[command], "--run", "P_44")
    assert code == 2
    assert "P_4" in err
    assert "did you mean" in err


def test_tuning_without_calibration_drops_the_old_one(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    settings = ("--set", "tune.calibrate=false", "--set", "tune.min_picks=1")
    out = tmp_path / "tuned"
    code, text, err = run("tune", project, "--model", model, "--out", out, "--run", "P_4", *settings)
    assert code == 0, err
    assert "IN-SAMPLE" not in text
    card = json.loads((out / "model.json").read_text())
    tuned = [name for name, value in card["metrics"]["tuned_f_beta"].items() if value > 0]
    assert not set(tuned) & set(card["calibration"])


def test_labels_can_be_trained_on_membranes_too(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    document = json.loads(copied.read_text())
    document["pickable_objects"].append({"name": "membrane", "is_particle": False, "label": 9})
    copied.write_text(json.dumps(document))
    names = {1: "apo-ferritin", 9: "membrane"}
    for path in copied.parent.glob("ExperimentRuns/*/Segmentations/*.zarr"):
        tomogram = read_tomogram(next(path.parent.parent.glob("VoxelSpacing*/*.zarr")))
        labels = np.zeros(tomogram.grid.shape_zyx, dtype=np.uint8)
        labels[10:14] = 9
        labels[20:26, 20:26, 20:26] = 1
        write_segmentation_zarr(path, LabelVolume("P", labels, tomogram.grid, names))
    code, _, err = run(
        "train", copied, "--out", tmp_path / "model", *TWO_RUNS, *SETTINGS, "--set", 'targets.kind="labels"'
    )
    assert code == 0, err
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert [entry["name"] for entry in card["objects"]] == ["apo-ferritin", "membrane"]
    code, _, err = run(
        "pick", copied, "--model", tmp_path / "model", "--out", tmp_path / "out", "--run", "P_4", "--segmentation"
    )
    assert code == 0, err


def test_projects_whose_labels_clash_are_numbered_anew(project: Path, tmp_path: Path, run: Run) -> None:
    other = copy_project(project, tmp_path / "other")
    document = json.loads(other.read_text())
    document["pickable_objects"] = [{"name": "ribosome", "is_particle": True, "label": 1, "radius": 150.0}]
    other.write_text(json.dumps(document))
    for folder in sorted((other.parent / "ExperimentRuns").iterdir()):
        for path in (folder / "Picks").glob("*.json"):
            if "ribosome" not in path.name:
                path.unlink()
        folder.rename(folder.with_name(f"Q_{folder.name}"))
    for path in (other.parent / "ExperimentRuns").glob("*/Picks/*.json"):
        picks = json.loads(path.read_text())
        path.write_text(json.dumps({**picks, "run_name": f"Q_{picks['run_name']}"}))
    code, _, err = run(
        "train", project, other, "--out", tmp_path / "model", "--run", "P_1", "--run", "Q_P_2", *SETTINGS
    )
    assert code == 0, err
    labels = [entry["label"] for entry in json.loads((tmp_path / "model" / "model.json").read_text())["objects"]]
    assert len(set(labels)) == len(labels)


def test_a_submission_that_would_lose_points_is_refused(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(
        "id,experiment,particle_type,x,y,z\n0,TS_1,ribosome,3000.0,3000.0,900.0\n0,TS_1,ribosome,3000.0,3000.0,900.0\n"
    )
    code, _, err = run("submit", path, "--out", tmp_path / "out.csv")
    assert code == 2
    assert "line 3" in err


def test_a_second_demo_never_overwrites_a_foreign_project(tmp_path: Path, run: Run) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "copick.json").write_text("mine")
    code, _, err = run("demo", "--out", tmp_path)
    assert code == 2
    assert "other files" in err
    assert (tmp_path / "project" / "copick.json").read_text() == "mine"


def test_the_shipped_demo(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = demo.PICKED._replace(recipe="easy", settings=("sample.crowding=4",), shape_zyx=(64, 192, 192))
    monkeypatch.setattr(demo, "PICKED", sample)
    for seed in (0, 1):
        code, out, err = run("demo", "--out", tmp_path / "demo", "--seed", seed)
        assert code == 0, err
        assert f"score of easy_s{seed}_0001, a tomogram simulated just now, by the shipped model" in out
        found = re.search(r"weighted F4: ([0-9.]+)", out)
        assert found is not None
        assert float(found[1]) > 0.5
    for name in ("picks/picks.csv", "submission.csv", "picks.png", "report/index.html"):
        assert (tmp_path / "demo" / name).stat().st_size > 0


def test_a_bare_zarr_is_picked(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    tomogram = open_project(project).select_tomograms(runs=("P_4",))[0].read()
    write_tomogram_zarr(tmp_path / "mine.zarr", tomogram, zarr_format=3)
    code, out, err = run("pick", tmp_path / "mine.zarr", "--model", model, "--out", tmp_path / "out")
    assert code == 0, err
    assert "mine" in out


@pytest.mark.parametrize("part", ["", "picks.csv", "copick.json", "runs/P_1", "runs/P_1/picks.csv"])
def test_no_path_into_a_result_hides_what_the_model_saw(
    part: str, project: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    run("pick", project, "--model", model, "--out", tmp_path / "out", "--run", "P_1")
    code, _, err = run("score", tmp_path / "out" / part, project, "--run", "P_1")
    assert code == 2
    assert "--in-sample" in err
    own = ("--predictions-uri", "*:cryofind/1", "--run", "P_1")
    assert run("score", tmp_path / "out" / "copick.json", project, *own)[0] == 2


def test_failures_of_an_earlier_call_still_count(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    level = next((copied.parent / "ExperimentRuns" / "P_2").glob("VoxelSpacing*/*.zarr")) / "0"
    next(path for path in sorted(level.rglob("*")) if path.is_file() and not path.name.startswith(".")).unlink()
    out = tmp_path / "out"
    run("pick", copied, "--model", model, "--out", out, "--run", "P_2", "--run", "P_3")
    run("pick", copied, "--model", model, "--out", out, "--run", "P_4")
    assert [item["run"] for item in json.loads((out / "run.json").read_text())["failed"]] == ["P_2"]
    code, _, err = run("score", out, project, "--run", "P_4", "--run", "P_1")
    assert code == 2
    assert "P_1" in err


def test_a_run_that_is_gone_leaves_the_result(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    out = tmp_path / "out"
    arguments = ("pick", copied, "--model", model, "--out", out, "--run", "P_4", "--segmentation")
    assert run(*arguments)[0] == 0
    level = next((copied.parent / "ExperimentRuns" / "P_4").glob("VoxelSpacing*/*.zarr")) / "0"
    next(path for path in sorted(level.rglob("*")) if path.is_file() and not path.name.startswith(".")).unlink()
    assert run(*arguments)[0] == 2
    assert len(Picks.from_csv(out / "picks.csv")) == 0
    assert json.loads((out / "run.json").read_text())["runs"] == []
    assert not list(out.glob("ExperimentRuns/P_4/Segmentations/*"))


def test_a_damaged_run_does_not_stop_the_others(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    run("pick", project, "--model", model, "--out", out, "--run", "P_4")
    (out / "runs" / "P_4" / "picks.csv").write_text("garbage")
    code, _, err = run("pick", project, "--model", model, "--out", out, "--run", "P_3")
    assert code == 0, err
    assert "damaged" in err
    assert Picks.from_csv(out / "picks.csv").run_names == ("P_3",)


def test_one_run_under_two_names_is_refused(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    runs = copied.parent / "ExperimentRuns"
    shutil.copytree(runs / "P_1", runs / "P_9")
    names = ("--run", "P_1", "--run", "P_9", "--validation", "P_9")
    code, _, err = run("train", copied, "--out", tmp_path / "model", *names, *SETTINGS)
    assert code == 2
    assert "same voxels" in err
    assert not (tmp_path / "model").exists()


def test_a_refused_request_does_not_claim_the_folder(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "model"
    assert run("train", project, "--out", out, "--folds", 9, *SETTINGS)[0] == 2
    code, _, err = run("train", project, "--out", out, "--folds", 2, "--init", model, *SETTINGS)
    assert code == 2
    assert "initial model" in err
    assert not out.exists()
    assert run("train", project, "--out", out, *TWO_RUNS, *SETTINGS)[0] == 0
    before = (out / "run.json").read_text()
    assert run("train", project, "--out", out, *TWO_RUNS, *SETTINGS, "--set", "train.learning_rate=1e-5")[0] == 2
    assert (out / "run.json").read_text() == before
