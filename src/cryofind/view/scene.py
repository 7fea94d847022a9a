"""What a viewer shows: arrays in memory and numbers, no files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.types import VoxelGrid

Rgb = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class GreyVolume:
    """A tomogram as grey values.

    Parameters
    ----------
    values_zyx
        uint8 array of shape `grid.shape_zyx`.
    grid
        Its voxels.
    contrast
        The grey values that are black and white at first.
    """

    values_zyx: NDArray[np.uint8]
    grid: VoxelGrid
    contrast: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles of one species: picks or the truth.

    Parameters
    ----------
    name
        Of the species, from data: any text.
    color
        Red, green, blue, 0 to 255.
    radius_angstrom
        Of every particle.
    positions_zyx_angstrom
        Centres, shape (N, 3), zyx.
    scores
        Shape (N,).
    threshold
        Least score that is shown at first; None where scores say nothing and there is no slider.
    """

    name: str
    color: Rgb
    radius_angstrom: float
    positions_zyx_angstrom: NDArray[np.float64]
    scores: NDArray[np.float64]
    threshold: float | None = None

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Which are shown at first, shape (N,)."""
        least = -np.inf if self.threshold is None else self.threshold
        return np.asarray(self.scores >= least)


@dataclass(frozen=True, eq=False)
class Probability:
    """Where a network sees one species.

    Parameters
    ----------
    name, color
        As of `Particles`.
    values_zyx
        uint8 array of shape `grid.shape_zyx`: 0 to 255 for probabilities 0 to 1.
    grid
        Its voxels; any spacing and origin.
    """

    name: str
    color: Rgb
    values_zyx: NDArray[np.uint8]
    grid: VoxelGrid


@dataclass(frozen=True, eq=False)
class Labels:
    """A segmentation.

    Parameters
    ----------
    name
        From data: any text.
    labels_zyx
        Array of unsigned integers of shape `grid.shape_zyx`; 0 is background.
    grid
        Its voxels; any spacing and origin.
    colors
        Colour by label; others are not shown at first.
    """

    name: str
    labels_zyx: NDArray[np.unsignedinteger]
    grid: VoxelGrid
    colors: dict[int, Rgb]


@dataclass(frozen=True, eq=False)
class Scene:
    """A tomogram and all that is shown with it.

    Parameters
    ----------
    title
        From data: any text.
    tomogram
        The grey volume.
    picks, truth
        Particles, one entry a species.
    probabilities, segmentations
        Volumes over the tomogram, hidden at first.
    """

    title: str
    tomogram: GreyVolume
    picks: tuple[Particles, ...] = ()
    truth: tuple[Particles, ...] = ()
    probabilities: tuple[Probability, ...] = ()
    segmentations: tuple[Labels, ...] = ()
