"""What a prediction has room for: devices, memory, and the blocks that follow from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cryofind.config import ModelConfig, PredictConfig
from cryofind.errors import ConfigError
from cryofind.memory import read_free_bytes
from cryofind.models import build_network
from cryofind.predict import choose_device, room
from cryofind.predict import device as device_module
from cryofind.predict.device import device_memory_budget_bytes, main_memory_budget_bytes
from cryofind.predict.ensemble import Ensemble, prepare_ensemble
from cryofind.predict.room import estimate_bytes, find_room_bytes
from cryofind.predict.tiling import choose_tile, halve_tile


def test_what_is_allowed_includes_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    volume_bytes, cpu = 10**9, torch.device("cpu")
    assert find_room_bytes(cpu, volume_bytes, PredictConfig(memory_gigabytes=1.5)) == 0.5e9
    monkeypatch.setattr(device_module, "read_free_bytes", lambda: 1000)
    assert find_room_bytes(cpu, volume_bytes, PredictConfig()) == 500
    monkeypatch.setattr(room, "device_memory_budget_bytes", lambda device: 700.0)
    assert find_room_bytes(torch.device("cuda"), volume_bytes, PredictConfig(memory_gigabytes=1.5)) == 700


def prepare(*networks: nn.Module) -> Ensemble:
    return prepare_ensemble(networks, device=torch.device("cpu"), dtype=torch.float32)


class Plain(nn.Module):
    """A network of ours that is not known to be one: it takes the way of plug-ins."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        return logits


def test_estimated_memory_grows_with_the_block_and_the_widest_map() -> None:
    narrow = prepare(build_network(ModelConfig(network="res16"), 6))
    wide = prepare(build_network(ModelConfig(network="res32"), 6))
    plain = prepare(Plain(build_network(ModelConfig(network="res16"), 6)))
    assert narrow.bytes_per_voxel() < wide.bytes_per_voxel()
    assert narrow.largest_map_per_voxel == 0
    assert plain.largest_map_per_voxel == pytest.approx(16 / 8)
    # Measured: a plain float32 pass of res16 over 96 x 320 x 320 peaks at 30 bytes per voxel beside its input.
    assert 30 <= plain.bytes_per_voxel() <= 60
    shape = (192, 640, 640)
    assert estimate_bytes(narrow, shape, (64, 64, 64)) < estimate_bytes(narrow, shape, shape)


def test_tiles_shrink_along_their_longest_side() -> None:
    whole = choose_tile((20, 100, 90), overlap=0.25, multiple=16, fits=lambda tile: True)
    assert whole == (32, 112, 96)
    half = choose_tile((20, 100, 90), overlap=0.25, multiple=16, fits=lambda tile: int(np.prod(tile)) < 32 * 112 * 90)
    assert half == (32, 64, 96)
    assert choose_tile((20, 100, 90), overlap=0.25, multiple=16, fits=lambda tile: False) == (32, 32, 32)
    assert choose_tile((3, 4, 5), overlap=0.25, multiple=16, fits=lambda tile: False) == (16, 16, 16)


def test_halving_stops_at_two_multiples() -> None:
    assert halve_tile((32, 112, 96), 16) == (32, 64, 96)
    assert halve_tile((32, 32, 16), 16) is None


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_the_cpu_is_always_there(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(wanted) == torch.device("cpu")


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="2 CUDA devices are usable"):
        choose_device("cuda:2")


def test_free_memory_is_the_least_of_system_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    assert read_free_bytes(meminfo, tmp_path) == 2_048_000
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert read_free_bytes(meminfo, tmp_path) == 600_000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 250000\n")
    assert read_free_bytes(meminfo, tmp_path) == 850_000
    (tmp_path / "memory.max").write_text("max\n")
    assert read_free_bytes(meminfo, tmp_path) == 2_048_000
    assert read_free_bytes(tmp_path / "none", tmp_path / "none") == 4 * 1024**3


def test_memory_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main_memory_budget_bytes(1.5) == 1.5e9
    monkeypatch.setattr(device_module, "read_free_bytes", lambda: 1000)
    assert main_memory_budget_bytes(None) == 500
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (800, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert device_memory_budget_bytes(torch.device("cuda")) == 500
