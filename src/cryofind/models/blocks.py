"""Pieces of the residual U-Net: a convolution with its norm, a residual block, the step to stride 2."""

import torch
from torch import Tensor, nn

# Logits of every network lie on `VoxelGrid.coarsened(OUTPUT_STRIDE)` of its input.
OUTPUT_STRIDE = 2


def conv_norm(in_channels: int, out_channels: int, *, size: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """Return a 3D convolution without bias followed by BatchNorm, adjacent so that the norm can be folded.

    Parameters
    ----------
    in_channels, out_channels
        Channels.
    size, stride, padding
        Of the kernel, in input voxels, the same along z, y and x.
    """
    convolution = nn.Conv3d(in_channels, out_channels, size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out_channels))


def transposed_conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a transposed 3D convolution (kernel 2, stride 2) without bias, followed by BatchNorm."""
    convolution = nn.ConvTranspose3d(in_channels, out_channels, 2, 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out_channels))


class ResidualBlock(nn.Module):
    """`relu(x + norm(conv(relu(norm(conv(x))))))` with two 3x3x3 convolutions.

    The last norm starts at zero, so a fresh block passes its input through (Goyal et al., arXiv:1706.02677).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels, size=3, padding=1)
        self.second = conv_norm(channels, channels, size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape (B, C, Z, Y, X)."""
        change = self.second(torch.relu_(self.first(features)))
        return torch.relu_(change.add_(features))


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """Return `count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class ToStrideTwo(nn.Module):
    """A network of full-resolution logits whose output is averaged over blocks of 2x2x2 voxels.

    Cell j of the result is the mean of voxels 2j and 2j + 1 and so lies at input index 2j + 0.5, as the package's
    own networks put it.

    Parameters
    ----------
    network
        Maps (B, 1, Z, Y, X) to logits (B, C, Z, Y, X).
    size_multiple
        What every input size must be a multiple of.
    """

    def __init__(self, network: nn.Module, size_multiple: int) -> None:
        super().__init__()
        self.network = network
        self.size_multiple = size_multiple

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, Z/2, Y/2, X/2) of images (B, 1, Z, Y, X)."""
        logits = self.network(images)
        batch, channels, z, y, x = logits.shape
        # a mean over a view, because avg_pool3d has no bfloat16 kernel on CPUs
        stride = OUTPUT_STRIDE
        blocks = logits.reshape(batch, channels, z // stride, stride, y // stride, stride, x // stride, stride)
        averaged: Tensor = blocks.mean(dim=(3, 5, 7))
        return averaged
