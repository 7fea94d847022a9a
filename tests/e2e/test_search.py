"""Searching a recipe, as a user types it."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from cryofind import czii
from cryofind.config import load_config
from cryofind.errors import DivergedError
from cryofind.pipeline.search_runner import _Judge
from cryofind.pipeline.search_trials import Trial, read_trials
from cryofind.pipeline.trainer import Trainer
from cryofind.testing import write_phantom_project
from cryofind.train import read_metrics
from tests.e2e.conftest import Run, copy_project

RECIPE = """
[model]
network = "res16"
widths = [16, 16]
encoder_blocks = [1, 1]
decoder_blocks = [1]
[train]
steps = 8
seed = 3
batch_size = 2
crop_zyx = [32, 32, 32]
validate_every = 4
checkpoint_every = 4
devices = "cpu"
[locate]
floor = 0.001
[tune]
min_picks = 1
[search]
trials = 3
[search.space]
train.learning_rate = {low = 1e-4, high = 1e-2, log = true}
"augment.mixup_probability" = [0.0, 1.0]
"train.batch_size" = {choices = [1, 2]}
"""
SHAPE = (32, 64, 64)
RUNS = ("P_1", "P_2", "P_3")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "project"
    return write_phantom_project(folder, runs=RUNS, seed=3, shape_zyx=SHAPE)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def searched(phantoms: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Return a search that was not interrupted, made once."""
    out = Path(tmp_path_factory.getbasetemp()) / "searched"
    if not out.exists():
        code, _, err = run("search", recipe, phantoms, "--out", out)
        assert code == 0, err
    return out


def outcomes(out: Path) -> list[tuple[Any, ...]]:
    """Return what does not depend on the clock."""
    return [(trial.number, trial.parameters, trial.state, trial.value, trial.intermediate) for trial in trials_of(out)]


def trials_of(out: Path) -> list[Trial]:
    return read_trials(out / "trials.jsonl")


def test_the_best_recipe_trains_to_the_figure_that_chose_it(
    searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run
) -> None:
    trials = trials_of(searched)
    assert [trial.number for trial in trials] == [1, 2, 3]
    assert [trial.state for trial in trials] == ["complete"] * 3
    # The first one is the recipe itself, as far as the space holds it.
    assert trials[0].parameters == {
        "train.learning_rate": 1e-3,
        "augment.mixup_probability": 0.0,
        "train.batch_size": 2,
    }
    assert all([step for step, _ in trial.intermediate] == [4, 8] for trial in trials)
    assert all(trial.value == max(value for _, value in trial.intermediate) for trial in trials)
    best = max(trials, key=lambda trial: trial.value or 0)
    config = load_config(searched / "best.toml")
    assert config.train.learning_rate == best.parameters["train.learning_rate"]
    assert config.train.batch_size == best.parameters["train.batch_size"]
    assert config.augment.mixup_probability == best.parameters["augment.mixup_probability"]
    assert config.model.widths == (16, 16)
    code, _, err = run(
        "train", phantoms, "--recipe", searched / "best.toml", "--validation", "P_3", "--out", tmp_path / "model"
    )
    assert code == 0, err
    history = read_metrics(tmp_path / "model" / "training" / "metrics.jsonl")
    assert [(row["step"], row["value"]) for row in history if row["name"] == "f_beta"] == list(best.intermediate)
    assert f"{best.value:.4f}" in (searched / "best.toml").read_text()


def test_what_a_search_leaves(searched: Path, phantoms: Path, recipe: Path, run: Run) -> None:
    assert {path.name for path in searched.iterdir()} == {
        "run.json",
        "search.json",
        "trials.jsonl",
        "trials",
        "best.toml",
        "importance.svg",
    }
    # Checkpoints of all trials would fill the disk.
    assert {path.name for path in (searched / "trials").rglob("*") if path.is_file()} == {"metrics.jsonl"}
    record = json.loads((searched / "run.json").read_text())
    assert record["made_by"] == "cryofind search"
    assert record["held_out"] == ["P_3"]
    picture = (searched / "importance.svg").read_text()
    ElementTree.fromstring(picture)
    assert "cannot be told yet: 3 complete trials" in picture
    before = (searched / "trials.jsonl").read_bytes()
    code, printed, _ = run("search", recipe, phantoms, "--out", searched)
    assert code == 0
    assert (searched / "trials.jsonl").read_bytes() == before
    assert "3 trials are done, as asked" in printed
    assert "that number chose the recipe, so it is no measure of its accuracy" in printed
    assert printed.splitlines()[0].split()[:3] == ["trial", "F-beta", "minutes"]


@pytest.mark.parametrize("cut", ["in a training", "in a line", "after a line"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(
    cut: str, searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cut"
    if cut == "in a training":
        watch, calls = _Judge.watch, itertools.count(1)

        def interrupt(judge: _Judge, step: int, score: float | None) -> None:
            watch(judge, step, score)
            if next(calls) == 8 + 6:
                raise KeyboardInterrupt

        monkeypatch.setattr(_Judge, "watch", interrupt)
        assert run("search", recipe, phantoms, "--out", out)[0] == 130
        monkeypatch.undo()
        assert [trial.state for trial in trials_of(out)] == ["complete", "stopped"]
        assert trials_of(out)[1].seconds > 0
    else:
        shutil.copytree(searched, out)
        lines = (out / "trials.jsonl").read_bytes().splitlines(keepends=True)
        kept = 3 if cut == "in a line" else 4  # two trials of two lines each
        torn = lines[3][: len(lines[3]) // 2] if cut == "in a line" else b""
        (out / "trials.jsonl").write_bytes(b"".join(lines[:kept]) + torn)
        shutil.rmtree(out / "trials" / "0003")
    code, _, err = run("search", recipe, phantoms, "--out", out)
    assert code == 0, err
    assert ("going on after step 4 of 8" in err) == (cut == "in a training")
    assert outcomes(out) == outcomes(searched)


def test_a_search_that_is_done_goes_on_with_a_larger_budget(
    searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "more"
    shutil.copytree(searched, out)
    code, printed, err = run("search", recipe, phantoms, "--out", out, "--trials", "4", "--set", "search.prune=false")
    assert code == 0, err
    assert outcomes(out)[:3] == outcomes(searched)
    assert len(outcomes(out)) == 4
    assert "4 trials complete" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "train.steps=4"), ["recipe.train.steps is 8 there and 4 here"]),
        (("--set", "search.space.train.learning_rate.high=0.1"), ["space.train.learning_rate.high is 0.01 there"]),
        (("--set", "search.seeds=2"), ["seeds is 1 there and 2 here"]),
        (("--set", "predict.test_time_augmentation=4"), ["recipe.predict.test_time_augmentation is 1 there"]),
        (("--set", "predict.precision=bf16"), ["recipe.predict.precision is 'auto' there and 'bf16' here"]),
        (("--set", "predict.engine=torch"), ["recipe.predict.engine is 'auto' there and 'torch' here"]),
        (("--validation", "P_2"), ["data.held_out", "P_3", "P_2"]),
        (("--run", "P_1", "--run", "P_3", "--validation", "P_3"), ["data.learning has 2 entries there and 1 here"]),
    ],
)
def test_a_search_goes_on_only_with_the_same(
    arguments: tuple[str, ...], words: list[str], searched: Path, phantoms: Path, recipe: Path, run: Run
) -> None:
    before = (searched / "trials.jsonl").read_bytes()
    code, _, err = run("--quiet", "search", recipe, phantoms, "--out", searched, *arguments)
    assert code == 2
    (line,) = [line for line in err.splitlines() if "warning" not in line]
    for word in ["holds another search", "use the old recipe and data, or another --out", *words]:
        assert word in line
    assert (searched / "trials.jsonl").read_bytes() == before


def test_a_search_goes_on_on_other_devices_and_with_other_memory(
    searched: Path, phantoms: Path, recipe: Path, run: Run
) -> None:
    settings = ("predict.device=cpu", "predict.devices=cpu", "predict.memory_gigabytes=2.0")
    options = [part for setting in settings for part in ("--set", setting)]
    code, printed, err = run("search", recipe, phantoms, "--out", searched, *options)
    assert code == 0, err
    assert "3 trials are done, as asked" in printed


def test_a_search_goes_on_only_with_the_same_picks(
    searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run
) -> None:
    moved = copy_project(phantoms, tmp_path / "project")
    out = tmp_path / "out"
    shutil.copytree(searched, out)
    assert run("search", recipe, moved, "--out", out)[0] == 0
    path = next((moved.parent / "ExperimentRuns" / "P_1" / "Picks").glob("*_ribosome.json"))
    picks = json.loads(path.read_text())
    picks["points"][0]["location"]["x"] += 5.0
    path.write_text(json.dumps(picks))
    code, _, err = run("search", recipe, moved, "--out", out)
    assert code == 2
    assert "data.learning[0].picks_sha256" in err


def test_a_search_ends_with_its_time_and_goes_on_with_more(
    searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    code, _, err = run("search", recipe, phantoms, "--out", out, "--minutes", "0.000001")
    assert code == 2
    assert "no trial was completed within the budget" in err
    (stopped,) = trials_of(out)
    assert (stopped.state, stopped.value) == ("stopped", None)
    assert not (out / "best.toml").exists()
    code, _, err = run("search", recipe, phantoms, "--out", out)
    assert code == 0, err
    assert outcomes(out) == outcomes(searched)


def test_no_trial_begins_that_would_not_end_in_time(
    searched: Path, phantoms: Path, recipe: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    shutil.copytree(searched, out)
    rows = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    (out / "trials.jsonl").write_text("".join(json.dumps({**row, "seconds": 600.0}) + "\n" for row in rows))
    code, printed, err = run("search", recipe, phantoms, "--out", out, "--trials", "9", "--minutes", "35")
    assert code == 0, err
    assert "5.0 minutes are left, a trial takes 10.0" in printed
    assert len(trials_of(out)) == 3


def test_a_trial_is_a_mean_over_seeds_and_worse_ones_are_ended(
    phantoms: Path, recipe: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With validations that sink from trial to trial, the third is below the median of the first two."""
    calls = itertools.count()

    def fall(config: Any, *_: Any) -> dict[str, float]:
        return {spec.name: 1.0 / (1 + next(calls)) for spec in czii.OBJECTS}

    monkeypatch.setattr("cryofind.pipeline.trainer.best_f_beta", fall)
    settings = ("--set", "search.seeds=2", "--set", "search.prune_after=2")
    out = tmp_path / "out"
    code, printed, err = run("search", recipe, phantoms, "--out", out, *settings)
    assert code == 0, err
    first, second, third = trials_of(out)
    for trial in (first, second):
        histories = [
            [row["value"] for row in read_metrics(path) if row["name"] == "f_beta"]
            for path in sorted((out / "trials" / f"{trial.number:04d}").rglob("metrics.jsonl"))
        ]
        assert [len(history) for history in histories] == [2, 2]
        assert trial.value == pytest.approx((max(histories[0]) + max(histories[1])) / 2)
        assert [step for step, _ in trial.intermediate] == [4, 8, 12, 16]
        assert trial.intermediate[2][1] == pytest.approx((max(histories[0]) + histories[1][0]) / 2)
    assert third.state == "pruned"
    assert [step for step, _ in third.intermediate] == [4]
    assert "2 trials complete, 1 pruned" in printed


def test_failed_trials_are_counted_and_the_search_goes_on(
    phantoms: Path, recipe: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Trainer.fit
    failures = iter([torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB"), DivergedError("step 9", "NaN", "stop")])

    def fail_twice(trainer: Trainer, *arguments: Any, **options: Any) -> torch.nn.Module:
        for failure in failures:
            raise failure
        return fit(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fail_twice)
    out = tmp_path / "out"
    code, printed, err = run("search", recipe, phantoms, "--out", out)
    assert code == 0, err
    assert [trial.state for trial in trials_of(out)] == ["failed", "failed", "complete"]
    assert trials_of(out)[0].problem == "out of memory (CUDA out of memory. Tried 9 GiB)"
    assert "trial 2: failed step 9: NaN; stop" in err
    assert "1 trials complete, 2 failed" in printed
    assert "best: trial 3" in printed


def test_all_failed(phantoms: Path, recipe: Path, tmp_path: Path, run: Run) -> None:
    """Weights of 1e30 overflow: the network's next answer is no number."""
    settings = ("search.space={train={learning_rate=[1e30, 1e35]}}", "train.steps=16", "search.trials=2")
    options = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "out"
    code, _, err = run("--quiet", "search", recipe, phantoms, "--out", out, *options)
    assert code == 2
    assert "all 2 trials failed, the last:" in err
    assert err.splitlines()[-1].endswith("narrow [search.space], or mend [train]")
    assert [trial.state for trial in trials_of(out)] == ["failed", "failed"]
