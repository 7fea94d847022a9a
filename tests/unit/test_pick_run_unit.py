"""Picking several tomograms: read ahead, written behind, and the same records as one by one."""

import itertools
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryofind.config import Config, parse_config
from cryofind.errors import OutputError
from cryofind.io import TomogramEntry, write_tomogram_zarr
from cryofind.models import model_hash, save_model
from cryofind.pipeline import load_model, pick_into_folder
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick_run import RunPicking
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.predict.needs import MemoryNeeds
from cryofind.types import Tomogram, VoxelGrid
from tests.tiny_models import build_tiny, tiny_card

SHAPE = (8, 16, 16)
RUNS = ("A", "B", "C")
PATIENCE_SECONDS = 20


@pytest.fixture
def picker(tmp_path: Path) -> Picker:
    save_model(tmp_path / "model", build_tiny(), tiny_card(thresholds={"ribosome": 0.01, "apo-ferritin": 0.01}))
    settings: dict[str, Any] = {"device": "cpu", "precision": "float32", "keep_probabilities": True}
    config: Config = parse_config({"predict": settings, "locate": {"floor": 0.001}}, "test")
    return load_model(tmp_path / "model", config=config)


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    paths = []
    for seed, run in enumerate(RUNS):
        volume = np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32)
        paths.append(tmp_path / f"{run}.zarr")
        write_tomogram_zarr(paths[-1], Tomogram(run, volume, VoxelGrid.isotropic(SHAPE, 10.012)), levels=1)
    return paths


def damage(path: Path) -> None:
    chunk = next(chunk for chunk in (path / "0").rglob("0") if chunk.is_file())
    chunk.write_bytes(b"\xff" * 20)


def entry_of(path: Path) -> TomogramEntry:
    return TomogramEntry(path.stem, "", None, path)


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


def test_the_next_tomogram_is_read_while_the_network_works(
    picker: Picker, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = {run: threading.Event() for run in RUNS}
    following = dict(itertools.pairwise(RUNS))
    prepare, pick = Picker.prepare, Picker.pick_prepared

    def note_prepared(self: Picker, tomogram: Tomogram, *, may_overwrite: bool = False) -> Tomogram:
        result = prepare(self, tomogram, may_overwrite=may_overwrite)
        prepared[tomogram.run].set()
        return result

    def wait_for_next(self: Picker, tomogram: Tomogram, **options: Any) -> PickResult:
        later = following.get(tomogram.run)
        assert later is None or prepared[later].wait(PATIENCE_SECONDS)
        return pick(self, tomogram, **options)

    monkeypatch.setattr(Picker, "prepare", note_prepared)
    monkeypatch.setattr(Picker, "pick_prepared", wait_for_next)
    summary = pick_into_folder(inputs, tmp_path / "out", picker)
    assert [record["run"] for record in summary.records] == list(RUNS)
    assert all(set(record["seconds"]) == {"read", "preprocess", "network", "locate"} for record in summary.records)


def test_overlapped_and_one_by_one_give_the_same(
    picker: Picker, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = pick_into_folder(inputs, tmp_path / "ahead", picker)
    monkeypatch.setattr(RunPicking, "may_read_ahead", lambda *_: False)
    single = pick_into_folder(inputs, tmp_path / "single", picker)
    assert [without_times(record) for record in ahead.records] == [without_times(record) for record in single.records]
    assert len(ahead.picks) > 0
    for name in ("picks.csv", "runs/B/picks.csv", "copick.json"):
        texts = [(tmp_path / out / name).read_text().replace(f"/{out}", "") for out in ("ahead", "single")]
        assert texts[0] == texts[1]
    for run, path in zip(RUNS, inputs, strict=True):
        picks = picker.pick_tomogram(entry_of(path).read()).picks
        assert len(picks) == len(ahead.picks.of_run(run))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_tomogram_that_cannot_be_read_is_named_and_the_others_are_picked(
    bad: int, picker: Picker, inputs: list[Path], tmp_path: Path
) -> None:
    damage(inputs[bad])
    summary = pick_into_folder(inputs, tmp_path / "out", picker)
    assert [item.run for item in summary.failed] == [RUNS[bad]]
    assert str(inputs[bad]) in str(summary.failed[0].error)
    assert [record["run"] for record in summary.records] == [run for run in RUNS if run != RUNS[bad]]
    recorded = json.loads((tmp_path / "out/run.json").read_text())
    assert [item["run"] for item in recorded["failed"]] == [RUNS[bad]]


def test_results_that_cannot_be_written_name_their_run(
    picker: Picker, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunPicking._write_overlay

    def refuse_b(self: RunPicking, run: str, *rest: Any) -> None:
        if run == "B":
            raise OutputError("overlay", "cannot be written (disk full)", "free some space")
        write(self, run, *rest)

    monkeypatch.setattr(RunPicking, "_write_overlay", refuse_b)
    summary = pick_into_folder(inputs, tmp_path / "out", picker)
    assert [item.run for item in summary.failed] == ["B"]
    assert [record["run"] for record in summary.records] == ["A", "C"]
    assert not (tmp_path / "out/runs/B").exists()


def test_an_interrupted_call_goes_on_where_it_stopped(
    picker: Picker, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick, picked = Picker.pick_prepared, list[str]()

    def interrupt(self: Picker, tomogram: Tomogram, **options: Any) -> PickResult:
        if tomogram.run == "C":
            raise KeyboardInterrupt
        picked.append(tomogram.run)
        return pick(self, tomogram, **options)

    monkeypatch.setattr(Picker, "pick_prepared", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pick_into_folder(inputs, tmp_path / "out", picker)
    assert picked == ["A", "B"]
    assert sorted(path.parent.name for path in (tmp_path / "out/runs").glob("*/run.json")) == ["A", "B"]
    monkeypatch.setattr(Picker, "pick_prepared", pick)
    monkeypatch.setattr(Picker, "prepare", lambda self, tomogram, **_: tomogram)
    shutil.rmtree(inputs[2])
    summary = pick_into_folder(inputs[:2], tmp_path / "out", picker)
    assert [record["run"] for record in summary.records] == ["A", "B"]


def test_memory_decides_whether_to_read_ahead(picker: Picker, inputs: list[Path], tmp_path: Path) -> None:
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    needed = needs.picking_bytes(SHAPE, in_one_block=True) + needs.reading_bytes(SHAPE, SHAPE)
    first, second = entry_of(inputs[0]), entry_of(inputs[1])
    for budget_bytes, expected in ((needed, True), (needed - 8, False)):
        picking = RunPicking(tmp_path / "out", picker, InputSelection(), False, "0", needs, budget_bytes)
        assert picking.may_read_ahead(first, second) is expected
    picking = RunPicking(tmp_path / "out", picker, InputSelection(), False, "0", needs, 1e12)
    assert not picking.may_read_ahead(first, entry_of(tmp_path / "missing.zarr"))


def test_the_array_of_a_user_stays_as_it_is(picker: Picker) -> None:
    volume = np.random.default_rng(3).normal(100, 20, SHAPE).astype(np.float32)
    before = volume.tobytes()
    picker.pick(volume, voxel_spacing_angstrom=10.012)
    picker.pick_tomogram(Tomogram("A", volume, VoxelGrid.isotropic(SHAPE, 10.012)))
    assert volume.tobytes() == before


def test_a_result_of_another_model_is_not_taken_for_ones_own(
    picker: Picker, inputs: list[Path], tmp_path: Path
) -> None:
    pick_into_folder(inputs[:1], tmp_path / "out", picker)
    save_model(tmp_path / "other", build_tiny(seed=1), tiny_card(thresholds={}))
    assert model_hash(tmp_path / "other") != model_hash(tmp_path / "model")
    with pytest.raises(OutputError, match="another model"):
        pick_into_folder(inputs[:1], tmp_path / "out", load_model(tmp_path / "other", config=picker.config))
