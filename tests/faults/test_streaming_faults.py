"""What is refused of a tomogram that is too large for memory: one line each, with what is needed."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from cryofind.errors import MemoryLimitError
from cryofind.io import write_mrc, write_tomogram_zarr
from cryofind.pipeline import pick_into_folder
from cryofind.pipeline.column_plan import format_gigabytes
from cryofind.pipeline.pick import PickSummary
from cryofind.predict import device
from cryofind.types import Tomogram, VoxelGrid
from tests.unit.test_streaming_unit import GIGABYTES, GRID, SHAPE, load_picker, random_tomogram


def pick(path: Path, *, with_segmentation: bool = False, **predict: Any) -> PickSummary:
    settings = {"memory_gigabytes": GIGABYTES, **predict}
    picker = load_picker(path.parent, **settings)
    shutil.rmtree(path.parent / "out", ignore_errors=True)
    return pick_into_folder([path], path.parent / "out", picker, with_segmentation=with_segmentation)


def refusal(path: Path, **options: Any) -> str:
    summary = pick(path, **options)
    assert not summary.records
    (failed,) = summary.failed
    assert "\n" not in str(failed.error)
    return str(failed.error)


def write_chunks(path: Path, **options: Any) -> Path:
    options = {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}, **options}
    document = {
        "version": "0.4",
        "axes": [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [10.012] * 3}]}],
    }
    zarr.create_group(path, zarr_format=2, attributes={"multiscales": [document]})
    zarr.create_array(path / "0", data=np.asarray(random_tomogram("A").volume_zyx), chunks=(12, 30, 50), **options)
    return path


def test_the_chunks_of_another_program_are_streamed(tmp_path: Path) -> None:
    summary = pick(write_chunks(tmp_path / "A.zarr"))
    assert not summary.failed
    assert summary.records[0]["streamed"]["columns"] > 1


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "missing"])
def test_a_damaged_chunk_is_named(damage: str, tmp_path: Path) -> None:
    path = write_chunks(tmp_path / "A.zarr")
    chunk = path / "0/0/1/2"
    content = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes({"garbage": b"\xff" * len(content), "truncated": content[:-9], "empty": b""}[damage])
    assert "0/1/2" in refusal(path)


def test_a_chunk_that_was_changed_is_found_by_its_checksum(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "A.zarr", random_tomogram("A"), levels=1)
    write_tomogram_zarr(tmp_path / "B.zarr", random_tomogram("B", seed=1), levels=1)
    shutil.copy(tmp_path / "B.zarr/0/0/0/0", tmp_path / "A.zarr/0/0/0/0")
    assert "checksum" in refusal(tmp_path / "A.zarr", memory_gigabytes=0.0026)


def test_too_little_memory_says_what_there_is_and_how_much_is_needed_and_that_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mrc(tmp_path / "A.mrc", random_tomogram("A"))
    message = refusal(tmp_path / "A.mrc", memory_gigabytes=1e-6)
    assert "may take 1e-06 GB (predict.memory_gigabytes)" in message
    needed = re.search(r"takes ([\d.]+) GB of memory even when it is picked column by column", message)
    assert needed is not None
    assert f"set predict.memory_gigabytes to {needed[1]} where as much is free" in message
    assert not pick(tmp_path / "A.mrc", memory_gigabytes=float(needed[1])).failed
    monkeypatch.setattr(device, "read_free_bytes", lambda: 4000)
    assert "may take 2e-06 GB (its share of what is free)" in refusal(tmp_path / "A.mrc", memory_gigabytes=None)


def test_too_large_chunks_are_named_and_what_is_advised_helps(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "A.zarr", random_tomogram("A"), levels=1)
    message = refusal(tmp_path / "A.zarr")
    assert "its chunks having 12 x 60 x 200 voxels" in message
    assert message.endswith("or store it in smaller chunks")
    needed = re.search(r"takes ([\d.]+) GB", message)
    assert needed is not None
    assert not pick(tmp_path / "A.zarr", memory_gigabytes=float(needed[1])).failed


def test_a_call_that_lacked_memory_goes_on_in_its_folder_with_more(tmp_path: Path) -> None:
    paths = [write_chunks(tmp_path / "A.zarr"), tmp_path / "B.zarr"]
    write_tomogram_zarr(paths[1], random_tomogram("B"), levels=1)
    first = pick_into_folder(paths, tmp_path / "out", load_picker(tmp_path, memory_gigabytes=GIGABYTES))
    assert [item.run for item in first.failed] == ["B"]
    again = pick_into_folder(paths, tmp_path / "out", load_picker(tmp_path, memory_gigabytes=1.0))
    assert not again.failed
    assert again.records[0] == first.records[0]


def test_memory_that_does_not_suffice_to_try_the_networks_is_one_line(tmp_path: Path) -> None:
    class Greedy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    write_mrc(tmp_path / "A.mrc", random_tomogram("A"))
    picker = replace(load_picker(tmp_path, engine="torch"), networks=(Greedy(),))
    with pytest.raises(MemoryLimitError, match=r"^the networks: memory on cpu does not suffice .* blocks of 32 x 32"):
        pick_into_folder([tmp_path / "A.mrc"], tmp_path / "out", picker)


@pytest.mark.parametrize(
    ("options", "setting"),
    [({"with_segmentation": True}, "--segmentation"), ({"keep_probabilities": True}, "predict.keep_probabilities")],
)
def test_volumes_cannot_be_had_and_what_is_advised_helps(options: dict[str, Any], setting: str, tmp_path: Path) -> None:
    write_mrc(tmp_path / "A.mrc", random_tomogram("A"))
    message = refusal(tmp_path / "A.mrc", **options)
    assert message.startswith(setting)
    needed = re.search(r"takes ([\d.]+) GB", message)
    assert needed is not None
    assert not pick(tmp_path / "A.mrc", memory_gigabytes=float(needed[1]), **options).failed


def test_resampling_cannot_be_streamed(tmp_path: Path) -> None:
    voxels = random_tomogram("A").volume_zyx
    write_mrc(tmp_path / "A.mrc", Tomogram("A", voxels, VoxelGrid.isotropic(SHAPE, 12.0)))
    assert re.search(r"resampled from 12 to 10\.01 .*, [\d.]+ GB;", refusal(tmp_path / "A.mrc"))
    write_mrc(tmp_path / "A.mrc", Tomogram("A", voxels, VoxelGrid.isotropic(SHAPE, 30.0)))
    assert "only 0.67 to 1.5 times" in refusal(tmp_path / "A.mrc")


@pytest.mark.filterwarnings("ignore:Data array contains:RuntimeWarning")
def test_too_many_unusable_voxels_are_counted(tmp_path: Path) -> None:
    voxels = np.array(random_tomogram("A").volume_zyx)
    voxels[:, ::7, 3] = np.nan
    write_mrc(tmp_path / "A.mrc", Tomogram("A", voxels, GRID))
    assert f"{int(np.isnan(voxels).sum())} of {voxels.size} voxels" in refusal(tmp_path / "A.mrc")


def test_a_constant_tomogram_is_said_to_be_one(tmp_path: Path) -> None:
    write_mrc(tmp_path / "A.mrc", Tomogram("A", np.full(SHAPE, 7, np.float32), GRID))
    assert any("all voxels are equal" in note for note in pick(tmp_path / "A.mrc").records[0]["notes"])


@pytest.mark.parametrize(("number", "text"), [(2.0711e9, "2.08"), (31.2e9, "31.2"), (1234.1e9, "1240")])
def test_gigabytes_are_rounded_up(number: float, text: str) -> None:
    assert format_gigabytes(number) == text


def test_what_was_picked_stays_when_memory_has_become_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_chunks(tmp_path / "A.zarr")
    picker = load_picker(tmp_path)
    out = tmp_path / "out"
    assert not pick_into_folder([path], out, picker, with_segmentation=True).failed
    picks = (out / "runs" / "A" / "picks.csv").read_bytes()
    monkeypatch.setattr(device, "read_free_bytes", lambda: int(2e9 * GIGABYTES))
    summary = pick_into_folder([path], out, picker, with_segmentation=True)
    assert "--segmentation" in str(summary.failed[0].error)
    assert (out / "runs" / "A" / "picks.csv").read_bytes() == picks
    assert (out / "picks.csv").read_bytes() == picks
    assert list((out / "ExperimentRuns" / "A" / "Segmentations").iterdir())


def test_watersheds_cannot_be_streamed(tmp_path: Path) -> None:
    path = write_chunks(tmp_path / "A.zarr")
    picker = load_picker(tmp_path, memory_gigabytes=GIGABYTES)
    locate = picker.config.locate.model_copy(update={"method": "watershed"})
    picker = replace(picker, config=picker.config.model_copy(update={"locate": locate}))
    summary = pick_into_folder([path], tmp_path / "out", picker)
    assert "locate.method 'watershed'" in str(summary.failed[0].error)
