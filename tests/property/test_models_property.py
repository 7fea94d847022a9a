import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cryofind.config import ModelConfig
from cryofind.models import ResidualUNet, build_network, fold_batch_norm
from cryofind.types import VoxelGrid
from tests.tiny_models import build_tiny, randomize_norms


def _mirror_kernels(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            for axis in (-1, -2, -3):
                module.weight.data = (module.weight.data + module.weight.data.flip(axis)) / 2


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_mirrored_kernels_give_mirrored_logits(axis: int) -> None:
    """Only true if cell j is centred on input index 2j + 0.5 at every level."""
    network = build_tiny().eval()
    _mirror_kernels(network)
    images = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(images.flip(axis)), network(images).flip(axis), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pair", [3, 4, 7])
def test_response_to_a_pair_of_voxels_is_centred_where_the_coarsened_grid_says(pair: int) -> None:
    network = build_network(ModelConfig(network="res16", widths=(1,), encoder_blocks=(0,), decoder_blocks=()), 1)
    assert isinstance(network, ResidualUNet)
    next(network.stem.parameters()).data.fill_(1.0)
    network.head.weight.data.fill_(1.0)
    grid = VoxelGrid.isotropic((4, 4, 24), 1.0).coarsened(2)
    cells = torch.tensor(grid.positions_from_indices([(0, 0, x) for x in range(12)])[:, 2])
    centres = []
    for index in (2 * pair, 2 * pair + 1):
        images = torch.zeros(1, 1, 4, 4, 24)
        images[..., 1, 1, index] = 1.0
        with torch.no_grad():
            response = (network.eval()(images) - network(torch.zeros_like(images)))[0, 1].sum((0, 1)).double()
        centres.append(float((response * cells).sum() / response.sum()))
    assert sum(centres) / 2 == pytest.approx(2 * pair + 0.5, abs=1e-5)
    assert 2 * pair + 0.5 - centres[0] == pytest.approx(centres[1] - 2 * pair - 0.5, abs=1e-5)


@given(
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    blocks=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=25)
def test_folded_norms_give_the_same_logits(widths: list[int], blocks: int, seed: int) -> None:
    torch.manual_seed(seed)
    config = ModelConfig(
        network="res32",
        widths=tuple(widths),
        encoder_blocks=(blocks,) * len(widths),
        decoder_blocks=(blocks,) * (len(widths) - 1),
    )
    network = randomize_norms(build_network(config, 2), seed).eval()
    images = torch.randn(1, 1, 8, 8, 16)
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(network)(images), network(images), rtol=1e-3, atol=1e-4)
