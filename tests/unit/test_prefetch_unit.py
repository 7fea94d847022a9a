"""Batches made in the background: the same as without, in order, and with no thread left."""

import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryofind.config import AugmentConfig, Config, TargetConfig, TrainConfig, parse_config
from cryofind.errors import TomogramError
from cryofind.train import CropSampler, TrainingRun, TrainResult, train_network
from cryofind.train.changes import apply_changes
from cryofind.train.prefetch import CPU, THREAD_NAME, ReadyBatch, prefetch_batches
from cryofind.types import VoxelGrid
from tests.tiny_models import SPECS, TINY, TinySampler, build_tiny, cross_entropy, sample, tiny_config

EVERYTHING = AugmentConfig(
    rotate_z_probability=0.5,
    spectrum_probability=0.5,
    wedge_probability=0.5,
    mixup_probability=0.5,
    copy_paste_probability=0.5,
)
TRAIN = {"steps": 6, "batch_size": 3, "crop_zyx": (16, 16, 16), "precision": "float32", "devices": "cpu"}


def make_sampler(seed: int = 0) -> CropSampler:
    random = np.random.default_rng(4)
    grid = VoxelGrid.isotropic((32, 40, 48), 50.0)
    volume = random.standard_normal(grid.shape_zyx).astype(np.float16)
    positions = random.uniform(0, 1, (30, 3)) * grid.extent_zyx_angstrom
    run = TrainingRun("run", volume, grid, positions, random.integers(0, 2, 30))
    return CropSampler([run], TrainConfig.model_validate(TRAIN), EVERYTHING, TargetConfig(), SPECS, seed=seed)


def make_config(**train: Any) -> Config:
    return parse_config({"model": TINY.model_dump(), "train": {**TRAIN, **train}}, "test")


def train(out: Path, sampler: Any, config: Config) -> TrainResult:
    names = [spec.name for spec in SPECS]
    return train_network(
        sampler, build_tiny(seed=3), config, out=out, validate=None, object_names=names, loss=cross_entropy
    )


def threads_there() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def without_threads(
    sampler: CropSampler, first_step: int, last_step: int, *, rank: int, device: torch.device = CPU
) -> Generator[ReadyBatch, None, None]:
    """Yield the batches that `prefetch_batches` does, made when they are asked for."""
    for step in range(first_step, last_step):
        yield ReadyBatch(*apply_changes(sampler.draw(step, rank)), 0.0)


def test_batches_are_those_of_the_sampler_in_order() -> None:
    sampler = make_sampler()
    count = 0
    for step, batch in enumerate(prefetch_batches(sampler, 3, 12, rank=2), start=3):
        expected = sample(make_sampler(), step, 2)
        np.testing.assert_array_equal(batch.images.numpy(), expected.images)
        np.testing.assert_array_equal(batch.values.numpy(), expected.values)
        np.testing.assert_array_equal(batch.weights.numpy(), expected.weights)
        assert batch.seconds > 0
        count += 1
    assert count == 9
    assert threads_there() == []


def test_several_threads_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofind.train.prefetch._count_threads", lambda device: 4)
    found = [batch.images.clone() for batch in prefetch_batches(make_sampler(), 0, 11, rank=0)]
    for step, images in enumerate(found):
        np.testing.assert_array_equal(images.numpy(), sample(make_sampler(), step).images)
    assert len(found) == 11


def test_a_training_is_the_same_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_threads = train(tmp_path / "a", make_sampler(), make_config())
    monkeypatch.setattr("cryofind.train.loop.prefetch_batches", without_threads)
    without = train(tmp_path / "b", make_sampler(), make_config())
    torch.testing.assert_close(with_threads.network.state_dict(), without.network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("cut", [1, 4])
def test_a_training_on_crops_goes_on_bit_by_bit(tmp_path: Path, cut: int) -> None:
    class Failing(CropSampler):
        def draw(self, step: int, rank: int = 0, out: Any = None) -> Any:
            if step == cut:
                raise OSError("power cut")
            return super().draw(step, rank, out)

    config = make_config(checkpoint_every=2)
    whole = train(tmp_path / "whole", make_sampler(), config)
    failing = make_sampler()
    failing.__class__ = Failing
    with pytest.raises(OSError, match="power cut"):
        train(tmp_path / "cut", failing, config)
    resumed = train(tmp_path / "cut", make_sampler(), config)
    torch.testing.assert_close(whole.network.state_dict(), resumed.network.state_dict(), rtol=0, atol=0)


def test_an_error_comes_when_its_batch_is_due_and_as_it_is() -> None:
    class Failing(TinySampler):
        def draw(self, step: int, rank: int = 0, out: Any = None) -> Any:
            if step == 2:
                raise TomogramError("run TS_1", "is torn", "copy it again")
            return super().draw(step, rank, out)

    batches = prefetch_batches(Failing(), 0, 50, rank=0)
    next(batches)
    next(batches)
    with pytest.raises(TomogramError, match="run TS_1: is torn"):
        next(batches)
    assert threads_there() == []
    assert list(batches) == []


def test_nothing_is_made_long_before_it_is_needed() -> None:
    sampler = TinySampler()
    batches = prefetch_batches(sampler, 0, 1000, rank=0)
    next(batches)
    assert len(threads_there()) == 1
    batches.close()
    assert threads_there() == []
    assert len(sampler.steps) <= 3


def test_no_thread_is_left_by_a_training_that_ends_or_is_stopped(tmp_path: Path) -> None:
    train(tmp_path / "a", make_sampler(), make_config())
    assert threads_there() == []
    calls: list[int] = []

    def interrupt(logits: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(logits, values, weights)

    with pytest.raises(KeyboardInterrupt):
        train_network(
            TinySampler(),
            build_tiny(),
            tiny_config(),
            out=tmp_path / "b",
            validate=None,
            object_names=("a", "b"),
            loss=interrupt,
        )
    assert threads_there() == []


def test_torch_computes_elsewhere_with_as_many_threads_as_before() -> None:
    before = torch.get_num_threads()
    found: list[int] = []
    batches = prefetch_batches(TinySampler(), 0, 3, rank=0)
    next(batches)
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    batches.close()
    assert found == [before]
    assert torch.get_num_threads() == before


@pytest.mark.gpu
def test_a_gpu_gets_the_batches_of_a_cpu() -> None:
    for step, batch in enumerate(prefetch_batches(make_sampler(), 0, 8, rank=0, device=torch.device("cuda"))):
        assert batch.images.is_cuda
        expected = sample(make_sampler(), step)
        np.testing.assert_allclose(batch.images.cpu().numpy(), expected.images, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(batch.values.cpu().numpy(), expected.values, atol=1e-6)
