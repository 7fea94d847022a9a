"""Prediction over whole volumes and in blocks, with small networks whose answer is known."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.config import ModelConfig, PredictConfig
from cryofind.errors import ConfigError
from cryofind.models import build_network
from cryofind.predict import predict_probabilities
from cryofind.predict.augment_test import choose_views
from cryofind.predict.ensemble import average_logits, prepare_ensemble
from cryofind.types import ProbabilityVolume, VoxelGrid

Floats = NDArray[np.float32]

FLOAT32 = PredictConfig(device="cpu", precision="float32")


class BlockMeans(nn.Module):
    """Logits that are multiples of the mean of each 2 x 2 x 2 voxels; equivariant under every view."""

    def __init__(self, *slopes: float, offset: float = 0.0) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes))
        self.offset = offset

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = nn.functional.avg_pool3d(images, 2)
        return means * self.slopes[None, :, None, None, None].to(means.dtype) + self.offset


class Smoother(nn.Module):
    """A random convolution over 8 voxels around each stride-2 cell."""

    def __init__(self, channels: int = 2, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv3d(1, channels, 8, stride=2, padding=3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(images)
        return logits


def draw_volume(shape: tuple[int, int, int], *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def predict(
    networks: nn.Module | list[nn.Module],
    volume: NDArray[Any],
    config: PredictConfig = FLOAT32,
    *,
    activation: str = "sigmoid",
    objects: tuple[str, ...] = ("a", "b"),
) -> ProbabilityVolume:
    return predict_probabilities(
        networks if isinstance(networks, list) else [networks],
        volume,
        VoxelGrid.isotropic(volume.shape, 10.0),
        run="TS_1",
        objects=objects,
        activation="softmax" if activation == "softmax" else "sigmoid",
        config=config,
    )


def with_tiles(z: int, y: int, x: int, *, overlap: float = 0.5, **changes: Any) -> PredictConfig:
    return FLOAT32.model_copy(update={"tile_zyx": (z, y, x), "tile_overlap": overlap, **changes})


def test_cells_are_the_means_of_their_voxels_on_the_coarse_grid() -> None:
    volume = draw_volume((32, 48, 16))
    found = predict(BlockMeans(1.0, -2.0), volume)
    means = volume.reshape(16, 2, 24, 2, 8, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found.probabilities[0], 1 / (1 + np.exp(-means)), atol=1e-6)
    np.testing.assert_allclose(found.probabilities[1], 1 / (1 + np.exp(2 * means)), atol=1e-6)
    assert found.grid == VoxelGrid.isotropic(volume.shape, 10.0).coarsened(2)
    assert found.probabilities.dtype == np.float32
    assert (found.run, found.objects) == ("TS_1", ("a", "b"))


def test_softmax_drops_the_background() -> None:
    volume = draw_volume((16, 16, 16))
    found = predict(BlockMeans(0.0, 3.0, -1.0), volume, activation="softmax").probabilities
    means = volume.reshape(8, 2, 8, 2, 8, 2).mean(axis=(1, 3, 5))
    scores = np.exp(np.stack([0 * means, 3 * means, -means]))
    np.testing.assert_allclose(found, (scores / scores.sum(axis=0))[1:], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 40), (5, 33, 16), (16, 15, 31), (19, 20, 50)])
def test_odd_and_thin_volumes_are_padded_by_reflection(shape: tuple[int, int, int]) -> None:
    volume = draw_volume(shape)
    found = predict(BlockMeans(1.0, 2.0), volume).probabilities
    assert found.shape[1:] == tuple(-(-size // 2) for size in shape)
    padded = np.pad(volume, [(0, size % 2) for size in shape], mode="reflect")
    z, y, x = (size // 2 for size in padded.shape)
    means = padded.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-means)), atol=1e-6)


@pytest.mark.parametrize("tile", [(32, 32, 32), (48, 64, 32), (16, 96, 96)])
def test_blocks_agree_with_the_whole_where_the_receptive_field_is_inside(tile: tuple[int, int, int]) -> None:
    volume = draw_volume((48, 70, 83))
    volume[:, 28:36] = 0.0
    whole = predict(BlockMeans(1.0, 2.0), volume).probabilities
    np.testing.assert_allclose(predict(BlockMeans(1.0, 2.0), volume, with_tiles(*tile)).probabilities, whole, atol=1e-6)


def test_block_borders_matter_only_where_the_network_looks_across_them() -> None:
    volume = draw_volume((32, 32, 96))
    whole = predict(Smoother(), volume).probabilities
    blocks = predict(Smoother(), volume, with_tiles(32, 32, 48, overlap=0.3)).probabilities
    # blocks along x: 0-48, 16-64, 32-80, 48-96; 4 voxels from any border lie cells 10 to 13
    np.testing.assert_allclose(blocks[..., 10:14], whole[..., 10:14], atol=1e-5)
    # elsewhere a border is near, but the block that ends there has little weight
    assert np.abs(blocks - whole).max() < 0.2
    assert np.abs(blocks - whole).mean() < 0.01


def test_memory_decides_the_blocks() -> None:
    volume = draw_volume((32, 64, 64))
    seen: list[tuple[int, ...]] = []

    class Recorder(BlockMeans):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(images.shape[2:]))
            return super().forward(images)

    ample = predict(Recorder(1.0, 2.0), volume, FLOAT32.model_copy(update={"memory_gigabytes": 1.0}))
    assert set(seen[1:]) == {(32, 64, 64)}
    seen.clear()
    tight = predict(Recorder(1.0, 2.0), volume, FLOAT32.model_copy(update={"memory_gigabytes": 1.5e-3}))
    assert len(seen) > 2
    assert np.prod(seen[1]) < 32 * 64 * 64
    np.testing.assert_allclose(tight.probabilities, ample.probabilities, atol=1e-6)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_views_do_not_change_an_equivariant_network(count: int) -> None:
    volume = draw_volume((16, 20, 40))
    plain = predict(BlockMeans(1.0, 2.0), volume)
    config = FLOAT32.model_copy(update={"test_time_augmentation": count})
    np.testing.assert_allclose(
        predict(BlockMeans(1.0, 2.0), volume, config).probabilities, plain.probabilities, atol=1e-6
    )


def test_views_are_distinct_undone_and_leave_z_alone() -> None:
    block = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 4)
    views = choose_views(8)
    for view in views:
        assert torch.equal(view.undo(view.apply(block)), block)
        assert torch.equal(view.apply(block).sum(dim=(1, 2)), block.sum(dim=(1, 2)))
    assert len({tuple(view.apply(block).flatten().tolist()) for view in views}) == 8
    for count in (1, 2, 4):
        assert all(view.apply(block).shape == block.shape for view in choose_views(count))


def test_views_average_the_logits_of_a_network_that_is_not_equivariant() -> None:
    volume = draw_volume((16, 16, 16))
    config = FLOAT32.model_copy(update={"test_time_augmentation": 2})
    turned = np.ascontiguousarray(volume[:, ::-1, ::-1])
    network = Smoother()
    logits = np.log(1 / predict(network, volume).probabilities - 1)
    turned_logits = np.log(1 / predict(network, turned).probabilities - 1)[..., ::-1, ::-1]
    expected = 1 / (1 + np.exp((logits + turned_logits) / 2))
    np.testing.assert_allclose(predict(network, volume, config).probabilities, expected, atol=1e-5)


def test_an_ensemble_averages_logits() -> None:
    volume = draw_volume((16, 16, 32))
    members: list[nn.Module] = [BlockMeans(1.0, 2.0), BlockMeans(3.0, -2.0, offset=1.0)]
    expected = predict(BlockMeans(2.0, 0.0, offset=0.5), volume).probabilities
    np.testing.assert_allclose(predict(members, volume).probabilities, expected, atol=1e-6)


def test_no_view_is_a_programming_error() -> None:
    ensemble = prepare_ensemble([BlockMeans(1.0)], device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(ValueError, match="at least one view"):
        average_logits(ensemble, torch.zeros(16, 16, 16), (), after_each=lambda: None)


@pytest.mark.parametrize("size_multiple", [1, 3, 4, 16, 24, 32])
def test_blocks_suit_every_network(size_multiple: int) -> None:
    class Picky(BlockMeans):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert all(size % size_multiple == 0 for size in images.shape[2:])
            return super().forward(images)

    network = Picky(1.0, 2.0)
    network.size_multiple = size_multiple  # type: ignore[assignment]
    assert predict(network, draw_volume((17, 20, 40))).probabilities.shape == (2, 9, 10, 20)


def test_blocks_may_be_as_fine_as_the_networks_allow() -> None:
    coarse, fine = BlockMeans(1.0, 2.0), BlockMeans(1.0, 2.0)
    coarse.size_multiple, fine.size_multiple = 12, 4  # type: ignore[assignment]
    volume = draw_volume((17, 20, 40))
    whole = predict(fine, volume).probabilities
    np.testing.assert_allclose(predict(fine, volume, with_tiles(8, 12, 20)).probabilities, whole, atol=1e-6)
    with pytest.raises(ConfigError, match="multiples of 12"):
        predict([fine, coarse], volume, with_tiles(8, 12, 20))


def test_the_networks_given_are_left_as_they_were() -> None:
    network = build_network(ModelConfig(network="res16", widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,)), 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    predict(network, draw_volume((16, 16, 16)), FLOAT32, activation="softmax")
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_packages_network_gives_the_same_in_blocks_views_and_bf16() -> None:
    torch.manual_seed(0)
    config = ModelConfig(network="res16", widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
    network = build_network(config, 2)
    with torch.no_grad():
        network.get_submodule("head").weight.mul_(50)  # type: ignore[operator]
    volume = draw_volume((32, 64, 64))
    plain = predict(network, volume, activation="softmax").probabilities
    direct = network.eval()(torch.from_numpy(volume)[None, None])[0].softmax(dim=0)[1:].detach().numpy()
    np.testing.assert_allclose(plain, direct, atol=1e-5)
    half = predict(network, volume, FLOAT32.model_copy(update={"precision": "bf16"}), activation="softmax")
    np.testing.assert_allclose(half.probabilities, plain, atol=0.03)
    blocks = predict(network, volume, with_tiles(32, 48, 48, test_time_augmentation=1), activation="softmax")
    assert np.abs(blocks.probabilities - plain).mean() < 0.01


@pytest.mark.parametrize("layout", ["read-only", "big-endian", "reversed", "strided"])
def test_any_memory_layout_will_do(layout: str) -> None:
    volume = draw_volume((16, 16, 20))
    expected = predict(BlockMeans(1.0, 2.0), volume).probabilities
    variants: dict[str, NDArray[Any]] = {
        "read-only": volume.copy(),
        "big-endian": volume.astype(">f4"),
        "reversed": volume[::-1, :, ::-1].copy()[::-1, :, ::-1],
        "strided": np.repeat(volume, 2, axis=1)[:, ::2],
    }
    variants["read-only"].flags.writeable = False
    np.testing.assert_array_equal(predict(BlockMeans(1.0, 2.0), variants[layout]).probabilities, expected)


def test_progress_counts_every_pass(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("cryofind.progress.LOG_INTERVAL_SECONDS", -1.0)
    config = with_tiles(16, 32, 32, test_time_augmentation=2)
    with caplog.at_level(logging.INFO, logger="cryofind"):
        predict([BlockMeans(1.0, 2.0), BlockMeans(2.0, 2.0)], draw_volume((16, 48, 32)), config)
    assert "predict TS_1: 8 of 8" in caplog.text


def test_a_volume_of_another_shape_than_its_grid_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="its grid"):
        predict_probabilities(
            [BlockMeans(1.0)],
            draw_volume((16, 16, 16)),
            VoxelGrid.isotropic((16, 16, 17), 10.0),
            run="a",
            objects=("a",),
            activation="sigmoid",
            config=FLOAT32,
        )


def test_no_network_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least one network"):
        predict([], draw_volume((16, 16, 16)))
