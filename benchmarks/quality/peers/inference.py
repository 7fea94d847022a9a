"""A whole tomogram through a network: overlapping windows, probabilities averaged."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from crops import Triple
from numpy.typing import NDArray
from torch import Tensor, nn

from cryofind.types import VoxelGrid

# A view of a window (B, C, z, y, x), and how to undo it.
View = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Windows:
    """How a recipe looks at a tomogram.

    Parameters
    ----------
    size_zyx
        Largest window, voxels; what is there is divided evenly.
    overlap_zyx
        Least overlap; weights rise linearly in it.
    multiple
        Sizes and starts are multiples of this: the network's deepest stride.
    """

    size_zyx: Triple
    overlap_zyx: Triple
    multiple: int


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probability of every object, float16, shape (K, z, y, x), and where its cells lie."""

    values: NDArray[np.float16]
    grid: VoxelGrid
    stride: int


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network and how it is used.

    Parameters
    ----------
    network
        Of one channel to logits, the background first, one cell for `stride`^3 voxels.
    windows
        How it looks at a tomogram.
    objects
        How many it tells from the background.
    stride
        Voxels along an edge of a cell.
    views
        Of test-time augmentation.
    """

    network: nn.Module
    windows: Windows
    objects: int
    stride: int
    views: tuple[View, ...]


def identity(images: Tensor) -> Tensor:
    return images


def flipped(axis: int) -> View:
    """Return the view mirrored along an axis, 0 for z."""
    return (lambda images: images.flip(axis + 2), lambda images: images.flip(axis + 2))


def turned(count: int) -> View:
    """Return the view turned by so many quarters in the plane of y and x."""
    return (lambda images: images.rot90(count, (3, 4)), lambda images: images.rot90(-count, (3, 4)))


ONE_VIEW: tuple[View, ...] = ((identity, identity),)
SEVEN_VIEWS = (*ONE_VIEW, turned(1), turned(2), turned(3), flipped(0), flipped(1), flipped(2))


def predict(predictor: Predictor, volume_zyx: NDArray[np.float16], grid: VoxelGrid) -> Probabilities:
    """Return the probabilities of all objects, computed in bfloat16, from normalised grey values."""
    windows, stride = predictor.windows, predictor.stride
    axes = [
        place_windows(length, size, overlap, windows.multiple)
        for length, size, overlap in zip(volume_zyx.shape, windows.size_zyx, windows.overlap_zyx, strict=True)
    ]
    beyond = [(0, starts[-1] + size - n) for (size, starts, _), n in zip(axes, volume_zyx.shape, strict=True)]
    padded = np.pad(volume_zyx, beyond, mode="reflect") if np.any(beyond) else volume_zyx
    total = torch.zeros((predictor.objects, *(length // stride for length in padded.shape)), dtype=torch.float16)
    with torch.inference_mode():
        for numbers in itertools.product(*(range(len(starts)) for _, starts, _ in axes)):
            places = [slice(starts[n], starts[n] + size) for (size, starts, _), n in zip(axes, numbers, strict=True)]
            block = torch.from_numpy(padded[tuple(places)].astype(np.float32))
            values = predict_views(predictor, block[None, None])
            for axis, number in enumerate(numbers):
                weight = axes[axis][2][number].reshape(-1, stride).mean(dim=1)
                values *= weight.reshape([-1 if axis == other else 1 for other in range(3)])
            total[(slice(None), *(slice(part.start // stride, part.stop // stride) for part in places))] += values
    coarse = grid.coarsened(stride)
    inside = tuple(slice(0, length) for length in coarse.shape_zyx)
    return Probabilities(total[(slice(None), *inside)].numpy(), coarse, stride)


def predict_views(predictor: Predictor, images: Tensor) -> Tensor:
    """Return the mean probability of the objects over views of one window, shape (K, ...)."""
    total = torch.zeros(())
    for turn, turn_back in predictor.views:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = predictor.network(turn(images).contiguous())
        total = total + turn_back(logits.float().softmax(dim=1)[:, 1:])[0]
    return total / len(predictor.views)


def place_windows(length: int, size: int, overlap: int, multiple: int) -> tuple[int, list[int], list[Tensor]]:
    """Return size and starts of windows that cover an axis evenly, and their weights, which sum to 1 everywhere.

    Sizes and starts are multiples of `multiple`; the last window may reach beyond the axis.
    """
    reach = round_up(length, multiple)
    count = 1 if reach <= size else math.ceil((reach - overlap) / (size - overlap))
    even = min(reach, round_up((reach + (count - 1) * overlap) / count, multiple))
    starts = [round(number * (reach - even) / max(1, count - 1) / multiple) * multiple for number in range(count)]
    ramp = torch.arange(even) + 0.5
    rise = torch.minimum(torch.minimum(ramp, ramp.flip(0)), torch.tensor(max(1.0, overlap / 2)))
    summed = torch.zeros(reach)
    for start in starts:
        summed[start : start + even] += rise
    return even, starts, [rise / summed[start : start + even] for start in starts]


def round_up(length: float, multiple: int) -> int:
    """Return the next multiple."""
    return math.ceil(length / multiple) * multiple
