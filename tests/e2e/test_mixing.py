"""Training on two projects by weights, as a user types it."""

import json
from pathlib import Path

import pytest

from cryofind import czii
from cryofind.config import Config
from cryofind.pipeline.corpus import read_corpus
from cryofind.pipeline.inputs import InputSelection
from cryofind.testing import write_phantom_project
from tests.e2e.conftest import TINY, Run, copy_project

SETTINGS = [part for setting in (*TINY, "train.steps=4") for part in ("--set", setting)]
TO_REAL = ("--set", "train.project_weights=[1, 0]", "--set", "train.project_weights_end=[0.2, 0.8]")
SHAPE = (32, 64, 64)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two projects of slightly different voxel spacings, of which the second knows one object only."""
    folder = tmp_path_factory.mktemp("mixing")
    simulated, real = folder / "simulated", folder / "real"
    objects = [spec for spec in czii.OBJECTS if spec.name in {"apo-ferritin", "beta-amylase"}]
    write_phantom_project(
        simulated, runs=("S_1", "S_2"), seed=1, shape_zyx=SHAPE, objects=objects, voxel_spacing_angstrom=10.0
    )
    write_phantom_project(real, runs=("T_1", "T_2", "T_3"), seed=2, shape_zyx=SHAPE, objects=objects[:1])
    return simulated, real


def test_training_goes_from_one_project_to_the_other(projects: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    simulated, real = (copy_project(path / "copick.json", tmp_path / path.name) for path in projects)
    out = tmp_path / "model"
    arguments = ("train", simulated, real, "--out", out, *SETTINGS)
    code, _, err = run(*arguments, *TO_REAL)
    assert code == 0, err
    shown = " ".join(err.split())
    assert "100% of the crops, in the end 20%" in shown
    assert "holding out T_3 of" in shown
    assert "beta-amylase: not annotated in" in shown
    card = json.loads((out / "model.json").read_text())
    assert [(entry["run"], entry["role"]) for entry in card["training_runs"]] == [
        ("S_1", "train"),
        ("S_2", "train"),
        ("T_1", "train"),
        ("T_2", "train"),
        ("T_3", "validate"),
    ]
    assert card["training"]["train"]["project_weights_end"] == [0.2, 0.8]
    assert len(card["objects"]) == 2
    code, _, err = run(*arguments, "--set", "train.project_weights=[1, 1]", "--validation", "T_3")
    assert code == 2
    assert "train.project_weights is [1.0, 0.0] there and [1.0, 1.0] here" in err
    (real.parent / "ExperimentRuns" / "T_1").rename(simulated.parent / "ExperimentRuns" / "T_1")
    code, _, err = run(*arguments, *TO_REAL)
    assert code == 2
    assert "data.learning_projects is [0, 0, 1, 1] there and [0, 0, 0, 1] here" in err


def test_spacings_within_one_percent_are_kept(projects: tuple[Path, Path]) -> None:
    corpus = read_corpus(projects, InputSelection(), Config())
    assert [run.training.grid.spacing_angstrom for run in corpus.runs] == pytest.approx([10.0] * 2 + [10.012] * 3)
    assert [run.project for run in corpus.runs] == [0, 0, 1, 1, 1]
    assert corpus.run_names_of(1) == ("T_1", "T_2", "T_3")
    assert [path.parent.name for path in corpus.projects] == ["simulated", "real"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "train.project_weights=[1]"), ["train.project_weights", "are 1", "2 projects"]),
        (("--set", "train.project_weights=[1, -1]"), ["train.project_weights", "0 or more", "[1, -1]"]),
        (("--set", "train.project_weights=[0, 0]"), ["train.project_weights", "not all of them 0"]),
        (("--set", "train.project_weights=[1, inf]"), ["train.project_weights", "finite"]),
        (("--set", "train.project_weights=[1, 0]"), ["project 2 of 2", "never a share"]),
        (("--set", "train.project_weights_end=[1, 0]"), ["train.project_weights_end", "which has 0"]),
        ((*TO_REAL, "--set", "train.project_weights_end=[1]"), ["train.project_weights_end", "which has 2"]),
        ((*TO_REAL, "--set", "train.project_weights_end_from=0"), ["train.project_weights_end_from"]),
        ((*TO_REAL, "--run", "S_1", "--run", "S_2"), ["project 2 of 2", "no run to learn from"]),
        ((*TO_REAL, "--run", "S_1", "--run", "T_1", "--validation", "T_1"), ["project 2 of 2", "no run to learn from"]),
        ((*TO_REAL, "--folds", "4"), ["--folds", "3 annotated runs of"]),
    ],
)
def test_weights_that_cannot_be(
    arguments: tuple[str, ...], words: list[str], projects: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    code, _, err = run("--quiet", "train", *projects, "--out", tmp_path / "model", *SETTINGS, *arguments)
    assert code == 2
    lines = [line for line in err.strip().splitlines() if "warning" not in line]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
    assert not (tmp_path / "model").exists()


def test_a_project_named_twice_is_refused(projects: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    code, _, err = run("train", projects[0], projects[0], "--out", tmp_path / "model", *SETTINGS)
    assert code == 2
    assert "name each project once" in err
