import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cryofind.config import ModelConfig
from cryofind.errors import ConfigError
from cryofind.models import ResidualUNet, ToStrideTwo, build_network, fold_batch_norm, network_multiple
from cryofind.models.unet import OBJECT_PRIOR
from tests.tiny_models import TINY, build_tiny, registered_network


@pytest.mark.parametrize(("name", "megaparameters", "gigaflop"), [("res32", 11.2, 135.0), ("res16", 1.6, 27.8)])
def test_sizes_are_those_that_the_documentation_states(name: str, megaparameters: float, gigaflop: float) -> None:
    network = build_network(ModelConfig(network=name), 6).to("meta")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(megaparameters, rel=0.03)
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.empty(1, 1, 128, 128, 128, device="meta"))
    assert logits.shape == (1, 7, 64, 64, 64)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gigaflop, rel=0.1)


@pytest.mark.parametrize(("activation", "channels"), [("softmax", 4), ("sigmoid", 3)])
def test_channels_follow_the_activation(activation: str, channels: int) -> None:
    network = build_tiny(3, activation=activation)
    assert network(torch.zeros(2, 1, 8, 4, 12)).shape == (2, channels, 4, 2, 6)


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10, 12)])
def test_size_multiple_follows_the_levels(widths: tuple[int, ...]) -> None:
    config = ModelConfig(
        network="res32", widths=widths, encoder_blocks=(1,) * len(widths), decoder_blocks=(0,) * (len(widths) - 1)
    )
    network = build_network(config, 1).eval()
    multiple = network_multiple(network)
    assert multiple == 2 ** len(widths)
    assert network(torch.zeros(1, 1, multiple, multiple, 2 * multiple)).shape[-1] == multiple
    with pytest.raises(ValueError, match="multiples of"):
        network(torch.zeros(1, 1, multiple, multiple, multiple + 1))


def test_a_network_that_states_no_multiple_gets_16() -> None:
    assert network_multiple(nn.Conv3d(1, 1, 1)) == 16


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_fresh_network_says_background(activation: str) -> None:
    network = build_network(TINY.model_copy(update={"activation": activation}), 2).eval()
    logits = network(torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)))
    logits = logits.detach()
    probabilities = logits.softmax(1)[:, 1:] if activation == "softmax" else logits.sigmoid()
    assert 0.3 * OBJECT_PRIOR < float(probabilities.mean()) < 3 * OBJECT_PRIOR


def test_prior_of_very_many_objects_stays_finite() -> None:
    network = build_network(TINY, 150)
    assert isinstance(network, ResidualUNet)
    assert network.head.bias is not None
    assert math.isfinite(network.head.bias[0].item())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"widths": (0, 8)}, "model.widths"),
        ({"widths": ()}, "model.widths"),
        ({"widths": (4, 8, 16)}, "model.encoder_blocks"),
        ({"encoder_blocks": (1, -1)}, "model.encoder_blocks"),
        ({"decoder_blocks": (1, 1)}, "model.decoder_blocks"),
        ({"options": {"depth": 3}}, "model.options"),
        ({"network": "res23"}, "did you mean 'res32'"),
    ],
)
def test_wrong_options_are_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        build_network(TINY.model_copy(update=changes), 2)


def test_no_objects_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="object_count"):
        build_network(TINY, 0)


class _Plain(nn.Module):
    """A plug-in's network: full resolution, or with `stride` 2 or 4 coarser."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.size_multiple = 4
        self.head = nn.Conv3d(in_channels, out_channels, stride, stride, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images)
        return logits


def test_a_plug_in_of_full_resolution_is_averaged_to_stride_two() -> None:
    with registered_network("plain", _Plain):
        network = build_network(ModelConfig(network="plain"), 2)
    assert isinstance(network, ToStrideTwo)
    assert network.training
    assert network_multiple(network) == 4
    images = torch.randn(1, 1, 4, 8, 4, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.avg_pool3d(network.network(images), 2)
    torch.testing.assert_close(network(images), expected)
    assert network.to(torch.bfloat16)(images.bfloat16()).dtype == torch.bfloat16


def test_a_plug_in_of_stride_two_stays_as_it_is() -> None:
    with registered_network("plain", _Plain):
        network = build_network(ModelConfig(network="plain", options={"stride": 2, "bias": False}), 2)
    assert isinstance(network, _Plain)


def test_a_plug_in_of_another_stride_is_refused() -> None:
    with registered_network("plain", _Plain), pytest.raises(ConfigError, match="mend the plug-in"):
        build_network(ModelConfig(network="plain", options={"stride": 4}), 2)


def test_folding_leaves_the_network_itself_alone() -> None:
    network = build_tiny().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert network.training
    assert not folded.training
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_norms_that_cannot_be_folded_stay() -> None:
    unfoldable = nn.Sequential(
        nn.ReLU(),
        nn.BatchNorm3d(4),
        nn.Conv3d(4, 4, 1),
        nn.BatchNorm3d(4, track_running_stats=False),
        nn.ConvTranspose3d(4, 4, 2, 2, groups=2),
        nn.BatchNorm3d(4),
    ).eval()
    folded = fold_batch_norm(unfoldable)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in folded.modules()) == 3
    images = torch.randn(2, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded(images), unfoldable(images))
