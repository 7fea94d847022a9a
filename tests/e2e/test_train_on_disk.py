"""Training on tomograms that do not fit in memory, as a user types it."""

import hashlib
from pathlib import Path

from tests.e2e.conftest import TINY, Run

SETTINGS = [part for setting in (*TINY, "train.steps=4") for part in ("--set", setting)]
RUNS = ("--run", "P_1", "--run", "P_2", "--run", "P_3", "--validation", "P_3")


def test_a_model_is_the_same_with_its_tomograms_on_disk(project: Path, tmp_path: Path, run: Run) -> None:
    hashes = {}
    for name, settings in (("memory", ()), ("disk", ("--set", "train.memory_gigabytes=0.000001"))):
        out = tmp_path / name
        code, _, err = run("train", project, "--out", out, *RUNS, *SETTINGS, *settings)
        assert code == 0, err
        assert ("in unnamed files in" in err) == (name == "disk")
        assert "in the network" in err
        hashes[name] = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert hashes["memory"] == hashes["disk"]
    assert {path.name for path in tmp_path.iterdir()} == {"memory", "disk"}
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {
        path.name for path in (tmp_path / "memory").iterdir()
    }


def test_a_training_goes_on_with_its_tomograms_elsewhere(project: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "model"
    assert run("--quiet", "train", project, "--out", out, *RUNS, *SETTINGS)[0] == 0
    code, _, err = run("train", project, "--out", out, *RUNS, *SETTINGS, "--set", "train.memory_gigabytes=0.000001")
    assert code == 0, err
    assert "going on after step 4 of 4" in err


def test_memory_must_be_positive(project: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("train", project, "--out", tmp_path / "model", *SETTINGS, "--set", "train.memory_gigabytes=0")
    assert code == 2
    assert "train.memory_gigabytes" in err
    assert not (tmp_path / "model").exists()
