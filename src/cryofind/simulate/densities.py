"""Bodies from shipped beads, from a density map and from atoms.

Arrays in, bodies out: files are read elsewhere. Masses are those of protein that scatters as much.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryofind.errors import ConfigError, advise_known_names
from cryofind.simulate.bead_fit import Beads, find_core_radius, fit_mixture, refine_beads
from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.density_maps import clean_density

Floats = NDArray[np.float64]

SHIPPED_BODIES = Path(__file__).with_name("bodies.json")

# Beads of 5 kDa stand about 20 Angstrom apart, which resolves what a tomogram shows; more cost time in every run.
KILODALTON_PER_BEAD = 5.0
MIN_BEADS, MAX_BEADS = 8, 256
# Beside the particle, the empty surroundings up to here take part in the fit, so that beads do not reach into them.
SURROUNDINGS_ANGSTROM = 16.0

# Potential above ice of nucleic acid relative to protein, 1.4, times the volume of RNA of the same mass (945 A^3/kDa:
# Voss and Gerstein, J. Mol. Biol. 346, 477, 2005) relative to that of protein.
NUCLEIC_PER_PROTEIN = 1.4 * 945.0 / CUBIC_ANGSTROM_PER_KILODALTON
# Atoms are laid out on a grid of this spacing, each as a Gaussian: a map of about 10 Angstrom resolution. Of very large
# molecules the grid is coarser.
ATOM_GRID_ANGSTROM = 4.0
ATOM_SIGMA_ANGSTROM = 4.0
ATOM_MARGIN_ANGSTROM = 20.0
MAX_ATOM_GRID = 256
MAX_SPAN_ANGSTROM = 3000.0


def body_names() -> tuple[str, ...]:
    """Return the names of the bodies that come with the package."""
    return tuple(_read_shipped())


def load_body(name: str) -> Body:
    """Return a body that comes with the package.

    `bodies.json` says where each was fitted to; `recipes/fit_bodies.py` writes it.

    Raises
    ------
    ConfigError
        If there is no such body, with the nearest known name.
    """
    shipped = _read_shipped()
    if name not in shipped:
        raise ConfigError(f"body '{name}'", "is not shipped", advise_known_names(name, shipped))
    entry = shipped[name]
    beads = np.array(entry["beads_zyx_angstrom_kilodalton"], dtype=np.float64)
    # Rounding in the file moved the sums by a little.
    masses = beads[:, 3] * (entry["mass_kilodalton"] / beads[:, 3].sum())
    return Body.centered(
        name, beads[:, :3], masses, entry["sigma_angstrom"], core_radius_angstrom=entry["core_radius_angstrom"]
    )


def fit_body(
    name: str,
    points_zyx_angstrom: Floats,
    weights: Floats,
    *,
    mass_kilodalton: float,
    bead_count: int | None = None,
) -> Body:
    """Return the body whose beads are the most likely Gaussian mixture of weighted points.

    Its radius of gyration is that of the points.

    Parameters
    ----------
    name
        Of the body.
    points_zyx_angstrom, weights
        Points that fill the particle evenly, shape (N, 3), and their positive weights, shape (N,).
    mass_kilodalton
        Of the whole, as protein.
    bead_count
        Number of beads; None: one for every 5 kDa, 8 to 256.
    """
    count = bead_count or choose_bead_count(mass_kilodalton)
    beads = fit_mixture(np.asarray(points_zyx_angstrom, np.float64), np.asarray(weights, np.float64), count)
    return _make_body(name, beads, mass_kilodalton, 0.0)


def body_from_map(
    name: str,
    density_zyx: NDArray[Any],
    spacing_angstrom: ArrayLike,
    *,
    mass_kilodalton: float,
    bead_count: int | None = None,
) -> Body:
    """Return the body of a molecule from its density map, in the orientation of the map.

    The background is the median of the map's faces; what lies below 5 % of the molecule's typical density or within
    the map's noise is cut off, and so is dust. A map finer than 4 Angstrom, or of very many voxels, is binned first.

    Parameters
    ----------
    name
        Of the body and, in messages, of the species.
    density_zyx
        Real array, the molecule brighter than its surroundings.
    spacing_angstrom
        Voxel spacing, Angstrom: one number, or three zyx.
    mass_kilodalton
        Of the molecule, as protein.
    bead_count
        Number of beads; None: one for every 5 kDa, 8 to 256.

    Raises
    ------
    ConfigError
        If the map is not a volume of finite numbers, is empty or constant, shows a dark molecule, or is smaller than
        the mass needs.
    """
    spacing = np.broadcast_to(np.asarray(spacing_angstrom, dtype=np.float64), 3)
    density, spacing = clean_density(name, density_zyx, spacing, mass_kilodalton)
    return _fit_density(name, density, spacing, mass_kilodalton, bead_count)


def body_from_atoms(
    name: str,
    positions_zyx_angstrom: Floats,
    masses_dalton: Floats,
    is_nucleic: NDArray[np.bool_] | None = None,
    *,
    bead_count: int | None = None,
) -> Body:
    """Return the body of a molecule from its atoms.

    Its mass is that of the atoms; the mass of nucleic acid counts 1.09 times: its potential above ice is 1.4 times that
    of protein, and its volume for the same mass 0.78 times.

    Parameters
    ----------
    name
        Of the body and, in messages, of the species.
    positions_zyx_angstrom
        Shape (N, 3).
    masses_dalton
        Mass of each atom with the hydrogens bound to it, shape (N,).
    is_nucleic
        Which atoms belong to DNA or RNA, shape (N,); None: none.
    bead_count
        Number of beads; None: one for every 5 kDa, 8 to 256.

    Raises
    ------
    ConfigError
        If there are no atoms, a position or mass is not a finite number, or they lie farther apart than a molecule.
    """
    positions = np.asarray(positions_zyx_angstrom, dtype=np.float64)
    masses = np.array(masses_dalton, dtype=np.float64) / 1000
    if not (np.isfinite(positions).all() and np.isfinite(masses).all() and masses.sum() > 0):
        raise ConfigError(
            f"species {name}: body", "has no atoms with finite positions and masses", "give another model"
        )
    if is_nucleic is not None:
        masses[is_nucleic] *= NUCLEIC_PER_PROTEIN
    span, mass = float(np.ptp(positions, axis=0).max()), float(masses.sum())
    if span > MAX_SPAN_ANGSTROM:
        problem = f"spans {span:.4g} Angstrom, expected at most {MAX_SPAN_ANGSTROM:g}"
        raise ConfigError(f"species {name}: body", problem, "check the model's assembly and unit")
    grid_angstrom = max(ATOM_GRID_ANGSTROM, span / MAX_ATOM_GRID)
    density = _lay_out_atoms(positions, masses, grid_angstrom)
    density, spacing = clean_density(name, density, np.full(3, grid_angstrom), mass)
    return _fit_density(name, density, spacing, mass, bead_count)


def choose_bead_count(mass_kilodalton: float) -> int:
    """Return how many beads a body of some mass gets."""
    return int(np.clip(round(mass_kilodalton / KILODALTON_PER_BEAD), MIN_BEADS, MAX_BEADS))


@functools.cache
def _read_shipped() -> dict[str, Any]:
    return dict(json.loads(SHIPPED_BODIES.read_text(encoding="utf-8"))["bodies"])


def _lay_out_atoms(positions_zyx_angstrom: Floats, masses: Floats, grid_angstrom: float) -> Floats:
    lowest = positions_zyx_angstrom.min(axis=0) - ATOM_MARGIN_ANGSTROM
    voxels = np.rint((positions_zyx_angstrom - lowest) / grid_angstrom).astype(np.int64)
    shape = tuple(voxels.max(axis=0) + int(np.ceil(ATOM_MARGIN_ANGSTROM / grid_angstrom)) + 1)
    counted = np.bincount(np.ravel_multi_index(tuple(voxels.T), shape), masses, int(np.prod(shape))).reshape(shape)
    return np.asarray(ndimage.gaussian_filter(counted, ATOM_SIGMA_ANGSTROM / grid_angstrom, mode="constant"))


def _fit_density(name: str, density: Floats, spacing: Floats, mass: float, bead_count: int | None) -> Body:
    inside = density > 0
    points, weights = np.argwhere(inside) * spacing, density[inside]
    # Fewer than four voxels to a bead say nothing about where it lies.
    count = min(bead_count or choose_bead_count(mass), max(1, len(points) // 4))
    beads = fit_mixture(points, weights, count, least_sigma_angstrom=float(spacing.min()) / 2)
    rounds = int(np.ceil(SURROUNDINGS_ANGSTROM / spacing.min()))
    padded = np.pad(density, rounds)
    around = ndimage.binary_dilation(padded > 0, iterations=rounds)
    beads = refine_beads(beads, (np.argwhere(around) - rounds) * spacing, padded[around])
    return _make_body(name, beads, mass, find_core_radius(beads))


def _make_body(name: str, beads: Beads, mass_kilodalton: float, core_radius_angstrom: float) -> Body:
    # Rounded, so that another order of summing does not make another body.
    masses = beads.masses * (mass_kilodalton / beads.masses.sum())
    is_kept = masses > 1e-3 * masses.mean()
    centers = np.round(beads.centers_angstrom[is_kept], 2)
    masses = np.maximum(np.round(masses[is_kept], 4), 1e-4)
    masses *= mass_kilodalton / masses.sum()
    sigma = round(beads.sigma_angstrom, 2)
    return Body.centered(name, centers, masses, sigma, core_radius_angstrom=core_radius_angstrom)
