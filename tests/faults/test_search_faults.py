"""What a search refuses before it begins."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cryofind.atomic import write_json
from cryofind.testing import write_phantom_project
from tests.e2e.conftest import Run, copy_project

SHAPE = (32, 64, 64)
SETTINGS = (
    "model.network=res16",
    "model.widths=[16, 16]",
    "model.encoder_blocks=[1, 1]",
    "model.decoder_blocks=[1]",
    "train.crop_zyx=[32, 32, 32]",
    "train.batch_size=1",
    "train.steps=2",
    "train.devices=cpu",
)
OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "project"
    return write_phantom_project(folder, runs=("P_1", "P_2", "P_3"), seed=3, shape_zyx=SHAPE)


def refuse(run: Run, *arguments: object) -> str:
    """Return the one line of an error."""
    code, _, err = run("--quiet", "search", *arguments)
    assert code == 2, err
    lines = [line for line in err.splitlines() if "warning:" not in line]
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ('"train.learning_rat" = [1e-4, 1e-2]', ["train.learning_rat", "did you mean 'train.learning_rate'?"]),
        ('"trains.learning_rate" = [1e-4, 1e-2]', ["trains", "did you mean 'train'?"]),
        ('"steps" = [1, 2]', ["steps", "not of the form stage.key"]),
        ('"train.learning_rate" = [0.0, 1e-2]', ["train.learning_rate", "greater than 0", "found 0.0"]),
        ('"augment.mixup_probability" = {low = 0, high = 2}', ["augment.mixup_probability", "less than or equal to 1"]),
        ('"train.batch_size" = [1, 2.5]', ["train.batch_size", "found 2.5"]),
        ('"train.batch_size" = [4, 2]', ["low is 4 and high 2", "give a low below high"]),
        ('"train.learning_rate" = {low = 1e-4}', ["train.learning_rate: high", "is missing"]),
        ('"train.learning_rate" = {low = 1, high = 2, logg = true}', ["logg", "did you mean 'log'?"]),
        ('"augment.noise_sigma" = {low = 0, high = 1, log = true}', ["expected above 0 with log"]),
        ('"train.keep_best" = {low = 0, high = 1}', ["train.keep_best", "no numbers", "list the choices"]),
        ('"model.network" = ["res16"]', ["model.network", "expected [low, high]"]),
        ('"model.network" = {choices = ["res16"]}', ["choices", "entries"]),
        ('"model.network" = ["res16", "res16"]', ["names 'res16' twice"]),
        ('"targets.kind" = ["ball", "cube"]', ["targets.kind", '"cube"']),
        ('"targets.kind" = ["ball", "labels"]', ["'labels'", "other objects"]),
        ('"train.steps" = [100, 200]', ["train.steps", "the same in all trials", "[train]"]),
        ('"score.beta" = [1, 4]', ["score.beta", "the same in all trials", "[score]"]),
        ('"train.steps.more" = [1, 2]', ["'steps' is a value, not a table"]),
        ("", ["names no key"]),
        # Only building says these.
        ('"model.network" = ["res16", "res61"]', ["res61", "did you mean 'res16'?"]),
        ('"loss.name" = ["tversky", "tverski"]', ["tverski", "did you mean 'tversky'?"]),
        ('"targets.radius_factors.ribosom" = [0.2, 0.8]', ["ribosom", "did you mean 'ribosome'?"]),
        ('"train.crop_zyx" = [[32, 32, 32], [32, 32, 33]]', ["train.crop_zyx", "use even sizes"]),
        ('"train.crop_zyx" = [[32, 32, 32], [4, 4, 4]]', ["train.batch_size: is 1", "4 x 4 x 4", "train.crop_zyx"]),
    ],
)
def test_spaces_that_cannot_be(space: str, words: list[str], phantoms: Path, tmp_path: Path, run: Run) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[search.space]\n{space}\n")
    line = refuse(run, recipe, phantoms, "--out", tmp_path / "out", *OPTIONS)
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minutes", "0"), ["search.minutes", "greater than 0"]),
        (("--trials", "0"), ["--trials"]),
        (("--set", "search.trails=3"), ["did you mean 'search.trials'?"]),
        (("--set", "train.stepps=3"), ["did you mean 'train.steps'?"]),
        (("--set", "train.devices=cpu:2"), ["one device"]),
        (("--validation", "P_9"), ["P_9", "P_1, P_2, P_3"]),
        (("--run", "P_1", "--run", "P_2"), ["--validation", "none is held out", "P_1, P_2"]),
        (("--init", "nothing"), ["nothing"]),
    ],
)
def test_searches_that_cannot_be(
    arguments: tuple[str, ...], words: list[str], phantoms: Path, tmp_path: Path, run: Run
) -> None:
    line = refuse(run, phantoms, "--out", tmp_path / "out", *OPTIONS, *arguments)
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def test_without_optuna_one_line_names_the_extra(
    phantoms: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refuse(run, phantoms, "--out", tmp_path / "out")
    assert "needs the package optuna" in line
    assert "pip install 'cryofind[tune]'" in line


def test_a_folder_of_something_else_is_left_alone(phantoms: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert "holds other files" in refuse(run, phantoms, "--out", tmp_path, *OPTIONS)


def test_a_search_that_was_killed_before_it_wrote_what_it_is_is_protected_all_the_same(
    phantoms: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    no_time = ("--minutes", "0.000001", "--set", "train.validate_every=1")

    def kill_before_identity(path: Path, document: Any) -> None:
        if path.name == "search.json":
            raise KeyboardInterrupt
        write_json(path, document)

    monkeypatch.setattr("cryofind.pipeline.search.write_json", kill_before_identity)
    assert run("--quiet", "search", phantoms, "--out", out, *OPTIONS, *no_time)[0] == 130
    monkeypatch.undo()
    assert {path.name for path in out.iterdir()} == {"run.json"}
    # There is no time for a whole trial.
    assert "no trial was completed" in refuse(run, phantoms, "--out", out, *OPTIONS, *no_time)
    other = (*OPTIONS, *no_time, "--set", "train.steps=3")
    assert "recipe.train.steps is 2 there and 3 here" in refuse(run, phantoms, "--out", out, *other)
    (out / "search.json").unlink()
    before = (out / "trials.jsonl").read_bytes()
    line = refuse(run, phantoms, "--out", out, *OPTIONS, *no_time)
    assert "search.json: is missing" in line
    assert line.endswith("choose a new --out")
    assert (out / "trials.jsonl").read_bytes() == before


def test_a_run_under_two_names_is_not_both_learnt_from_and_judged_by(phantoms: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(phantoms, tmp_path / "project")
    runs = copied.parent / "ExperimentRuns"
    shutil.copytree(runs / "P_1", runs / "P_9")
    for path in (runs / "P_9" / "Picks").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "run_name": "P_9"}))
    line = refuse(run, copied, "--out", tmp_path / "out", "--validation", "P_9", *OPTIONS)
    assert "run P_9: has the same voxels or picks as run P_1" in line


def test_a_run_that_the_initial_model_has_seen_cannot_judge(phantoms: Path, tmp_path: Path, run: Run) -> None:
    model = tmp_path / "model"
    two = ("--run", "P_1", "--run", "P_2")
    assert run("--quiet", "train", phantoms, "--out", model, *two, *OPTIONS)[0] == 0
    chosen = ("--init", model, "--validation", "P_2", *OPTIONS[8:])
    line = refuse(run, phantoms, "--out", tmp_path / "out", *chosen)
    assert "run P_2: is to be held out, but the initial model was trained on it" in line


@pytest.mark.parametrize("command", ["search", "train"])
def test_contradictory_radii_of_two_projects(command: str, phantoms: Path, tmp_path: Path, run: Run) -> None:
    other = copy_project(phantoms, tmp_path / "project")
    runs = other.parent / "ExperimentRuns"
    for name in ("P_1", "P_2", "P_3"):
        (runs / name).rename(runs / f"Q{name}")
    document = json.loads(other.read_text())
    (ribosome,) = (entry for entry in document["pickable_objects"] if entry["name"] == "ribosome")
    ribosome["radius"] = 140.0
    other.write_text(json.dumps(document))
    code, _, err = run("--quiet", command, phantoms, other, "--out", tmp_path / "out", *OPTIONS)
    assert code == 2
    assert "object ribosome: has radius 140.0, elsewhere 150.0; make the projects agree" in err
    assert not (tmp_path / "out").exists()


def test_a_species_with_no_pick_or_one_in_the_held_out_runs_is_said(phantoms: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(phantoms, tmp_path / "project")
    picks = copied.parent / "ExperimentRuns" / "P_3" / "Picks"
    next(picks.glob("*_ribosome.json")).unlink()
    path = next(picks.glob("*_apo-ferritin.json"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "points": document["points"][:1]}))
    budget = ("--trials", "1", "--set", "tune.min_picks=2", "--set", "train.validate_every=1")
    code, _, err = run("search", copied, "--out", tmp_path / "out", *budget, *OPTIONS)
    assert code == 0, err
    (line,) = (line for line in err.splitlines() if "too few picks in the held-out runs" in line)
    assert "apo-ferritin 1" in line
    assert "ribosome 0" in line
