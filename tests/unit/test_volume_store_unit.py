"""The store of volumes: the same numbers in memory and on disk, and nothing left behind."""

from pathlib import Path

import numpy as np
import pytest

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.pipeline.volume_store import VolumeStore, open_store, write_array
from cryofind.train import CropSampler, TrainingRun
from cryofind.types import ParticleSpec, VoxelGrid
from tests.tiny_models import sample

SHAPE = (20, 24, 28)


def make_volume(dtype: str = "float16", seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(SHAPE) * 50).astype(dtype)


def is_mapped(volume: np.ndarray) -> bool:
    base = volume
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return not isinstance(base, np.ndarray)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_volume_on_disk_is_the_volume(tmp_path: Path, dtype: str, order: str) -> None:
    volume = np.asarray(make_volume(dtype), order="C" if order == "C" else "F")
    kept = VolumeStore(tmp_path, 0).keep(volume)
    assert is_mapped(kept)
    assert kept.dtype == volume.dtype
    np.testing.assert_array_equal(kept, volume)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_filled_first(tmp_path: Path) -> None:
    first, second, third = (make_volume(seed=seed) for seed in range(3))
    store = VolumeStore(tmp_path, int(2.5 * first.nbytes))
    assert store.keep(first) is first
    assert store.keep(second) is second
    assert store.describe() is None
    assert is_mapped(store.keep(third))
    small = np.ones((2, 2, 2), np.float16)
    assert store.keep(small) is small
    line = store.describe()
    assert line is not None
    assert str(tmp_path) in line
    assert "train.memory_gigabytes" in line


def test_a_change_stays_in_the_array(tmp_path: Path) -> None:
    volume = make_volume()
    store = VolumeStore(tmp_path, 0)
    one, other = store.keep(volume), store.keep(volume)
    one[3] = 0
    np.testing.assert_array_equal(other, volume)
    assert (one[3] == 0).all()


def test_the_folder_need_not_be_there_yet(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path / "model" / "deep", 0)
    np.testing.assert_array_equal(store.keep(make_volume()), make_volume())
    assert list(tmp_path.iterdir()) == []


def test_processes_share_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = make_volume()
    asked = volume.nbytes / 1e9 * 1.5
    assert not is_mapped(open_store(tmp_path, asked, processes=1).keep(volume))
    assert is_mapped(open_store(tmp_path, asked, processes=2).keep(volume))
    monkeypatch.setattr("cryofind.pipeline.volume_store.read_free_bytes", lambda: 4 * volume.nbytes)
    store = open_store(tmp_path, None, processes=1)
    assert [is_mapped(store.keep(volume)) for _ in range(3)] == [False, False, True]


def test_crops_of_a_volume_on_disk_are_those_of_the_volume(tmp_path: Path) -> None:
    grid = VoxelGrid.isotropic(SHAPE, 50.0)
    positions = np.random.default_rng(1).uniform(0, 1, (9, 3)) * grid.extent_zyx_angstrom
    config = TrainConfig(crop_zyx=(8, 8, 8), batch_size=4)
    samplers = []
    for volume in (make_volume(), VolumeStore(tmp_path, 0).keep(make_volume())):
        run = TrainingRun("run", volume, grid, positions, np.zeros(9, np.int64))
        samplers.append(CropSampler([run], config, AugmentConfig(), TargetConfig(), [ParticleSpec("a", 60.0, 1)]))
    for step in range(5):
        one, other = (sample(sampler, step) for sampler in samplers)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.values, other.values)


def test_planes_are_written_one_after_the_other() -> None:
    volume, written = make_volume("float32").transpose(2, 0, 1), bytearray()

    def write(content: memoryview) -> int:
        written.extend(content)
        return len(content)

    write_array(write, volume)
    np.testing.assert_array_equal(np.frombuffer(written, np.float32).reshape(volume.shape), volume)
