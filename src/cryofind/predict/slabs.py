"""The package's own U-Net over a whole volume on a CPU: every layer a few planes at a time, in place.

What a layer writes is still in the processor's cache when the next one reads it, no feature map is written that need
not be, and every level keeps one: the encoder's, into which the decoder is added. In memory stand no more than the
feature maps of the levels once each, where a plain forward pass holds four of the largest.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryofind.models import OUTPUT_STRIDE, ResidualUNet

# Bytes of the planes that a convolution takes at a time; measured best from 4 to 32 MB on a cache of 32 MB.
SLAB_BYTES = 16_000_000


@dataclass(frozen=True, eq=False)
class Convolution:
    """Weights of one convolution, kernel and stride alike along z, y and x, ready to run.

    Parameters
    ----------
    weight
        Shape (out, in, size, size, size), in the memory order that the library wants.
    bias
        Shape (out,).
    size, stride, padding
        Voxels.
    """

    weight: Tensor
    bias: Tensor
    size: int
    stride: int
    padding: int

    @classmethod
    def of(cls, layer: Tensor | nn.Module, dtype: torch.dtype) -> "Convolution":
        """Return the convolution of a layer that its norm was folded into, or of a bare one."""
        bare = layer[0] if isinstance(layer, nn.Sequential) else layer
        if not isinstance(bare, nn.Conv3d | nn.ConvTranspose3d):
            raise TypeError(f"{type(bare).__name__} is not a convolution")
        weight = bare.weight.detach().to(dtype, memory_format=torch.channels_last_3d)
        bias = weight.new_zeros(bare.out_channels) if bare.bias is None else bare.bias.detach().to(dtype)
        return cls(weight, bias, bare.kernel_size[0], bare.stride[0], int(bare.padding[0]))

    def source_planes(self, first: int, last: int) -> tuple[int, int]:
        """Return the span of input planes, some of them outside perhaps, that output planes first to last - 1 need."""
        start = first * self.stride - self.padding
        return start, (last - 1) * self.stride - self.padding + self.size

    def rectified(self, planes: Tensor) -> Tensor:
        """Return relu(convolution) of planes that bring their surroundings along z; y and x are padded with zeros."""
        if not _has_fused_kernels(planes.dtype):
            return F.conv3d(planes, self.weight, self.bias, self._strides, self._paddings).relu_()
        where = self._paddings, self._strides, (1, 1, 1), 1
        rectified: Tensor = torch.ops.mkldnn._convolution_pointwise(
            planes, self.weight, self.bias, *where, "relu", (), ""
        )
        return rectified

    def add_rectified_(self, out: Tensor, planes: Tensor) -> None:
        """Turn `out` into relu(out + convolution of planes)."""
        if not _has_fused_kernels(out.dtype):
            out.add_(F.conv3d(planes, self.weight, self.bias, self._strides, self._paddings)).relu_()
            return
        torch.ops.mkldnn._convolution_pointwise_.binary(
            out,
            planes,
            self.weight,
            self.bias,
            self._paddings,
            self._strides,
            (1, 1, 1),
            1,
            "add",
            None,
            "relu",
            (),
            "",
        )

    @property
    def _strides(self) -> tuple[int, int, int]:
        return self.stride, self.stride, self.stride

    @property
    def _paddings(self) -> tuple[int, int, int]:
        return 0, self.padding, self.padding


class SlabUNet(nn.Module):
    """A `ResidualUNet` in eval mode that computes the same logits slab by slab.

    Parameters
    ----------
    network
        Its norms folded (`fold_batch_norm`).
    dtype
        bfloat16 or float32.
    """

    def __init__(self, network: ResidualUNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.size_multiple = network.size_multiple
        self.dtype = dtype
        self.stem = Convolution.of(network.stem, dtype)
        self.downs = [Convolution.of(layer, dtype) for layer in network.downs]
        self.ups = [Convolution.of(layer, dtype) for layer in network.ups]
        self.encoders = [_convolutions(blocks, dtype) for blocks in network.encoders]
        self.decoders = [_convolutions(blocks, dtype) for blocks in network.decoders]
        # In float32: logits rounded to bfloat16 have plateaus, on which the highest cell is a matter of chance.
        self.head = Convolution.of(network.head, torch.float32)

    @property
    def bytes_per_voxel(self) -> float:
        """Bytes of feature maps for each input voxel."""
        widths = [self.stem.bias.numel(), *(down.bias.numel() for down in self.downs)]
        maps: float = sum(width / OUTPUT_STRIDE ** (3 * level) for level, width in enumerate(widths, start=1))
        return self.dtype.itemsize * maps

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, Z/2, Y/2, X/2), float32, of images (B, 1, Z, Y, X)."""
        cells = [size // OUTPUT_STRIDE for size in images.shape[2:]]
        logits = torch.empty((len(images), self.head.bias.numel(), *cells))
        for number, out in enumerate(logits):
            for start, planes in self.iterate_logits(images[number : number + 1]):
                out[:, start : start + planes.shape[1]] = planes
        return logits

    def iterate_logits(self, image: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the logits (C, planes, Y/2, X/2) of one image (1, 1, Z, Y, X), top to bottom, with their first plane.

        Whoever uses them up at once does without memory for all of them.
        """
        yield from _project(self._compute_features(image), self.head)

    def _compute_features(self, image: Tensor) -> Tensor:
        features = [_convolve(image, self.stem)]
        _run_blocks(features[0], self.encoders[0])
        for down, blocks in zip(self.downs, self.encoders[1:], strict=True):
            features.append(_convolve(features[-1], down))
            _run_blocks(features[-1], blocks)
        for up, blocks in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            coarse = features.pop()
            _add_upsampled_(features[-1], coarse, up)
            _run_blocks(features[-1], blocks)
        return features[0]


def _convolutions(blocks: nn.Module, dtype: torch.dtype) -> list[tuple[Convolution, Convolution]]:
    return [(Convolution.of(block.first, dtype), Convolution.of(block.second, dtype)) for block in blocks.children()]


def _run_blocks(features: Tensor, blocks: Sequence[tuple[Convolution, Convolution]]) -> None:
    for first, second in blocks:
        _run_block_(features, first, second)


def _run_block_(features: Tensor, first: Convolution, second: Convolution) -> None:
    """Turn features into relu(features + second(relu(first(features)))).

    A plane is overwritten only when every plane that needs it has been computed: `first` runs one plane ahead, and its
    last two planes are kept for the next slab.
    """
    depth = features.shape[2]
    step = _planes_at_a_time(features)
    hidden = _empty_like(features, step + 2)
    for start, end in _slabs(depth, step):
        if start:
            hidden[:, :, :2] = hidden[:, :, step : step + 2].clone()
        else:
            hidden[:, :, 0].zero_()
        ahead, last = (start + 1 if start else 0), min(end + 1, depth)
        if last > ahead:
            planes = _planes(features, *first.source_planes(ahead, last))
            hidden[:, :, ahead - start + 1 : last - start + 1] = first.rectified(planes)
        if end == depth:
            hidden[:, :, end - start + 1].zero_()
        second.add_rectified_(features[:, :, start:end], hidden[:, :, : end - start + 2])


def _convolve(source: Tensor, convolution: Convolution) -> Tensor:
    """Return relu(convolution(source))."""
    shape = [size // convolution.stride for size in source.shape[2:]]
    out = _empty(convolution, source, shape)
    for start, end in _slabs(shape[0], _planes_at_a_time(out)):
        out[:, :, start:end] = convolution.rectified(_planes(source, *convolution.source_planes(start, end)))
    return out


def _add_upsampled_(fine: Tensor, coarse: Tensor, up: Convolution) -> None:
    """Turn `fine` into relu(fine + transposed convolution of `coarse`)."""
    for start, end in _slabs(coarse.shape[2], max(_planes_at_a_time(fine) // up.stride, 1)):
        grown = F.conv_transpose3d(coarse[:, :, start:end], up.weight, up.bias, up.stride)
        fine[:, :, start * up.stride : end * up.stride].add_(grown).relu_()


def _project(features: Tensor, head: Convolution) -> Iterator[tuple[int, Tensor]]:
    """Yield what a head of single voxels, float32, makes of some planes of features: one volume for each channel."""
    weight, bias = head.weight.flatten(1), head.bias[:, None]
    for start, end in _slabs(features.shape[2], _planes_at_a_time(features)):
        cells = features[0, :, start:end].permute(1, 2, 3, 0).flatten(0, 2).float()
        yield start, torch.addmm(bias, weight, cells.T).view(len(weight), end - start, *features.shape[3:])


def _planes(source: Tensor, first: int, last: int) -> Tensor:
    """Return planes first to last - 1, zeros where they lie outside."""
    before, after = max(-first, 0), max(last - source.shape[2], 0)
    inside = source[:, :, first + before : last - after]
    return F.pad(inside, (0, 0, 0, 0, before, after)) if before or after else inside


def _slabs(depth: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, depth, step):
        yield start, min(start + step, depth)


def _planes_at_a_time(features: Tensor) -> int:
    bytes_per_plane = features[:, :, 0].numel() * features.element_size()
    return max(1, min(SLAB_BYTES // max(bytes_per_plane, 1), features.shape[2]))


def _empty(convolution: Convolution, source: Tensor, shape_zyx: Sequence[int]) -> Tensor:
    channels = convolution.bias.numel()
    return torch.empty(
        (1, channels, *shape_zyx), dtype=source.dtype, device=source.device, memory_format=torch.channels_last_3d
    )


def _empty_like(features: Tensor, depth: int) -> Tensor:
    shape = (*features.shape[:2], depth, *features.shape[3:])
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last_3d)


@functools.cache
def _has_fused_kernels(dtype: torch.dtype) -> bool:
    """Say whether this torch and this processor have convolutions that add and rectify what they write."""
    names = ("_convolution_pointwise", "_convolution_pointwise_")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
