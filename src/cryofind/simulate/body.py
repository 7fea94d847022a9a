"""A particle as a cloud of Gaussian beads: what is placed, drawn and counted."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Partial specific volume of protein, 0.73 cm^3/g, as Angstrom^3 per kilodalton (Harpaz et al., Structure 2, 641, 1994).
CUBIC_ANGSTROM_PER_KILODALTON = 1212.0

# Mean inner potential of solid protein less that of ice, volts: the middle of the recipes' range, and the unit in which
# everything else that scatters is given. Isolated atoms (scattering factors at zero angle of Peng et al., Acta Cryst.
# A52, 257 (1996), times 47.88 V A^2 over the volume) give 8.1 V for the average residue of 110 Da in 133 A^3, and 4.5 V
# for ice; bonds, and a measured 3.5 V of ice, make it uncertain.
PROTEIN_VOLTS_ABOVE_ICE = 3.6


@dataclass(frozen=True, eq=False)
class Body:
    """A rigid particle.

    Parameters
    ----------
    name
        For people and records.
    centers_zyx_angstrom
        Bead centres in the particle's frame, shape (N, 3); their mean by mass lies at 0.
    masses_kilodalton
        Mass of each bead as protein of the same scattering, shape (N,).
    sigma_angstrom
        Standard deviation of every bead, Angstrom.
    core_radius_angstrom
        Radius of a hollow core that no other particle may enter and that counts as inside; 0 for none.

    Raises
    ------
    ValueError
        If shapes disagree, a mass or sigma is not positive, or the centre of mass is not at 0.
    """

    name: str
    centers_zyx_angstrom: Floats
    masses_kilodalton: Floats
    sigma_angstrom: float
    core_radius_angstrom: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.masses_kilodalton)
        if count == 0 or self.centers_zyx_angstrom.shape != (count, 3):
            raise ValueError(f"body {self.name}: {self.centers_zyx_angstrom.shape} centres for {count} masses")
        if not (np.all(self.masses_kilodalton > 0) and self.sigma_angstrom > 0 and self.core_radius_angstrom >= 0):
            raise ValueError(f"body {self.name}: masses and sigma must be positive")
        if np.abs(self.masses_kilodalton @ self.centers_zyx_angstrom).max() > 1e-3 * self.mass_kilodalton:
            raise ValueError(f"body {self.name}: its centre of mass is not at 0")

    @classmethod
    def centered(
        cls, name: str, centers_zyx_angstrom: Floats, masses_kilodalton: Floats, sigma_angstrom: float, **more: float
    ) -> "Body":
        """Return a body whose centre of mass is moved to 0."""
        mean = masses_kilodalton @ centers_zyx_angstrom / masses_kilodalton.sum()
        return cls(name, centers_zyx_angstrom - mean, masses_kilodalton, sigma_angstrom, **more)

    @property
    def mass_kilodalton(self) -> float:
        """Mass of the whole, as protein."""
        return float(self.masses_kilodalton.sum())

    @property
    def extent_angstrom(self) -> float:
        """Distance from the centre beyond which there is next to nothing, Angstrom."""
        return float(np.linalg.norm(self.centers_zyx_angstrom, axis=1).max()) + 2.5 * self.sigma_angstrom

    @property
    def radius_angstrom(self) -> float:
        """Distance of the outermost bead from the centre plus a bead's width, Angstrom: how large it looks."""
        return float(np.linalg.norm(self.centers_zyx_angstrom, axis=1).max()) + self.sigma_angstrom

    @property
    def radius_of_gyration_angstrom(self) -> float:
        """Root of the mean squared distance from the centre, by mass, beads' width included, Angstrom."""
        squares = np.square(self.centers_zyx_angstrom).sum(axis=1)
        return float(np.sqrt(self.masses_kilodalton @ squares / self.mass_kilodalton + 3 * self.sigma_angstrom**2))

    def rotated_centers(self, rotation_zyx: Floats) -> Floats:
        """Return the bead centres (N, 3) after a rotation, particle frame to tomogram frame."""
        return np.asarray(self.centers_zyx_angstrom @ rotation_zyx.T)

    def scaled(self, size: float = 1.0, contrast: float = 1.0) -> "Body":
        """Return the body with every length times `size` and its mean density times `contrast`."""
        return replace(
            self,
            centers_zyx_angstrom=self.centers_zyx_angstrom * size,
            masses_kilodalton=self.masses_kilodalton * size**3 * contrast,
            sigma_angstrom=self.sigma_angstrom * size,
            core_radius_angstrom=self.core_radius_angstrom * size,
        )
