"""Blocks cover everything, blending keeps constants, and turning the volume turns the probabilities."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cryofind.config import PredictConfig
from cryofind.predict import predict_probabilities, segment_probabilities
from cryofind.predict.tiling import cut_block, plan_tiling, round_up
from cryofind.types import ParticleSpec, ProbabilityVolume, VoxelGrid

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 90), st.integers(1, 90))
TILES = st.tuples(*[st.integers(1, 5).map(lambda n: 16 * n)] * 3)
OVERLAPS = st.floats(0, 0.89)


class Symmetric(nn.Module):
    """A convolution whose kernel is the same under exchange of y and x."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        kernel = torch.randn(1, 1, 4, 4, 4)
        self.kernel = nn.Parameter((kernel + kernel.transpose(-1, -2)) / 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv3d(images, self.kernel, stride=2, padding=1)


class Constant(nn.Module):
    """The same logit everywhere."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images[..., ::2, ::2, ::2], 0.75)


def predict(
    network: nn.Module, volume: np.ndarray[tuple[int, ...], np.dtype[np.float32]], **options: object
) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    config = PredictConfig.model_validate({"device": "cpu", "precision": "float32", **options})
    grid = VoxelGrid.isotropic(volume.shape, 10.0)
    found = predict_probabilities([network], volume, grid, run="r", objects=("a",), activation="sigmoid", config=config)
    return np.asarray(found.probabilities[0])


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, tile=TILES, overlap=OVERLAPS)
def test_every_cell_is_covered_and_weights_sum_to_one(
    shape: tuple[int, int, int], tile: tuple[int, int, int], overlap: float
) -> None:
    tiling = plan_tiling(shape, tile, overlap=overlap, multiple=16)
    for axis, length in zip((tiling.along_z, tiling.along_y, tiling.along_x), shape, strict=True):
        total = torch.zeros(round_up(length, 16) // 2)
        for start, window in zip(axis.output_starts, axis.windows, strict=True):
            assert start % 8 == 0
            total[start : start + axis.output_size] += window
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
        gaps = np.diff(axis.starts)
        assert axis.starts[0] == 0
        assert (gaps > 0).all()
        assert axis.output_length == len(total)
        # at least the overlap asked for, to within the multiple that block starts are bound to
        assert (gaps <= max(16, axis.size * (1 - overlap))).all()


@settings(deadline=None, max_examples=25)
@given(shape=SHAPES, tile=TILES, overlap=st.floats(0, 0.6))
def test_blending_a_constant_gives_the_constant(
    shape: tuple[int, int, int], tile: tuple[int, int, int], overlap: float
) -> None:
    found = predict(Constant(), np.zeros(shape, np.float32), tile_zyx=tile, tile_overlap=overlap)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-0.75)), atol=1e-6)
    assert found.shape == tuple(-(-size // 2) for size in shape)


@settings(deadline=None, max_examples=25)
@given(shape=SHAPES, views=st.sampled_from([1, 2, 4, 8]), in_blocks=st.booleans())
def test_exchanging_y_and_x_exchanges_them_in_the_result(
    shape: tuple[int, int, int], views: int, in_blocks: bool
) -> None:
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    options = {"test_time_augmentation": views, "tile_zyx": (32, 48, 48) if in_blocks else None}
    turned = predict(Symmetric(), np.ascontiguousarray(volume.transpose(0, 2, 1)), **options)
    np.testing.assert_allclose(turned.transpose(0, 2, 1), predict(Symmetric(), volume, **options), atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(shape=st.tuples(*[st.integers(1, 40)] * 3))
def test_padding_mirrors_like_numpy(shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    size = tuple(round_up(length, 16) for length in shape)
    z, y, x = size
    expected = np.pad(volume, [(0, new - old) for new, old in zip(size, shape, strict=True)], mode="reflect")
    np.testing.assert_array_equal(cut_block(volume, (0, 0, 0), (z, y, x), dtype=torch.float32).numpy(), expected)


@settings(deadline=None, max_examples=40)
@given(
    center=st.tuples(*[st.floats(6, 22)] * 3),
    spacing=st.sampled_from([10.0, 7.0, 13.0]),
)
def test_a_segmented_ball_lies_where_the_probabilities_do(center: tuple[float, float, float], spacing: float) -> None:
    """Probabilities of a ramp with its peak at `center` (in units of 10 Angstrom), on any two grids."""
    grid = VoxelGrid.isotropic((round(280 / spacing),) * 3, spacing)
    coarse = VoxelGrid.isotropic((28, 28, 28), 10.0).coarsened(2)
    places = coarse.positions_from_indices(np.moveaxis(np.indices(coarse.shape_zyx), 0, -1))
    distances = np.linalg.norm(places - 10 * np.array(center), axis=-1)
    ramp = np.clip(1 - distances / 110, 0, 1).astype(np.float32)
    volume = ProbabilityVolume("r", ramp[None], coarse, ("a",))
    labels = segment_probabilities(volume, [ParticleSpec("a", 50.0, 9)], threshold=0.5, grid=grid).labels_zyx
    found = grid.positions_from_indices(np.argwhere(labels == 9)).mean(axis=0)
    assert np.abs(found - 10 * np.array(center)).max() < 4.0
