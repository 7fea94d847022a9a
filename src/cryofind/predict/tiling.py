"""Blocks that cover a volume, and the weights that blend their outputs.

Every block starts at a multiple of the network's deepest stride, so that a block and the whole volume are cut into the
same cells at every level. The weights of all blocks sum to 1 in every output cell.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryofind.errors import ConfigError
from cryofind.models import OUTPUT_STRIDE
from cryofind.types.grid import IntTriple as IntTriple


@dataclass(frozen=True)
class AxisTiles:
    """The blocks along one axis.

    Parameters
    ----------
    size
        Voxels per block.
    starts
        First voxel of each block, ascending.
    windows
        Weight of each output cell of each block, shape (blocks, size / 2); over all blocks they sum to 1 in each cell.
    """

    size: int
    starts: tuple[int, ...]
    windows: torch.Tensor

    @property
    def output_size(self) -> int:
        """Output cells per block."""
        return self.size // OUTPUT_STRIDE

    @property
    def output_starts(self) -> tuple[int, ...]:
        """First output cell of each block."""
        return tuple(start // OUTPUT_STRIDE for start in self.starts)

    @property
    def output_length(self) -> int:
        """Output cells of the whole axis."""
        return self.output_starts[-1] + self.output_size


@dataclass(frozen=True)
class Tiling:
    """The blocks of a volume: every combination of a block along z, along y and along x."""

    along_z: AxisTiles
    along_y: AxisTiles
    along_x: AxisTiles

    def __len__(self) -> int:
        return len(self.along_z.starts) * len(self.along_y.starts) * len(self.along_x.starts)

    @property
    def size_zyx(self) -> IntTriple:
        """Voxels per block."""
        return self.along_z.size, self.along_y.size, self.along_x.size

    def layer(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers along y and x of the blocks of one layer."""
        yield from itertools.product(range(len(self.along_y.starts)), range(len(self.along_x.starts)))

    def weights(self, at_z: int, at_y: int, at_x: int) -> torch.Tensor:
        """Return the weights of the output cells (z, y, x) of one block, float32."""
        z, y, x = self.along_z.windows[at_z], self.along_y.windows[at_y], self.along_x.windows[at_x]
        return z[:, None, None] * y[None, :, None] * x[None, None, :]


def plan_tiling(shape_zyx: IntTriple, tile_zyx: IntTriple, *, overlap: float, multiple: int) -> Tiling:
    """Return blocks of that size that cover a volume and what it is padded by.

    Parameters
    ----------
    shape_zyx
        Shape of the volume, voxels.
    tile_zyx
        Shape of a block, voxels, multiples of `multiple`; an axis that is larger than the padded volume is cut down.
    overlap
        Least share of a block that it has in common with the next.
    multiple
        Sizes and starts are multiples of this even number.
    """
    z, y, x = (
        _tile_axis(round_up(length, multiple), size, overlap=overlap, multiple=multiple)
        for length, size in zip(shape_zyx, tile_zyx, strict=True)
    )
    return Tiling(z, y, x)


def choose_tile(shape_zyx: IntTriple, *, overlap: float, multiple: int, fits: Callable[[IntTriple], bool]) -> IntTriple:
    """Return the largest block, voxels, that fits: the whole padded volume, or cut along its longest side until so.

    Blocks are not cut below two multiples a side, fit or not.
    """
    padded = [round_up(length, multiple) for length in shape_zyx]
    counts = [1, 1, 1]
    tile = list(padded)
    while not fits(_triple(tile)):
        longest = int(np.argmax(tile))
        if tile[longest] <= 2 * multiple:
            break
        counts[longest] += 1
        blocks_without_overlap = counts[longest] - (counts[longest] - 1) * overlap
        tile[longest] = max(2 * multiple, round_up(math.ceil(padded[longest] / blocks_without_overlap), multiple))
    return _triple(tile)


def halve_tile(tile_zyx: IntTriple, multiple: int) -> IntTriple | None:
    """Return the block with its longest side halved, or None if that side has at most two multiples."""
    tile = list(tile_zyx)
    longest = int(np.argmax(tile))
    if tile[longest] <= 2 * multiple:
        return None
    tile[longest] = round_up(tile[longest] // 2, multiple)
    return _triple(tile)


def check_tile(tile_zyx: IntTriple, multiple: int) -> IntTriple:
    """Return a block size asked for by the user.

    Raises
    ------
    ConfigError
        If a side is not a positive multiple of `multiple`.
    """
    if any(size < multiple or size % multiple for size in tile_zyx):
        raise ConfigError(
            "predict.tile_zyx", f"is {tuple(tile_zyx)}", f"give three multiples of {multiple}, or leave it out"
        )
    return tile_zyx


def cut_block(
    volume_zyx: NDArray[Any], start_zyx: IntTriple, size_zyx: IntTriple, *, dtype: torch.dtype
) -> torch.Tensor:
    """Return one block as a tensor (z, y, x) in main memory; past the end of the volume it is mirrored.

    The mirror stands on the last voxel, which is not repeated. A side shorter than what is missing is mirrored to and
    fro.
    """
    ends = (min(start + size, end) for start, size, end in zip(start_zyx, size_zyx, volume_zyx.shape, strict=True))
    box = tuple(slice(start, end) for start, end in zip(start_zyx, ends, strict=True))
    inside = np.require(volume_zyx[box], np.float32, ["C", "W"])
    block = torch.empty(size_zyx, dtype=dtype)
    z, y, x = inside.shape
    block[:z, :y, :x] = torch.from_numpy(inside)
    if x < size_zyx[2]:
        block[:z, :y, x:] = block[:z, :y, _mirrored_indices(x, size_zyx[2])]
    if y < size_zyx[1]:
        block[:z, y:] = block[:z, _mirrored_indices(y, size_zyx[1])]
    if z < size_zyx[0]:
        block[z:] = block[_mirrored_indices(z, size_zyx[0])]
    return block


def round_up(number: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def _tile_axis(length: int, size: int, *, overlap: float, multiple: int) -> AxisTiles:
    size = min(size, length)
    step = max(multiple, int(size * (1 - overlap)) // multiple * multiple)
    count = math.ceil((length - size) / step) + 1
    free = (length - size) // multiple
    # Evenly spread; whole-number division keeps every gap within one step.
    starts = [index * free // max(count - 1, 1) * multiple for index in range(count)]
    return AxisTiles(size, tuple(starts), _blend_windows(length, size, starts))


def _blend_windows(length: int, size: int, starts: list[int]) -> torch.Tensor:
    cells = size // OUTPUT_STRIDE
    # A raised cosine: most weight at the centre, where a block has seen most of the surroundings, and never zero.
    bump = np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2
    total = np.zeros(length // OUTPUT_STRIDE)
    spans = [slice(start // OUTPUT_STRIDE, start // OUTPUT_STRIDE + cells) for start in starts]
    for span in spans:
        total[span] += bump
    return torch.from_numpy(np.stack([bump / total[span] for span in spans]).astype(np.float32))


def _mirrored_indices(inside: int, size: int) -> torch.Tensor:
    period = max(2 * (inside - 1), 1)
    folded = torch.arange(inside, size) % period
    return torch.minimum(folded, period - folded) if inside > 1 else torch.zeros_like(folded)


def _triple(values: list[int]) -> IntTriple:
    z, y, x = values
    return z, y, x
