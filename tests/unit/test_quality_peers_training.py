"""The training of the published recipes, killed and gone on with, and picking with what it made."""

import dataclasses
import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cryofind import czii
from cryofind.errors import ProjectError
from cryofind.testing.projects import write_phantom_project
from cryofind.types import Picks
from tests.benchmark_scripts import import_scripts
from tests.peer_runs import MODULES, make_run


@pytest.fixture(scope="module")
def code() -> Iterator[SimpleNamespace]:
    """Return the modules, which see each other as scripts of one folder do."""
    with import_scripts("quality/peers", MODULES) as scripts:
        yield scripts


@pytest.fixture
def task(code: SimpleNamespace) -> Any:
    return code.task.Task(czii.OBJECTS, 10.0)


def test_learning_rates(code: SimpleNamespace) -> None:
    assert [code.schedules.cosine(share, []) for share in (0, 0.5, 1, 2)] == pytest.approx([1, 0.5, 0, 0])
    totals = [0.5, 0.6, 0.6, 0.5, 0.4, 0.3]
    assert [code.schedules.halve_on_plateau(0, totals[:n]) for n in (0, 5, 6)] == [1, 1, 0.5]


@pytest.mark.parametrize(
    "name",
    ["monai-unet", "public-baseline", "eighth-place", pytest.param("winning-segmentation", marks=pytest.mark.slow)],
)
def test_a_peer_learns_from_its_batch_without_infinities(code: SimpleNamespace, task: Any, name: str) -> None:
    pytest.importorskip("monai")
    # resnet34 sees 3 voxels at its deepest then; of fewer, torch's bfloat16 gradients are wrong.
    edge, crops = (96, 1) if name == "winning-segmentation" else (32, 2)
    peer = dataclasses.replace(code.peers.PEERS[name], crop_zyx=(edge,) * 3, crops=crops)
    lesson = code.loop.Lesson(peer, task, [make_run(code)])
    learner, progress = code.loop.Learner.build(lesson), code.loop.Progress()
    network = learner.network
    before = [part.detach().clone() for part in network.parameters()]
    code.loop.take_step(lesson, learner, progress, factor=1.0, seed=0)
    assert len(progress.losses) == 1
    assert np.isfinite(progress.losses[0])
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(torch.isfinite(part).all() for part in network.parameters())


def make_tiny_peer(code: SimpleNamespace, name: str, channels: int = 4) -> Any:
    def build(count: int) -> torch.nn.Module:
        body = [torch.nn.Conv3d(1, channels, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(channels, count, 1)]
        return torch.nn.Sequential(*body)

    windows = code.inference.Windows((32, 32, 32), (8, 8, 8), 4)
    return dataclasses.replace(code.peers.PEERS[name], build=build, crop_zyx=(16, 16, 16), crops=2, windows=windows)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(code: SimpleNamespace, task: Any, tmp_path: Path) -> None:
    lesson = code.loop.Lesson(make_tiny_peer(code, "monai-unet"), task, [make_run(code)])

    def advance(folder: Path, *stops: int) -> Any:
        """Return the network after the last of these steps; it is made anew from the checkpoint at each."""
        folder.mkdir(exist_ok=True)
        for stop in stops:
            torch.manual_seed(0)
            learner = code.loop.Learner.build(lesson)
            progress = code.loop.restore(folder, learner) or code.loop.Progress()
            while progress.step < stop:
                code.loop.take_step(lesson, learner, progress, factor=1.0, seed=3)
                progress.step += 1
            code.loop.save(folder / code.loop.LAST, learner, progress)
        return learner.network

    whole, pieces = advance(tmp_path / "a", 4), advance(tmp_path / "b", 1, 3, 4)
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loop_keeps_the_best_and_does_not_repeat_rows(code: SimpleNamespace, task: Any, tmp_path: Path) -> None:
    peer = make_tiny_peer(code, "monai-unet")
    lesson = code.loop.Lesson(peer, task, [make_run(code)])
    answers = iter([0.2, 0.5, 0.4, 0.3])

    def validate(network: torch.nn.Module) -> Any:
        return code.validation.Verdict(next(answers), {}, "peaks", {}, Picks.empty(), ("R",))

    said: list[str] = []
    budget = code.loop.Budget(seconds=1e-9, every_seconds=1e9)
    for _ in range(2):  # the second time there is nothing left to do
        code.loop.train(lesson, tmp_path, budget, validate, said.append)
    assert [row["f4"] for row in code.loop.read_curve(tmp_path)] == [0.2]
    rows = (tmp_path / code.loop.CURVE).read_text()
    (tmp_path / code.loop.CURVE).write_text(rows + json.dumps({"step": 99, "f4": 1.0}) + "\n")
    more = code.loop.Budget(seconds=10 * code.loop.read_curve(tmp_path)[0]["seconds"] + 1e-2, every_seconds=1e9)
    code.loop.train(lesson, tmp_path, more, validate, said.append)
    curve = code.loop.read_curve(tmp_path)
    assert curve[0]["f4"] == 0.2
    assert 99 not in [row["step"] for row in curve]
    assert code.loop.load_best(tmp_path, peer.build(task.channels)) == max(curve, key=lambda row: row["f4"])["step"]


def run_script(code: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    getattr(code, name).main()


def test_training_and_picking_end_to_end(
    code: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(code.train, "keep_memory", lambda: None)
    monkeypatch.setattr(code.pick, "keep_memory", lambda: None)
    monkeypatch.setattr("time.process_time", itertools.count().__next__)  # a second for every step
    monkeypatch.setitem(code.peers.PEERS, "monai-unet", make_tiny_peer(code, "monai-unet"))
    for number, name in enumerate(("train", "validation", "test")):
        write_phantom_project(tmp_path / name, runs=[f"{name}-1"], seed=number, shape_zyx=(48, 64, 64), noise=0.3)
    threads = torch.get_num_threads()
    options = ("--validation-project", tmp_path / "validation", "--minutes", 0.005, "--threads", threads)
    run_script(code, "train", monkeypatch, "monai-unet", tmp_path / "train", *options, "--out", tmp_path / "out")
    (row,) = code.loop.read_curve(tmp_path / "out")
    assert row["decoder"] in row["decoders"]
    assert row["f4"] == max(row["decoders"].values())
    assert row["cpu_seconds"] == row["step"]

    run_script(
        code,
        "pick",
        monkeypatch,
        tmp_path / "out",
        tmp_path / "test",
        "--out",
        tmp_path / "picks",
        "--threads",
        threads,
    )
    picks = Picks.from_csv(tmp_path / "picks" / "picks.csv")
    assert picks.run_names == ("test-1",)
    assert set(picks.object_names) <= set(czii.OBJECT_NAMES)
    best = json.loads((tmp_path / "out" / "validation-one.json").read_text())
    assert best["decoder"] == row["decoder"]
    assert f"step {best['step']}: {best['decoder']}" in capsys.readouterr().out

    run_script(
        code,
        "pick",
        monkeypatch,
        tmp_path / "out",
        tmp_path / "test",
        "--views",
        "all",
        "--out",
        tmp_path / "seven",
        "--threads",
        threads,
    )
    assert (tmp_path / "out" / "validation-all.csv").exists()
    assert (tmp_path / "seven" / "picks.csv").read_text() != (tmp_path / "picks" / "picks.csv").read_text()

    other = ("--validation-project", tmp_path / "test", "--minutes", 0.01, "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match="another validation_project"):
        run_script(code, "train", monkeypatch, "monai-unet", tmp_path / "train", *other, "--threads", threads)


@pytest.mark.parametrize(
    ("peer", "change", "is_refused"),
    [
        ("monai-unet", {}, False),
        ("monai-unet", {"validation_runs": 2}, True),
        ("monai-unet", {"minutes": 20.0}, False),
        ("eighth-place", {"minutes": 20.0}, False),
        ("winning-segmentation", {"minutes": 20.0}, True),  # its learning rate is a cosine over them
    ],
)
def test_a_training_goes_on_only_with_what_it_began_with(
    code: SimpleNamespace, tmp_path: Path, peer: str, change: dict[str, Any], is_refused: bool
) -> None:
    data = {"projects": [Path("a")], "validation_project": Path("b"), "validation_runs": 1, "flavour": ["denoised"]}
    options = {"peer": peer, **data, "minutes": 10.0, "threads": 1, "seed": 0, "out": tmp_path}
    code.train.note_options(Namespace(**options))
    if not is_refused:
        code.train.note_options(Namespace(**{**options, **change}))
        return
    ((name, _),) = change.items()
    with pytest.raises(SystemExit, match=rf"another {name} \({options[name]}\); use another --out"):
        code.train.note_options(Namespace(**{**options, **change}))
    assert json.loads((tmp_path / "options.json").read_text())[name] == options[name]


def write_training(folder: Path, peer: str, *f4: float) -> Path:
    """Write what train.py leaves of a training: a validation for each F4, a minute of the processor apart."""
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps({"peer": peer}))
    rows = [
        {"cpu_seconds": 60.0 * n, "step": 1000 * n, "f4": value, "by_object": {"ribosome": value / 2}}
        for n, value in enumerate(f4, start=1)
    ]
    (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_curves_of_trainings_beside_each_other(
    code: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        write_training(tmp_path / "a", "monai-unet", 0.5, 0.75),
        write_training(tmp_path / "b", "monai-unet", 0.25),
    ]
    run_script(code, "curves", monkeypatch, *folders, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "curves.md").read_text().splitlines() == [
        "| recipe | CPU minutes | steps | F4 | ribosome |",
        "| --- | --- | --- | --- | --- |",
        "| monai-unet | 1 | 1,000 | 0.500 | 0.250 |",
        "| monai-unet | 2 | 2,000 | 0.750 | 0.375 |",
        "| monai-unet | 1 | 1,000 | 0.250 | 0.125 |",
    ]
    drawing = (tmp_path / "out" / "curves.svg").read_text()
    assert drawing.count("<polyline") == 2
    assert drawing.count("<circle") == 3


def test_a_folder_without_a_curve_is_refused_in_a_line(
    code: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="nothing: holds no training"):
        run_script(code, "curves", monkeypatch, tmp_path / "nothing", "--out", tmp_path / "out")
    early = write_training(tmp_path / "early", "monai-unet")
    with pytest.raises(SystemExit, match="monai-unet: was not validated yet"):
        run_script(code, "curves", monkeypatch, early, "--out", tmp_path / "out")


def test_projects_of_other_objects_or_spacings_are_refused(code: SimpleNamespace, tmp_path: Path) -> None:
    write_phantom_project(tmp_path / "a", runs=["R"], shape_zyx=(32, 48, 48))
    write_phantom_project(tmp_path / "b", runs=["R"], shape_zyx=(32, 48, 48), voxel_spacing_angstrom=12.0)
    write_phantom_project(tmp_path / "c", runs=["R"], shape_zyx=(32, 48, 48), objects=czii.OBJECTS[:3])
    task = code.task.Source.open(tmp_path / "a", "denoised").task
    for name, words in (("b", "12.000 A per voxel"), ("c", "other objects")):
        with pytest.raises(ProjectError, match=words):
            code.task.read_training_runs([tmp_path / "a", tmp_path / name], ["denoised"], task)
