"""Networks and losses that experiments.toml tries and the package does not hold."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cryofind.config import LossConfig
from cryofind.models.unet import ResidualUNet, build_res16
from cryofind.registry import LOSSES, NETWORKS
from cryofind.train.losses import Activation, Loss, make_weighted_cross_entropy

DEEP_NETWORK, DEEP_LOSS = "res16-deep", "deep_cross_entropy"


class DeepSupervision(nn.Module):
    """A residual U-Net whose coarser levels answer, too, while it learns; at work it is that U-Net and nothing more.

    In training mode the logits are those of all levels, one after the other along the channels, the finest first;
    coarser ones are repeated up to the grid of the finest.

    Parameters
    ----------
    trunk
        The U-Net.
    widths
        Its channels at the levels of the decoder, the finest first.
    out_channels
        Channels of each level's logits.
    """

    def __init__(self, trunk: ResidualUNet, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.size_multiple = trunk.size_multiple
        self.coarser = nn.ModuleList(Answer(width, out_channels) for width in widths[1:])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, Z/2, Y/2, X/2) of images (B, 1, Z, Y, X), of every level in training mode."""
        if not self.training:
            found: Tensor = self.trunk(images)
            return found
        *skips, features = self.trunk.encode(images)
        answers: list[Tensor] = []
        for level in reversed(range(len(skips))):
            up, decoder = self.trunk.ups[level], self.trunk.decoders[level]
            features = decoder(torch.relu_(up(features).add_(skips[level])))
            answers.insert(0, self.coarser[level - 1](features) if level else self.trunk.head(features))
        size = answers[0].shape[-3:]
        return torch.cat([functional.interpolate(answer, size, mode="nearest") for answer in answers], dim=1)


class Answer(nn.Module):
    """A last convolution, by the name that `cryofind.models.unet.find_heads` looks for."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.head = nn.Conv3d(in_channels, out_channels, 1)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of the same grid."""
        logits: Tensor = self.head(features)
        return logits


def build_deep_res16(in_channels: int, out_channels: int, *, widths: tuple[int, ...] = (16, 32, 64, 128)) -> nn.Module:
    """Return `res16` whose coarser levels answer while it learns."""
    return DeepSupervision(build_res16(in_channels, out_channels, widths=widths), widths[:-1], out_channels)


def make_deep_cross_entropy(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return weighted cross-entropy over the answers of all levels; each weighs half of the next finer one.

    Only with `train.unlabelled_after=1`: what spares unlabelled particles takes all channels for those of one level.
    """
    measure = make_weighted_cross_entropy(config, object_weights, activation)
    channels = len(object_weights) + (activation == "softmax")

    def compute(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        answers = logits.split(channels, dim=1)
        shares = [0.5**level for level in range(len(answers))]
        losses = [share * measure(one, values, weights) for share, one in zip(shares, answers, strict=True)]
        return torch.stack(losses).sum() / sum(shares)

    return compute


# Tests import this module more than once.
if DEEP_NETWORK not in NETWORKS.names():
    NETWORKS.register(DEEP_NETWORK)(build_deep_res16)
    LOSSES.register(DEEP_LOSS)(make_deep_cross_entropy)
