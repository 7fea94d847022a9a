"""The network of the winning segmentation, on top of MONAI's FlexibleUNet."""

import functools
from typing import Any

import torch
from torch import Tensor, nn


class HalfResolution(nn.Module):
    """FlexibleUNet without its last decoder block: the head sits on the map before it, of half resolution."""

    size_multiple = 32

    def __init__(self, network: Any, channels: int) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        self.skips = network.skip_connect
        self.decoder.blocks = self.decoder.blocks[:-1]
        last = [part for part in self.decoder.blocks[-1].modules() if isinstance(part, nn.Conv3d)][-1]
        self.head = nn.Conv3d(last.out_channels, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(images), self.skips))
        return logits


def replace_shortcuts(network: nn.Module) -> nn.Module:
    """Return the network, changed in place so that it computes the same and runs in bfloat16 on a CPU."""
    for part in network.modules():
        shortcut = getattr(part, "downsample", None)
        if isinstance(shortcut, functools.partial):
            del part.downsample
            part.downsample = StridedShortcut(shortcut.keywords["planes"], shortcut.keywords["stride"])
    return network


class StridedShortcut(nn.Module):
    """MONAI's shortcut past a residual block, as a stride and not as an average over one voxel.

    They are the same, but torch has no kernel for that average in bfloat16 on CPUs.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, images: Tensor) -> Tensor:
        kept = images[:, :, :: self.stride, :: self.stride, :: self.stride]
        missing = self.channels - kept.shape[1]
        return torch.cat([kept, kept.new_zeros((len(kept), missing, *kept.shape[2:]))], dim=1)
