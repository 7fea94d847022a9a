"""The residual 3D U-Net with stride-2 output, and `build_network` for every registered network."""

import inspect
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cryofind.config import ModelConfig
from cryofind.errors import ConfigError
from cryofind.models.blocks import OUTPUT_STRIDE, ToStrideTwo, conv_norm, residual_blocks, transposed_conv_norm
from cryofind.registry import NETWORKS, Factory

DEFAULT_MULTIPLE = 16
# Share of cells that a fresh network gives to each object: the loss then starts near that of the class balance
# (Lin et al., arXiv:1708.02002, section 3.3).
OBJECT_PRIOR = 0.01


class ResidualUNet(nn.Module):
    """Residual 3D U-Net whose stem halves the resolution and whose logits stay at stride 2.

    Output cell j covers input voxels 2j - 1 ... 2j + 2 of the stem (kernel 4, stride 2, padding 1) and so lies at
    input index 2j + 0.5, which is what `VoxelGrid.coarsened(2)` says.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    widths
        Channels at strides 2, 4, 8, ...
    encoder_blocks
        Residual blocks at each stride.
    decoder_blocks
        Residual blocks after each way up, from the finest stride down; one fewer than `encoder_blocks`.

    Raises
    ------
    ConfigError
        If a width or number is out of range or lengths do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        encoder_blocks: Sequence[int],
        decoder_blocks: Sequence[int],
    ) -> None:
        super().__init__()
        _check_options(widths, encoder_blocks, decoder_blocks)
        pairs = list(pairwise(widths))
        self.size_multiple = 2 ** len(widths)
        self.stem = conv_norm(in_channels, widths[0], size=4, stride=2, padding=1)
        self.encoders = nn.ModuleList(residual_blocks(w, n) for w, n in zip(widths, encoder_blocks, strict=True))
        self.downs = nn.ModuleList(conv_norm(fine, coarse, size=2, stride=2) for fine, coarse in pairs)
        self.ups = nn.ModuleList(transposed_conv_norm(coarse, fine) for fine, coarse in pairs)
        self.decoders = nn.ModuleList(residual_blocks(w, n) for w, n in zip(widths[:-1], decoder_blocks, strict=True))
        self.head = nn.Conv3d(widths[0], out_channels, 1)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, out_channels, Z/2, Y/2, X/2) of images (B, in_channels, Z, Y, X).

        Raises
        ------
        ValueError
            If a size is not a multiple of `size_multiple`.
        """
        if any(size % self.size_multiple for size in images.shape[-3:]):
            raise ValueError(f"sizes {tuple(images.shape[-3:])} must be multiples of {self.size_multiple}")
        *skips, features = self.encode(images)
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            features = decoder(torch.relu_(up(features).add_(skips.pop())))
        logits: Tensor = self.head(features)
        return logits

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the features (B, widths[i], Z/2/2^i, Y/2/2^i, X/2/2^i) of every level, the finest first."""
        levels = [self.encoders[0](torch.relu_(self.stem(images)))]
        for down, encoder in zip(self.downs, self.encoders[1:], strict=True):
            levels.append(encoder(torch.relu_(down(levels[-1]))))
        return levels


@NETWORKS.register("res32")
def build_res32(
    in_channels: int,
    out_channels: int,
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    encoder_blocks: Sequence[int] = (1, 2, 2, 2),
    decoder_blocks: Sequence[int] = (1, 1, 1),
) -> ResidualUNet:
    """Return the default network: 11.2 M parameters, 135 GFLOP for 128^3 voxels."""
    return ResidualUNet(
        in_channels, out_channels, widths=widths, encoder_blocks=encoder_blocks, decoder_blocks=decoder_blocks
    )


@NETWORKS.register("res16")
def build_res16(
    in_channels: int,
    out_channels: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    encoder_blocks: Sequence[int] = (1, 1, 1, 1),
    decoder_blocks: Sequence[int] = (1, 1, 1),
) -> ResidualUNet:
    """Return the small network for tests and demonstrations: 1.6 M parameters, 28 GFLOP for 128^3 voxels."""
    return ResidualUNet(
        in_channels, out_channels, widths=widths, encoder_blocks=encoder_blocks, decoder_blocks=decoder_blocks
    )


def build_network(config: ModelConfig, object_count: int) -> nn.Module:
    """Return a fresh network that maps (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2).

    Parameters
    ----------
    config
        Name of a registered network (the package's or a plug-in's), its options, and the activation.
    object_count
        Number of objects K, at least 1. For softmax C = K + 1 with background as channel 0; for sigmoid C = K.

    Returns
    -------
    torch.nn.Module
        In float32 and training mode. A plug-in's network of full resolution comes wrapped in `ToStrideTwo`.

    Raises
    ------
    ConfigError
        If the network is unknown, refuses the options, or gives logits of another shape.
    """
    if object_count < 1:
        raise ValueError(f"object_count must be at least 1, found {object_count}")
    factory = NETWORKS.get(config.network)
    channels = object_count + (config.activation == "softmax")
    options = _collect_options(config)
    _check_signature(config.network, factory, channels, options)
    network: nn.Module = factory(1, channels, **options)
    if not isinstance(network, ResidualUNet):
        network = _fit_to_stride_two(config.network, network, channels)
    _set_prior(network, config.activation, object_count)
    return network


def network_multiple(network: nn.Module) -> int:
    """Return what every input size of the network must be a multiple of (its `size_multiple`, else 16)."""
    return int(getattr(network, "size_multiple", DEFAULT_MULTIPLE))


def find_heads(network: nn.Module) -> Iterator[tuple[str, nn.Conv3d]]:
    """Yield name and layer of each last convolution: a Conv3d called `head`, of the network or of a part of it."""
    for name, module in network.named_modules():
        if name.rpartition(".")[2] == "head" and isinstance(module, nn.Conv3d):
            yield name, module


def _collect_options(config: ModelConfig) -> dict[str, Any]:
    own = {"widths": config.widths, "encoder_blocks": config.encoder_blocks, "decoder_blocks": config.decoder_blocks}
    return {**config.options, **{key: value for key, value in own.items() if value is not None}}


def _check_signature(name: str, factory: Factory, channels: int, options: dict[str, Any]) -> None:
    try:
        inspect.signature(factory).bind(1, channels, **options)
    except TypeError as error:
        raise ConfigError(
            "model.options",
            f"network '{name}' cannot take {', '.join(options) or 'no options'} ({error})",
            "change them",
        ) from error


def _fit_to_stride_two(name: str, network: nn.Module, channels: int) -> nn.Module:
    multiple = network_multiple(network)
    # twice the multiple: norms over instances refuse a deepest level of one voxel
    size = 2 * multiple
    half = size // OUTPUT_STRIDE
    was_training = network.training
    with torch.no_grad():
        found = tuple(network.eval()(torch.zeros(1, 1, size, size, size)).shape)
    network.train(was_training)
    if found == (1, channels, half, half, half):
        return network
    if found == (1, channels, size, size, size):
        return ToStrideTwo(network, multiple)
    raise ConfigError(
        f"model.network '{name}'",
        f"turns an input of {size}^3 voxels into {found}, expected {channels} channels of {half}^3 or {size}^3",
        "mend the plug-in",
    )


def _check_options(widths: Sequence[int], encoder_blocks: Sequence[int], decoder_blocks: Sequence[int]) -> None:
    levels = len(widths)
    if levels < 1 or any(width < 1 for width in widths):
        raise ConfigError("model.widths", f"is {tuple(widths)}", "give one or more positive numbers of channels")
    for field, blocks, expected in (("encoder", encoder_blocks, levels), ("decoder", decoder_blocks, levels - 1)):
        if len(blocks) != expected or any(count < 0 for count in blocks):
            raise ConfigError(
                f"model.{field}_blocks",
                f"is {tuple(blocks)} for {levels} widths",
                f"give {expected} numbers of blocks, each 0 or more",
            )


def _initialize(network: ResidualUNet) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm3d) and name.endswith(".second.1"):
            nn.init.zeros_(module.weight)
    nn.init.normal_(network.head.weight, std=0.01)


def _set_prior(network: nn.Module, activation: str, object_count: int) -> None:
    for _, head in find_heads(network):
        if head.bias is None:
            continue
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            if activation == "softmax":
                background = max(1.0 - OBJECT_PRIOR * object_count, 0.5)
                head.bias[0] = math.log(background / OBJECT_PRIOR)
            else:
                head.bias.fill_(math.log(OBJECT_PRIOR / (1.0 - OBJECT_PRIOR)))
