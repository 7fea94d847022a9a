"""Whether a network can learn from crops of a size."""

import pytest
import torch

from cryofind.config import ModelConfig, TrainConfig
from cryofind.errors import ConfigError
from cryofind.models import build_network
from cryofind.train.fit_of_network import check_crops, find_shallow_convolution
from cryofind.types.grid import IntTriple
from tests.tiny_models import build_tiny


@pytest.mark.parametrize(("depth", "found"), [(64, False), (48, False), (32, True), (16, True)])
def test_convolutions_deeper_than_their_input_are_found(depth: int, found: bool) -> None:
    network = build_network(ModelConfig(network="res16", widths=(2, 2, 2, 2)), 1)
    name = find_shallow_convolution(network, (depth, 16, 16))
    assert (name is not None and name.startswith("encoders.")) == found
    assert network.training
    assert all(not module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("crop_zyx", "batch_size", "field", "words"),
    [
        ((4, 4, 4), 1, "train.batch_size", "more than 1 value per channel"),
        ((4, 6, 4), 2, "train.crop_zyx", "must be multiples of 4"),
        ((2, 4, 4), 1, "train.crop_zyx", "must be multiples of 4"),
    ],
)
def test_crops_that_the_network_itself_would_refuse(
    crop_zyx: IntTriple, batch_size: int, field: str, words: str
) -> None:
    network = build_tiny()
    before = [buffer.clone() for buffer in network.buffers()]
    with pytest.raises(ConfigError, match=rf"^{field}: is .*, expected "):
        check_crops(network, TrainConfig(batch_size=batch_size, crop_zyx=crop_zyx))
    torch.testing.assert_close(list(network.buffers()), before, rtol=0, atol=0)
    assert network.training
    with pytest.raises(ValueError, match=words):
        network(torch.zeros(batch_size, 1, *crop_zyx))


@pytest.mark.parametrize(("crop_zyx", "batch_size"), [((4, 4, 4), 2), ((4, 4, 8), 1)])
def test_crops_that_the_network_takes(crop_zyx: IntTriple, batch_size: int) -> None:
    network = build_tiny()
    check_crops(network, TrainConfig(batch_size=batch_size, crop_zyx=crop_zyx))
    network(torch.zeros(batch_size, 1, *crop_zyx))
