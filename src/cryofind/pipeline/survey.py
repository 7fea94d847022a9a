"""One pass over a tomogram that is too large for memory: all that the whole-volume path takes from its voxels.

The fingerprint, the sample for the grey scale, the box for the contrast and the count of unusable voxels are gathered
side by side, so that every chunk is read once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import PreprocessConfig
from cryofind.errors import TomogramError
from cryofind.io import FINGERPRINTED, TomogramSource, fingerprint_sample
from cryofind.preprocess import (
    Evidence,
    Polarity,
    Preparation,
    central_box,
    choose_stride,
    count_unusable,
    place_blocks,
    plan_preparation,
)
from cryofind.types import VoxelGrid
from cryofind.types.grid import IntTriple

# What statistics hold at once for each voxel of a sample: some copies in float64.
_STATISTICS_BYTES = 40
# The box for the contrast prepared, and in blocks.
_BOX_BYTES = 5
# The blocks prepared, and a few of them in the first layers of a network, for each voxel of all.
_BLOCK_BYTES = 24
# As much as the sample of a small volume takes, which comes and goes whatever the budget, like other small buffers.
_NOT_COUNTED_BYTES = 5e7


class Gathering:
    """What `volume[place]` holds, put together from boxes of the volume.

    Parameters
    ----------
    shape_zyx
        Of the volume.
    place
        A slice for every axis.
    dtype
        Of the voxels.
    """

    def __init__(self, shape_zyx: IntTriple, place: Sequence[slice], dtype: np.dtype[Any]) -> None:
        self._wanted = [range(*part.indices(length)) for part, length in zip(place, shape_zyx, strict=True)]
        self.values = np.empty([len(indices) for indices in self._wanted], dtype)

    def add(self, start_zyx: IntTriple, box_zyx: NDArray[Any]) -> None:
        """Take what is wanted from a box that begins there."""
        here, there = [], []
        for wanted, start, length in zip(self._wanted, start_zyx, box_zyx.shape, strict=True):
            first, last = _count_below(wanted, start), _count_below(wanted, start + length)
            if first == last:
                return
            here.append(slice(first, last))
            there.append(slice(wanted[first] - start, wanted[last - 1] - start + 1, wanted.step))
        self.values[tuple(here)] = box_zyx[tuple(there)]


@dataclass(frozen=True)
class Survey:
    """What was learnt of a tomogram.

    Parameters
    ----------
    fingerprint
        What `fingerprint_volume` gives.
    preparation
        What is to be done with its voxels.
    blocks_zyx
        The prepared voxels of `place_blocks`.
    """

    fingerprint: str
    preparation: Preparation
    blocks_zyx: tuple[NDArray[np.float32], ...]


def survey_tomogram(source: TomogramSource, config: PreprocessConfig, *, polarity: Polarity | None) -> Survey:
    """Read a tomogram once, piece by piece.

    Parameters
    ----------
    source
        The tomogram.
    config
        How to normalise, and whether to invert.
    polarity
        Contrast of the model; None or `unclear` leaves the tomogram's.

    Raises
    ------
    TomogramError
        If a chunk is damaged, too many voxels are NaN or infinite, or the sample says nothing.
    """
    shape = source.grid.shape_zyx
    stride = choose_stride(source.grid, config)
    sample = Gathering(shape, (slice(None, None, stride),) * 3, source.dtype)
    box = Gathering(shape, central_box(shape), source.dtype)
    printed = Gathering(shape, FINGERPRINTED, np.dtype("<f4"))
    blocks = [Gathering(shape, place, source.dtype) for place in place_blocks(shape)]
    unusable = 0
    for start, stop in source.cut_pieces():
        values = source.read_box(start, stop)
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite in the fingerprint
            for gathering in (sample, box, printed, *blocks):
                gathering.add(start, values)
        unusable += count_unusable(values)
    evidence = Evidence(sample.values, box.values, unusable)
    preparation = plan_preparation(evidence, source.grid, config, polarity=polarity, run=source.run)
    if preparation.grey_scale.scale == 0.0 and unusable < math.prod(shape):
        _check_constant(source, preparation.filling, stride)
    prepared = tuple(preparation.apply(block.values) for block in blocks)
    return Survey(fingerprint_sample(printed.values, shape), preparation, prepared)


def estimate_survey_bytes(source: TomogramSource, config: PreprocessConfig) -> float:
    """Return the bytes that the survey takes beside the program and its small buffers."""
    grid: VoxelGrid = source.grid
    sampled = math.prod(grid.shape_zyx) / choose_stride(grid, config) ** 3
    box = math.prod(
        len(range(*part.indices(length)))
        for part, length in zip(central_box(grid.shape_zyx), grid.shape_zyx, strict=True)
    )
    places = place_blocks(grid.shape_zyx)
    blocks = len(places) * math.prod(part.stop - part.start for part in places[0])
    gathered = sampled * (source.dtype.itemsize + _STATISTICS_BYTES) + box * (source.dtype.itemsize + _BOX_BYTES)
    gathered += blocks * (source.dtype.itemsize + _BLOCK_BYTES)
    return max(0.0, float(gathered) - _NOT_COUNTED_BYTES) + source.reading_bytes(grid.shape_zyx)


def _check_constant(source: TomogramSource, value: float, stride: int) -> None:
    """Refuse a tomogram that is not constant though its sample is."""
    for start, stop in source.cut_pieces():
        values = source.read_box(start, stop)
        others = values[values != value]
        if others.size > count_unusable(others[None, None]):
            raise TomogramError(
                f"run '{source.run}'",
                f"every {stride}-th voxel has one and the same value, others have not",
                "set preprocess.statistics_stride to 1, or allow more memory (predict.memory_gigabytes)",
            )


def _count_below(indices: range, limit: int) -> int:
    return min(max(-(-(limit - indices.start) // indices.step), 0), len(indices))
