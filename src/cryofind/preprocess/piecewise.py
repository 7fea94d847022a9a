"""The steps before the network for a tomogram that is never in memory as a whole.

What they have to know of it comes from a sample, from its central box and from a count; then every piece is prepared
by itself, to the same numbers as in `preprocess_tomogram`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import PreprocessConfig
from cryofind.preprocess.contrast import Polarity
from cryofind.preprocess.normalize import (
    NOTHING_TO_FIND,
    GreyScale,
    apply_grey_scale,
    count_unusable,
    judge_unusable,
    measure_grey_scale,
    median_of,
    replace_unusable,
    shorten_stride,
    take_sample,
)
from cryofind.preprocess.tomogram import compare_polarity
from cryofind.types import VoxelGrid

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Preparation:
    """What is done with every voxel of a tomogram.

    Parameters
    ----------
    grey_scale
        From the file's units to the network's; scale 0 for a constant tomogram.
    filling
        What voxels that are NaN or infinite become, in the file's units.
    inverts
        Whether the contrast is turned round.
    notes
        What was mended or found odd, a line each.
    """

    grey_scale: GreyScale
    filling: float
    inverts: bool
    notes: tuple[str, ...]

    def apply(self, values_zyx: Numbers) -> NDArray[np.float32]:
        """Return a box of the tomogram as the network expects it; the given one is needed no more."""
        if self.grey_scale.scale == 0.0:
            return np.zeros(values_zyx.shape, np.float32)
        if count_unusable(values_zyx):
            values_zyx = replace_unusable(values_zyx, self.filling)
        prepared = apply_grey_scale(values_zyx, self.grey_scale, may_overwrite=True)
        return np.negative(prepared, out=prepared) if self.inverts else prepared


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a tomogram is judged by.

    Parameters
    ----------
    sample_zyx
        Every n-th voxel along each axis, n of `choose_stride`.
    box_zyx
        The voxels of `central_box`.
    unusable
        How many voxels are NaN, infinite or beyond float32.
    """

    sample_zyx: Numbers
    box_zyx: Numbers
    unusable: int


def choose_stride(grid: VoxelGrid, config: PreprocessConfig) -> int:
    """Return the stride of the sample that statistics of a tomogram on that grid are taken from."""
    return shorten_stride(int(np.prod(grid.shape_zyx)), config.statistics_stride)


def plan_preparation(
    evidence: Evidence, grid: VoxelGrid, config: PreprocessConfig, *, polarity: Polarity | None, run: str
) -> Preparation:
    """Return what is to be done with the voxels of a tomogram.

    Parameters
    ----------
    evidence
        Of the tomogram. A sample of equal voxels is taken to mean that all are equal.
    grid
        Grid of the tomogram.
    config
        How to normalise, and whether to invert.
    polarity
        Contrast of the model; None or `unclear` leaves the tomogram's.
    run
        Name of the run, for errors.

    Raises
    ------
    TomogramError
        If too many voxels are NaN or infinite.
    """
    size = int(np.prod(grid.shape_zyx))
    fill_notes = judge_unusable(evidence.unusable, size, config, subject=f"run '{run}'")
    filling = median_of(take_sample(evidence.sample_zyx, 1))
    sample = replace_unusable(evidence.sample_zyx, filling) if evidence.unusable else evidence.sample_zyx
    # The sample has been taken: all of it counts.
    grey_scale, notes = measure_grey_scale(sample, config.model_copy(update={"statistics_stride": 1}))
    if grey_scale.scale == 0.0:
        return Preparation(grey_scale, filling, False, (*fill_notes, *notes, NOTHING_TO_FIND))
    upright = Preparation(grey_scale, filling, False, fill_notes + notes)
    inverts, polarity_notes = compare_polarity(upright.apply(evidence.box_zyx), polarity, config)
    return Preparation(grey_scale, filling, inverts, upright.notes + polarity_notes)
