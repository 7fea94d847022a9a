"""What cannot be predicted is refused with a reason; memory that runs out is met with smaller blocks."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from cryofind.config import PredictConfig
from cryofind.errors import ConfigError, ModelError, TomogramError
from cryofind.predict import choose_device, predict_probabilities
from cryofind.types import ProbabilityVolume, VoxelGrid

CPU = PredictConfig(device="cpu", precision="float32", test_time_augmentation=1)


class Greedy(nn.Module):
    """A network that runs out of memory above a number of voxels."""

    def __init__(self, limit: int, error: Exception, channels: int = 1) -> None:
        super().__init__()
        self.limit, self.error, self.channels = limit, error, channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.numel() > self.limit:
            raise self.error
        return nn.functional.avg_pool3d(images, 2).repeat(1, self.channels, 1, 1, 1)


def predict(
    *networks: nn.Module, shape: tuple[int, int, int] = (32, 96, 96), config: PredictConfig = CPU
) -> ProbabilityVolume:
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    grid = VoxelGrid.isotropic(shape, 10.0)
    return predict_probabilities(
        networks, volume, grid, run="TS_1", objects=("a",), activation="sigmoid", config=config
    )


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu", "numpy"])
def test_smaller_blocks_follow_when_memory_runs_out(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    expected = predict(Greedy(10**9, error)).probabilities
    with caplog.at_level(logging.WARNING, logger="cryofind"):
        found = predict(Greedy(32 * 48 * 48, error)).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert "out of memory in blocks of 32 x 96 x 96 voxels" in caplog.text


class Forgetful(Greedy):
    """A network that runs once, on the trial block, and never again."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result = super().forward(images)
        self.limit = 0
        return result


@pytest.mark.parametrize("network", [Greedy(0, MemoryError()), Forgetful(10**9, MemoryError())], ids=["trial", "later"])
def test_memory_for_not_even_the_smallest_block_is_an_error_with_advice(network: nn.Module) -> None:
    with pytest.raises(TomogramError, match=r"run 'TS_1': memory on cpu .* blocks of 32 x 32 x 32 .*smaller network"):
        predict(network)


def test_errors_of_the_trial_pass_through() -> None:
    with pytest.raises(RuntimeError, match="no such layer"):
        predict(Greedy(0, RuntimeError("no such layer")))


def test_other_errors_of_the_network_pass_through() -> None:
    with pytest.raises(RuntimeError, match="no such layer"):
        predict(Greedy(32**3, RuntimeError("no such layer")))


def test_members_of_different_channels_are_refused() -> None:
    with pytest.raises(ModelError, match="network 2 of the ensemble: gives 3 channels, the first gives 1"):
        predict(Greedy(10**9, MemoryError()), Greedy(10**9, MemoryError(), channels=3))


def test_channels_that_do_not_fit_the_objects_are_refused() -> None:
    with pytest.raises(ModelError, match="gives 2 channels, expected 1 for 1 objects and sigmoid"):
        predict(Greedy(10**9, MemoryError(), channels=2))


@pytest.mark.parametrize("network", [nn.Identity(), nn.AvgPool3d(4), nn.Flatten()])
def test_a_network_of_another_stride_is_refused(network: nn.Module) -> None:
    with pytest.raises(ModelError, match="use a network with output at stride 2"):
        predict(network)


def test_numbers_that_are_not_finite_never_leave() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool3d(images, 2) / 0 - torch.inf

    with pytest.raises(ModelError, match="NaN or infinite"):
        predict(Broken())


@pytest.mark.parametrize("tile", [(16, 16, 20), (0, 16, 16), (-16, 16, 16), (8, 16, 16)])
def test_blocks_that_the_network_cannot_take_are_refused(tile: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"predict\.tile_zyx.*multiples of 16"):
        predict(Greedy(10**9, MemoryError()), config=CPU.model_copy(update={"tile_zyx": tile}))


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_gpu_is_refused_when_asked_for(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=rf"predict\.device: is '{wanted}', but no CUDA device is usable; use auto or cpu"
    ):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "cpu:0", "cpu:", "", "cuda:-1"])
def test_unknown_devices_are_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:N"):
        choose_device(wanted)
