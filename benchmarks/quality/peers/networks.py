"""The recipes' networks, by MONAI."""

import sys
from pathlib import Path

from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[2] / "speed"))

from half_resolution import HalfResolution, replace_shortcuts


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
    return replace_shortcuts(HalfResolution(network, channels))
