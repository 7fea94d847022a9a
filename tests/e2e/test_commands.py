"""Every command on a tiny project, as a user types it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cryofind
from cryofind.errors import CryofindError
from cryofind.io import open_project, read_tomogram
from cryofind.types import Picks
from tests.e2e.conftest import RUNS, TINY, Run, copy_project

SETTINGS = [part for setting in TINY for part in ("--set", setting)]


def test_train_writes_a_model_card_that_remembers_its_runs(model: Path) -> None:
    card = json.loads((model / "model.json").read_text())
    roles = {run["run"]: run["role"] for run in card["training_runs"]}
    assert roles == {"P_1": "train", "P_2": "train", "P_3": "validate"}
    assert card["voxel_spacing_angstrom"] == pytest.approx(10.012, abs=1e-3)
    assert json.loads((model / "run.json").read_text())["made_by"] == "cryofind train"
    rows = [json.loads(line) for line in (model / "training" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss"} <= {row["name"] for row in rows}


def test_pick_writes_table_overlay_and_record(result: Path) -> None:
    picks = Picks.from_csv(result / "picks.csv")
    record = json.loads((result / "run.json").read_text())
    assert picks.run_names == ("P_4",)
    assert record["runs"][0]["candidates"] == len(picks)
    assert record["runs"][0]["in_sample"] is False
    assert record["models"][0]["sha256"]
    overlay = open_project(result / "copick.json").read_picks("*:cryofind/1")
    chosen = picks.only_selected()
    assert len(overlay) == len(chosen)
    assert np.sort(overlay.scores) == pytest.approx(np.sort(chosen.scores), abs=1e-6)
    assert not np.isnan(picks.positions_zyx_angstrom).any()


def test_pick_keeps_finished_runs_and_remakes_damaged_ones(
    project: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    arguments = ("pick", project, "--model", model, "--out", tmp_path / "out", "--run", "P_4")
    assert run(*arguments)[0] == 0
    first = (tmp_path / "out" / "picks.csv").read_bytes()
    record = tmp_path / "out" / "runs" / "P_4" / "run.json"
    stamp = record.stat().st_mtime_ns
    assert run(*arguments)[0] == 0
    assert record.stat().st_mtime_ns == stamp
    (tmp_path / "out" / "runs" / "P_4" / "picks.csv").write_text("damaged")
    assert run(*arguments)[0] == 0
    assert record.stat().st_mtime_ns != stamp
    assert (tmp_path / "out" / "picks.csv").read_bytes() == first


def test_pick_names_the_bad_tomogram_among_good_ones(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    broken = next((copied.parent / "ExperimentRuns" / "P_2").glob("VoxelSpacing*/*.zarr")) / "0"
    next(path for path in sorted(broken.rglob("*")) if path.is_file() and not path.name.startswith(".")).unlink()
    code, out, err = run("pick", copied, "--model", model, "--out", tmp_path / "out")
    assert code == 1
    assert "3 of 4 tomograms picked" in out
    assert "P_2" in err
    assert "chunk" in err
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [item["run"] for item in record["failed"]] == ["P_2"]
    assert Picks.from_csv(tmp_path / "out" / "picks.csv").run_names == ("P_1", "P_3", "P_4")


def test_score_prints_a_table_and_json(project: Path, result: Path, run: Run) -> None:
    code, out, _ = run("score", result, project)
    assert code == 0
    assert "ribosome" in out
    assert "kaggle" in out
    document = json.loads(run("score", result, project, "--json")[1])
    assert set(document) >= {"f_beta", "beta", "mode", "objects", "runs"}
    assert list(document["runs"]) == ["P_4"]


def test_score_of_two_users_of_one_project(project: Path, result: Path, run: Run) -> None:
    configuration = result / "copick.json"
    users = ("--predictions-uri", "*:cryofind/1", "--truth-uri", "*:curation/0", "--run", "P_4", "--json")
    assert json.loads(run("score", configuration, configuration, *users)[1]) == json.loads(
        run("score", result, project, "--json")[1]
    )


def test_score_of_the_truth_against_itself_is_one(project: Path, run: Run) -> None:
    assert json.loads(run("score", project, project, "--json")[1])["f_beta"] == pytest.approx(1.0)


def test_score_refuses_runs_that_the_model_saw(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    run("pick", project, "--model", model, "--out", tmp_path / "out", "--run", "P_1")
    code, _, err = run("score", tmp_path / "out", project)
    assert code == 2
    assert "--in-sample" in err
    code, out, _ = run("score", tmp_path / "out", project, "--in-sample")
    assert code == 0
    assert "in-sample" in out.casefold()


def test_tune_writes_a_new_model_and_refuses_seen_runs(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("tune", project, "--model", model, "--out", tmp_path / "a", "--run", "P_1")
    assert code == 2
    assert "--in-sample" in err
    code, out, _ = run(
        "tune", project, "--model", model, "--out", tmp_path / "b", "--run", "P_4", "--set", "tune.min_picks=1"
    )
    assert code == 0
    assert "threshold" in out
    card = json.loads((tmp_path / "b" / "model.json").read_text())
    assert {"run": "P_4", "role": "tune"}.items() <= card["training_runs"][-1].items()


@pytest.fixture
def other(project: Path, tmp_path: Path) -> Path:
    """Return a project with P_4 alone, called Q_4; beta-galactosidase is not annotated in it."""
    copied = copy_project(project, tmp_path / "other")
    for name in ("P_1", "P_2", "P_3"):
        shutil.rmtree(copied.parent / "ExperimentRuns" / name)
    (copied.parent / "ExperimentRuns" / "P_4").rename(copied.parent / "ExperimentRuns" / "Q_4")
    for path in copied.parent.glob("ExperimentRuns/Q_4/Picks/*beta-galactosidase*"):
        path.unlink()
    return copied


def test_tune_takes_runs_of_several_projects(project: Path, model: Path, other: Path, tmp_path: Path, run: Run) -> None:
    tune = ("tune", project, other, "--model", model, "--set", "tune.min_picks=1", "--in-sample")
    code, _, err = run(*tune, "--out", tmp_path / "both", "--run", "P_3", "--run", "Q_4")
    assert code == 0, err
    assert f"beta-galactosidase: not annotated in {other}" in err
    card = json.loads((tmp_path / "both" / "model.json").read_text())
    assert [(seen["run"], seen["role"]) for seen in card["training_runs"][-2:]] == [("P_3", "tune"), ("Q_4", "tune")]
    code, _, err = run(*tune, "--out", tmp_path / "one", "--run", "P_3")  # of the other project nothing is asked
    assert code == 0, err


def test_tune_refuses_runs_that_it_would_count_twice_or_not_at_all(
    project: Path, model: Path, other: Path, tmp_path: Path, run: Run
) -> None:
    tune = ("tune", project, other, "--model", model, "--out", tmp_path / "out", "--in-sample")
    runs = other.parent / "ExperimentRuns"
    assert "run Q_4: has the same voxels or picks as run P_4" in run(*tune, "--run", "P_4", "--run", "Q_4")[2]
    assert "--run P_9: is not in the input" in run(*tune, "--run", "P_9")[2]
    (runs / "Q_4").rename(runs / "P_4")
    assert "run P_4: stands in" in run(*tune)[2]
    shutil.rmtree(runs / "P_4" / "Picks")
    assert f"{other}: holds no annotated run" in run(*tune)[2]
    (runs / "P_4").rename(runs / "Q_4")
    code, _, err = run(*tune, "--run", "P_3", "--run", "Q_4")
    assert code == 2
    assert "run Q_4: has no annotated picks" in err
    assert not (tmp_path / "out").exists()


def test_tune_refuses_an_object_that_the_model_does_not_know_before_it_predicts(
    project: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = copy_project(project, tmp_path / "more")
    configuration = json.loads(copied.read_text())
    stranger = {**configuration["pickable_objects"][0], "name": "stranger", "label": 77}
    copied.write_text(json.dumps({**configuration, "pickable_objects": [*configuration["pickable_objects"], stranger]}))
    (known,) = copied.parent.glob("ExperimentRuns/P_4/Picks/*apo-ferritin*")
    document = json.loads(known.read_text())
    known.with_name(known.name.replace("apo-ferritin", "stranger")).write_text(
        json.dumps({**document, "pickable_object_name": "stranger"})
    )
    monkeypatch.setattr("cryofind.pipeline.tune.find_in_ways", lambda *_: pytest.fail("it has predicted"))
    code, _, err = run("tune", copied, "--model", model, "--out", tmp_path / "out", "--run", "P_4")
    assert code == 2
    assert "stranger" in err


def test_folds_leave_an_ensemble_and_out_of_fold_picks(project: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "folds"
    code, text, _ = run("train", project, "--out", out, "--folds", 2, "--keep", "ensemble", *SETTINGS)
    assert code == 0
    assert "Out of fold" in text
    assert Picks.from_csv(out / "out_of_fold" / "picks.csv").run_names == RUNS
    code, _, err = run("pick", project, "--model", out, "--out", tmp_path / "picks", "--run", "P_1")
    assert code == 0, err
    assert len(json.loads((tmp_path / "picks" / "run.json").read_text())["models"]) == 2


def test_pick_with_segmentation_has_a_dice(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    settings = ("--set", "predict.segmentation_threshold=0.01", "--set", "predict.keep_probabilities=true")
    out = tmp_path / "out"
    run("pick", project, "--model", model, "--out", out, "--run", "P_4", "--segmentation", *settings)
    assert (out / "probabilities" / "P_4.zarr").is_dir()
    code, text, err = run("score", out, project, "--segmentation")
    assert code == 0, err
    assert "Dice" in text


def test_submission_is_valid_and_refuses_foreign_objects(result: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("submit", result, "--out", tmp_path / "submission.csv")
    assert code == 0, err
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[0] == "id,experiment,particle_type,x,y,z"
    foreign = tmp_path / "picks.csv"
    foreign.write_text(
        "run,object,x_angstrom,y_angstrom,z_angstrom,score,selected\nTS_1,ribosomes,1.000,2.000,3.000,0.9,1\n"
    )
    code, _, err = run("submit", foreign, "--out", tmp_path / "bad.csv")
    assert code == 2
    assert "ribosome'" in err
    assert not (tmp_path / "bad.csv").exists()


@pytest.mark.parametrize("format_name", ["relion5", "relion4", "copick", "csv", "em", "dynamo", "coords"])
def test_export_writes_files(result: Path, tmp_path: Path, run: Run, format_name: str) -> None:
    options = ("--all-candidates", "--tilt-series-pixel-size", "1.54")
    code, out, err = run("export", result, "--format", format_name, *options, "--out", tmp_path / "out")
    assert code == 0, err
    assert out
    assert any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_info_knows_projects_tomograms_models_and_results(project: Path, model: Path, result: Path, run: Run) -> None:
    assert "P_1" in run("info", project)[1]
    assert "10.01" in run("info", next(project.parent.glob("ExperimentRuns/P_1/VoxelSpacing*/*.zarr")))[1]
    assert "res16" in run("info", model)[1]
    assert "P_4" in run("info", result)[1]


def test_doctor_reads_everything(project: Path, model: Path, run: Run) -> None:
    code, out, _ = run("doctor", project, "--model", model)
    assert "cores" in out
    assert "picks of curation/0" in out
    assert code in {0, 1}


def test_init_makes_a_project_from_loose_files(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    from cryofind.io import write_mrc

    source = open_project(project)
    tomogram = source.select_tomograms(runs=("P_1",))[0].read()
    write_mrc(tmp_path / "P_1.mrc", tomogram)
    ribosomes = source.read_picks(runs=("P_1",)).of_object("ribosome")
    indices = tomogram.grid.indices_from_positions(ribosomes.positions_zyx_angstrom)
    coords = "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for z, y, x in indices)
    (tmp_path / "P_1.coords").write_text(coords)
    out = tmp_path / "project"
    code, text, err = run(
        "init", tmp_path / "P_1.mrc", "--picks", tmp_path / "P_1.coords", "--object", "ribosome:150", "--out", out
    )
    assert code == 0, err
    assert "voxel" in text
    made = open_project(out / "copick.json")
    assert np.allclose(made.read_picks().positions_zyx_angstrom, ribosomes.positions_zyx_angstrom, atol=0.01)
    assert np.array_equal(made.select_tomograms()[0].read().volume_zyx, tomogram.volume_zyx)
    assert run("init", tmp_path / "P_1.mrc", "--object", "ribosome:150", "--out", out)[0] == 2


def test_init_refuses_picks_outside(project: Path, tmp_path: Path, run: Run) -> None:
    from cryofind.io import write_mrc

    write_mrc(tmp_path / "P_1.mrc", open_project(project).select_tomograms(runs=("P_1",))[0].read())
    (tmp_path / "P_1.coords").write_text("5000 10 10\n")
    code, _, err = run(
        "init", tmp_path / "P_1.mrc", "--picks", tmp_path / "P_1.coords", "--object", "a:50", "--out", tmp_path / "p"
    )
    assert code == 2
    assert "outside" in err
    assert not (tmp_path / "p").exists()


def test_the_library_example(project: Path, model: Path, tmp_path: Path) -> None:
    opened = cryofind.open_project(project)
    tomogram = opened.select_tomograms(runs=("P_4",))[0].read()
    truth = opened.read_picks(runs=("P_4",))

    picker = cryofind.load_model(model)
    picks = picker.pick(tomogram.volume_zyx, voxel_spacing_angstrom=10.012)
    picks.to_csv(tmp_path / "picks.csv")
    report = cryofind.score(picks, truth)

    assert Picks.from_csv(tmp_path / "picks.csv").run_names in {("tomogram",), ()}
    assert 0 <= report.f_beta <= 1.1
    assert report.mode == "kaggle"


def test_the_library_says_cryofind_error_for_bad_input(tmp_path: Path) -> None:
    with pytest.raises(CryofindError, match=r"nothing\.mrc"):
        read_tomogram(tmp_path / "nothing.mrc")


def test_config_prints_the_resolved_recipe(tmp_path: Path, run: Run) -> None:
    (tmp_path / "recipe.toml").write_text("[train]\nsteps = 7\n")
    code, out, _ = run("config", "--recipe", tmp_path / "recipe.toml", "--set", "locate.floor=0.1")
    assert code == 0
    document = json.loads(out)
    assert document["train"]["steps"] == 7
    assert document["locate"]["floor"] == 0.1
    assert "properties" in json.loads(run("config", "--schema")[1])
