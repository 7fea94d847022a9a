"""The recipes' networks, by MONAI."""

import functools
from typing import Any

import torch
from torch import Tensor, nn


def build_unet(channels: int, *, widths: tuple[int, ...], dropout: float = 0.0) -> nn.Module:
    """Return a residual U-Net of strides 2, 2, 1, InstanceNorm and PReLU: logits of full resolution."""
    from monai.networks.nets import UNet

    network: nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=channels,
        channels=widths,
        strides=(2, 2, 1),
        num_res_units=1,
        dropout=dropout,
    )
    return network


def build_flexible_unet(channels: int) -> nn.Module:
    """Return a U-Net over resnet34 from random weights: logits of half resolution."""
    from monai.networks.nets import FlexibleUNet

    network = FlexibleUNet(
        in_channels=1,
        out_channels=channels,
        backbone="resnet34",
        spatial_dims=3,
        decoder_channels=(256, 128, 64, 32, 16),
    )
    return HalfResolution(network, channels)


class HalfResolution(nn.Module):
    """FlexibleUNet without its last decoder block: the head sits on the map before it."""

    def __init__(self, network: Any, channels: int) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        self.skips = network.skip_connect
        self.decoder.blocks = self.decoder.blocks[:-1]
        last = [part for part in self.decoder.blocks[-1].modules() if isinstance(part, nn.Conv3d)][-1]
        self.head = nn.Conv3d(last.out_channels, channels, 3, padding=1)
        for part in self.encoder.modules():
            shortcut = getattr(part, "downsample", None)
            if isinstance(shortcut, functools.partial):
                del part.downsample
                part.downsample = StridedShortcut(shortcut.keywords["planes"], shortcut.keywords["stride"])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(images), self.skips))
        return logits


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
