"""What of a density map is the molecule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.errors import ConfigError
from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON

Floats = NDArray[np.float64]

# A tomogram shows nothing finer than this.
FINEST_SPACING_ANGSTROM = 4.0
# A molecule of more voxels is binned further, as long as beads still resolve it.
MAX_VOXELS = 20_000
COARSEST_SPACING_ANGSTROM = 12.0
# Cut-off, in units of the molecule's typical density and of the noise; noise never takes more than half of the density.
LEAST_SHARE, GREATEST_SHARE = 0.05, 0.5
NOISE_FACTOR = 3.0
# Parts lighter than this share of the heaviest are dust.
DUST_SHARE = 0.05


def clean_density(
    name: str, density_zyx: NDArray[Any], spacing_zyx_angstrom: Floats, mass_kilodalton: float
) -> tuple[Floats, Floats]:
    """Return the molecule alone, 0 elsewhere, and its voxel spacing zyx in Angstrom.

    Parameters
    ----------
    name
        Of the species, for messages.
    density_zyx
        Real array with the molecule brighter than its surroundings.
    spacing_zyx_angstrom
        Voxel spacing, shape (3,).
    mass_kilodalton
        Of the molecule: the brightest voxels that such a mass of protein fills show its typical density.

    Raises
    ------
    ConfigError
        If the map is not a volume of finite numbers, is empty or constant, shows a dark molecule, or is smaller than
        the mass needs.
    """
    values, spacing = _bin_to(density_zyx, spacing_zyx_angstrom, name)
    background = float(np.median(_take_faces(values)))
    values = values - background
    _check_contrast(name, values)
    voxels = mass_kilodalton * CUBIC_ANGSTROM_PER_KILODALTON / float(np.prod(spacing))
    if not 0 < voxels <= values.size:
        box = values.size * float(np.prod(spacing)) / CUBIC_ANGSTROM_PER_KILODALTON
        problem = f"is {mass_kilodalton:g}, and the whole box of the map holds {box:.3g} kDa of protein"
        advice = "give the mass in kilodalton, and check the map's voxel size"
        raise ConfigError(f"species {name}: mass_kilodalton", problem, advice)
    values = _keep_large_parts(np.where(values > _find_cut(values, voxels), values, 0.0))
    while np.count_nonzero(values) > MAX_VOXELS and 2 * spacing.max() <= COARSEST_SPACING_ANGSTROM:
        values, spacing = _bin_by(values, 2), spacing * 2
    return values, spacing


def _bin_to(density_zyx: NDArray[Any], spacing: Floats, name: str) -> tuple[Floats, Floats]:
    if density_zyx.ndim != 3 or min(density_zyx.shape) < 2 or not np.isrealobj(density_zyx):
        problem = (
            f"is a map of shape {density_zyx.shape} and type {density_zyx.dtype}, expected a volume of real numbers"
        )
        raise ConfigError(f"species {name}: body", problem, "give another map")
    factor = max(1, int(np.ceil(FINEST_SPACING_ANGSTROM / float(spacing.min()) - 1e-3)))
    values = _bin_by(density_zyx, min(factor, min(density_zyx.shape) // 2))
    if not np.isfinite(values).all():
        raise ConfigError(f"species {name}: body", "is a map with voxels that are not finite numbers", "mend the map")
    return values, spacing * factor


def _bin_by(values: NDArray[Any], factor: int) -> Floats:
    # Hanging edges are filled up with the outermost voxels: background.
    if factor == 1:
        return np.asarray(values, dtype=np.float64)
    padded = np.pad(values, [(0, -size % factor) for size in values.shape], mode="edge")
    z, y, x = (size // factor for size in padded.shape)
    blocks = padded.reshape(z, factor, y, factor, x, factor)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64))


def _take_faces(values: Floats) -> Floats:
    is_inner = np.zeros(values.shape, dtype=np.bool_)
    is_inner[1:-1, 1:-1, 1:-1] = True
    return values[~is_inner]


def _check_contrast(name: str, values: Floats) -> None:
    if np.ptp(values) <= 1e-6 * np.abs(values).max() or not values.any():
        raise ConfigError(f"species {name}: body", "is an empty map: all voxels are alike", "give another map")
    if np.sum(values**3) <= 0:
        problem = "is a map in which the molecule is darker than its surroundings"
        raise ConfigError(f"species {name}: body", problem, "multiply the map by -1")


def _find_cut(values: Floats, voxels: float) -> float:
    brightest = -np.partition(-values.ravel(), int(voxels) - 1 if voxels >= 1 else 0)[: max(1, int(voxels))]
    typical = float(np.median(np.maximum(brightest, 0)))
    negative = values[values < 0]
    # A molecule's own density is positive: what is negative is noise, and ripples of the reconstruction.
    noise = float(np.sqrt(np.mean(negative**2))) if len(negative) else 0.0
    return min(max(LEAST_SHARE * typical, NOISE_FACTOR * noise), GREATEST_SHARE * typical)


def _keep_large_parts(values: Floats) -> Floats:
    parts, count = ndimage.label(values > 0)
    if count <= 1:
        return values
    weights = np.bincount(parts.ravel(), values.ravel())
    weights[0] = 0.0
    return np.where((weights >= DUST_SHARE * weights.max())[parts], values, 0.0)
