"""Fit the shipped bodies, `src/cryofind/simulate/bodies.json`, to density maps.

python recipes/fit_bodies.py MAPS_FOLDER BODIES_JSON

The maps are those of the polnet project (github.com/anmartinezs/polnet, `data/templates/mrcs_10A`, Apache-2.0), named
SPECIES_PDBCODE.mrc. Beta-amylase has no map there: it is built here from published dimensions.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.atomic import write_text
from cryofind.io import read_tomogram
from cryofind.simulate.body import Body
from cryofind.simulate.densities import body_from_map

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """A species to fit: map (none for one that is built here), mass as protein, number of beads."""

    name: str
    file: str | None
    mass_kilodalton: float
    bead_count: int
    source: str


POLNET = "map at 10 Angstrom from the polnet project (Apache-2.0)"

# Masses are what the maps of the models hold, which all have one scale: 28.5 units for a kilodalton of protein. Three
# differ: apo-ferritin's map lacks ends of chains, thyroglobulin's a fifth of its 660 kDa; the virus-like particle has
# 180 coat proteins of 13.9 kDa, and no RNA or maturation protein, which the map of the virion has.
TARGETS = (
    Target("apo-ferritin", "apo-ferritin_6pxm.mrc", 479.0, 96, f"PDB 6PXM; {POLNET}"),
    Target("beta-amylase", None, 224.0, 64, "D2 tetramer of ellipsoids with the dimensions of the monomer in PDB 1FA2"),
    Target("beta-galactosidase", "beta-galactosidase_1f4a.mrc", 465.0, 96, f"PDB 1F4A; {POLNET}"),
    Target("ribosome", "ribosome_6qzp.mrc", 3263.0, 256, f"PDB 6QZP; {POLNET}"),
    Target("thyroglobulin", "thyroglobulin_7n4y.mrc", 660.0, 128, f"PDB 7N4Y; {POLNET}"),
    Target("virus-like-particle", "virus-like-particle_8tux.mrc", 2502.0, 256, f"PDB 8TUX, the capsid alone; {POLNET}"),
)

# The capsid of PP7 lies within these distances from its centre. RNA is denser than the capsid ever is, and would pull
# beads towards it.
CAPSID_ANGSTROM = (105.0, 165.0)
CAPSID_DENSEST = 16.0

# Sweet potato beta-amylase, a tetramer of D2 symmetry and 4 x 56 kDa. Outer semi-axes of the monomer, its solid part
# and the blur of a map at 10 Angstrom resolution: together the radius of gyration of the monomer's map, 26 Angstrom.
AMYLASE_SEMI_AXES_ANGSTROM = (27.0, 33.0, 38.0)
AMYLASE_SOLID, AMYLASE_BLUR_ANGSTROM = 0.85, 8.0
# A monomer's centre and the direction of its longest axis: neighbours touch, and the density
# falls to half at 60 Angstrom from the centre, to a fifth at 66.
AMYLASE_CENTER_ANGSTROM = (17.0, 21.0, 23.0)
AMYLASE_AXIS = (1.0, -1.0, 0.4)
AMYLASE_SPACING_ANGSTROM = 5.0


def main(maps: Path, out: Path) -> None:
    """Fit every body and write them to one file."""
    bodies = [f'"{target.name}": {describe(fit(target, maps), target)}' for target in TARGETS]
    about = "Gaussian beads fitted by recipes/fit_bodies.py; masses as protein; orientation of the maps, z, y, x"
    write_text(out, f'{{"about": "{about}",\n"bodies": {{\n' + ",\n".join(bodies) + "\n}}\n")


def fit(target: Target, maps: Path) -> Body:
    """Return the body of one species."""
    density, spacing = (build_amylase(), AMYLASE_SPACING_ANGSTROM) if target.file is None else read_map(maps, target)
    return body_from_map(
        target.name, density, spacing, mass_kilodalton=target.mass_kilodalton, bead_count=target.bead_count
    )


def read_map(maps: Path, target: Target) -> tuple[Floats, float]:
    """Return the density zyx to fit and its voxel spacing, Angstrom."""
    tomogram = read_tomogram(maps / str(target.file))
    density = np.asarray(tomogram.volume_zyx, dtype=np.float64)
    spacing = tomogram.grid.spacing_angstrom
    return (cut_capsid(density, spacing) if target.name == "virus-like-particle" else density), spacing


def cut_capsid(density_zyx: Floats, spacing_angstrom: float) -> Floats:
    """Return the capsid of the virion without what it holds and what sticks out of it."""
    capped = np.minimum(density_zyx, CAPSID_DENSEST)
    places = np.moveaxis(np.indices(capped.shape), 0, -1) * spacing_angstrom
    distances = np.linalg.norm(places - np.array(ndimage.center_of_mass(capped)) * spacing_angstrom, axis=-1)
    inner, outer = CAPSID_ANGSTROM
    return np.where((distances > inner) & (distances < outer), capped, 0.0)


def build_amylase() -> Floats:
    """Return the density of the tetramer: one monomer and its copies turned by 180 degrees about z, y and x."""
    half = 18
    places = np.moveaxis(np.indices((2 * half + 1,) * 3) - half, 0, -1) * AMYLASE_SPACING_ANGSTROM
    axes = _orient(np.array(AMYLASE_AXIS))
    density = np.zeros(places.shape[:3])
    for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        offsets = (places * np.array(signs) - np.array(AMYLASE_CENTER_ANGSTROM)) @ axes
        solid = np.array(AMYLASE_SEMI_AXES_ANGSTROM) * AMYLASE_SOLID
        # A rim as soft as a voxel is wide, so that the lattice does not show.
        rims = (np.linalg.norm(offsets / solid, axis=-1) - 1) * solid.mean() / AMYLASE_SPACING_ANGSTROM
        density = np.maximum(density, np.clip(0.5 - rims, 0, 1))
    return np.asarray(ndimage.gaussian_filter(density, AMYLASE_BLUR_ANGSTROM / AMYLASE_SPACING_ANGSTROM))


def describe(body: Body, target: Target) -> str:
    """Return the JSON object of a body, a bead in each line: lengths to 0.1 Angstrom, masses to 3 digits."""
    head = {
        "source": target.source,
        "mass_kilodalton": target.mass_kilodalton,
        "sigma_angstrom": round(body.sigma_angstrom, 2),
        "core_radius_angstrom": body.core_radius_angstrom,
    }
    centers = np.round(body.centers_zyx_angstrom, 1) + 0.0
    beads = [
        f"[{z:.1f}, {y:.1f}, {x:.1f}, {mass:.3g}]"
        for (z, y, x), mass in zip(centers, body.masses_kilodalton, strict=True)
    ]
    return json.dumps(head)[:-1] + ', "beads_zyx_angstrom_kilodalton": [\n' + ",\n".join(beads) + "]}"


def _orient(longest: Floats) -> Floats:
    """Return a rotation whose columns are the directions of the short, middle and long axis."""
    long = longest / np.linalg.norm(longest)
    middle = np.cross(long, [1.0, 0.0, 0.0])
    middle /= np.linalg.norm(middle)
    return np.column_stack([np.cross(middle, long), middle, long])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
