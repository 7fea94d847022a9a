"""Small globular proteins: too small to tell apart, too many to leave out."""

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON
from cryofind.simulate.render import render_points
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]

# 1 mg/ml = 1 g/l is Avogadro's number (6.022e23 Da/g) of daltons in 1e27 cubic Angstrom.
KILODALTON_PER_CUBIC_ANGSTROM_PER_MILLIGRAM_PER_MILLILITRE = 6.022e-7

# Masses of soluble proteins: log-normal; the median chain of eukaryotes has 361 residues (Brocchieri and Karlin,
# Nucleic Acids Research 33, 3390, 2005) of 0.11 kDa, and complexes make the upper tail.
MEDIAN_MASS_KILODALTON = 45.0
LOGARITHMIC_SPREAD = 0.7
MASS_LIMITS_KILODALTON = (15.0, 400.0)
MEAN_MASS_KILODALTON = 57.7  # of the distribution above, clipped

# Globules are drawn in a few sizes, since one call draws one width.
SIZE_EDGES_KILODALTON = (30.0, 55.0, 110.0)


def globule_sigma_angstrom(mass_kilodalton: float) -> float:
    """Return the width of the Gaussian that stands for a solid ball of protein, Angstrom.

    Half the ball's radius: least squares between the two form factors up to 1/40 per Angstrom (0.49 for 45 kDa). The
    same radius of gyration would ask for 0.45 and make the middle three times as dense as protein.
    """
    radius = (3 * mass_kilodalton * CUBIC_ANGSTROM_PER_KILODALTON / (4 * np.pi)) ** (1 / 3)
    return float(radius / 2)


def draw_globule_masses(count: int, random: np.random.Generator) -> Floats:
    """Return masses of soluble proteins, kDa, shape (count,)."""
    masses = MEDIAN_MASS_KILODALTON * np.exp(LOGARITHMIC_SPREAD * random.normal(size=count))
    return np.asarray(np.clip(masses, *MASS_LIMITS_KILODALTON))


def count_globules(milligram_per_millilitre: float, volume_cubic_angstrom: float) -> float:
    """Return how many globules of the mean mass make a concentration in a volume."""
    kilodalton = milligram_per_millilitre * KILODALTON_PER_CUBIC_ANGSTROM_PER_MILLIGRAM_PER_MILLILITRE
    return kilodalton * volume_cubic_angstrom / MEAN_MASS_KILODALTON


def render_globules(
    density_zyx: NDArray[np.float32], grid: VoxelGrid, positions_zyx_angstrom: Floats, masses_kilodalton: Floats
) -> None:
    """Add globules to a density, in place; each in the width of its class of mass.

    Parameters
    ----------
    density_zyx
        Mass density above ice, 1 = solid protein.
    grid
        Of the density.
    positions_zyx_angstrom
        Centres, shape (N, 3).
    masses_kilodalton
        Shape (N,).
    """
    classes = np.digitize(masses_kilodalton, SIZE_EDGES_KILODALTON)
    for size in np.unique(classes):
        of_size = classes == size
        masses = masses_kilodalton[of_size]
        sigma = globule_sigma_angstrom(float(np.median(masses)))
        render_points(density_zyx, grid, positions_zyx_angstrom[of_size], masses, sigma)
