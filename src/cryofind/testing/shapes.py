"""Analytic densities of particles: a function of position in the particle's own frame, with soft edges.

Rendering is anti-aliased by construction: every edge falls off over about one voxel of 10 Angstrom.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.types import ParticleSpec

Field = NDArray[np.float32]
Density = Callable[[Field, Field, Field], Field]
Floats = NDArray[np.float64]

EDGE_ANGSTROM = 4.0
# Mean density of a protein at a resolution of 20 Angstrom: mass over the volume of the shapes below.
PROTEIN_KILODALTON_PER_CUBIC_ANGSTROM = 6e-4


@dataclass(frozen=True)
class ParticleShape:
    """What a particle looks like.

    Parameters
    ----------
    density
        Function of z, y, x in Angstrom from the particle's centre (broadcastable fields), in arbitrary units.
    extent_angstrom
        Radius beyond which the density is negligible.
    core_angstrom
        Radius within which every voxel belongs to the particle, hollow or not.
    mass_kilodalton
        Mass that the rendered density is scaled to (nucleic acid counted by its higher contrast).
    mean_count
        Mean number in a tomogram of the challenge (184 x 630 x 630 voxels of 10 Angstrom).
    """

    density: Density
    extent_angstrom: float
    core_angstrom: float
    mass_kilodalton: float
    mean_count: float


def _ellipsoid(axes: Sequence[float], center: Sequence[float] = (0.0, 0.0, 0.0)) -> Density:
    edge = np.float32(np.cbrt(np.prod(axes)) / EDGE_ANGSTROM)

    def density(z: Field, y: Field, x: Field) -> Field:
        terms = (((axis - c) / a) ** 2 for axis, a, c in zip((z, y, x), axes, center, strict=True))
        distance = np.sqrt(sum(terms, start=np.float32(0)))
        return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * edge, -30, 30))), dtype=np.float32)

    return density


def _shell(radius: float, sigma: float) -> Density:
    def density(z: Field, y: Field, x: Field) -> Field:
        distance = np.sqrt(z * z + y * y + x * x)
        return np.asarray(np.exp(-0.5 * ((distance - radius) / sigma) ** 2), dtype=np.float32)

    return density


def _union(*parts: Density) -> Density:
    def density(z: Field, y: Field, x: Field) -> Field:
        joined: Field = np.maximum.reduce([part(z, y, x) for part in parts])
        return joined

    return density


def _tetramer(axes: Sequence[float], offset: Sequence[float]) -> Density:
    """Four equal ellipsoids in point group D2: half turns about z, y and x."""
    signs = ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))
    return _union(*(_ellipsoid(axes, [s * o for s, o in zip(sign, offset, strict=True)]) for sign in signs))


def _sum_of(*weighted: tuple[float, Density]) -> Density:
    def density(z: Field, y: Field, x: Field) -> Field:
        total = sum((np.float32(weight) * part(z, y, x) for weight, part in weighted), start=np.float32(0))
        return np.asarray(total, dtype=np.float32)

    return density


# Sizes follow fits to published densities; masses are in protein equivalents; counts are the means of the challenge's
# seven training tomograms.
SHAPES = {
    "apo-ferritin": ParticleShape(_shell(50.0, 10.0), 85.0, 50.0, 479.0, 53.6),
    "beta-amylase": ParticleShape(_tetramer((23.0, 28.0, 32.0), (20.0, 22.0, 21.0)), 85.0, 30.0, 224.0, 12.4),
    "beta-galactosidase": ParticleShape(
        _sum_of((0.5, _ellipsoid((41.0, 65.0, 84.0))), (0.5, _tetramer((30.0, 34.0, 42.0), (12.0, 32.0, 42.0)))),
        110.0,
        25.0,
        465.0,
        16.0,
    ),
    "ribosome": ParticleShape(
        _union(_ellipsoid((100.0, 112.0, 95.0), (0, 0, -32.0)), _ellipsoid((62.0, 105.0, 62.0), (15.0, 0, 84.0))),
        175.0,
        40.0,
        3263.0,
        47.3,
    ),
    "thyroglobulin": ParticleShape(
        _union(
            _ellipsoid((42.0, 46.0, 62.0), (0, 14.0, 62.0)),
            _ellipsoid((42.0, 46.0, 62.0), (0, -14.0, -62.0)),
            _ellipsoid((26.0, 40.0, 30.0)),
        ),
        145.0,
        20.0,
        660.0,
        35.9,
    ),
    "virus-like-particle": ParticleShape(_shell(135.0, 12.0), 175.0, 135.0, 3343.0, 16.1),
}


def shape_of(spec: ParticleSpec) -> ParticleShape:
    """Return the shape of an object of the challenge, or for any other a solid ellipsoid of its radius."""
    if spec.name in SHAPES:
        return SHAPES[spec.name]
    radius = spec.particle_radius_angstrom
    axes = (0.6 * radius, 0.8 * radius, radius)
    mass = 4 / 3 * np.pi * float(np.prod(axes)) * PROTEIN_KILODALTON_PER_CUBIC_ANGSTROM
    return ParticleShape(_ellipsoid(axes), radius + 6 * EDGE_ANGSTROM, 0.3 * radius, mass, 20.0)


def blob_shape(axes_angstrom: Floats, contrast: float) -> ParticleShape:
    """Return a solid ellipsoid of these semi-axes (Angstrom) and density relative to protein: a distractor."""
    axes = [float(axis) for axis in axes_angstrom]
    mass = 4 / 3 * np.pi * float(np.prod(axes)) * PROTEIN_KILODALTON_PER_CUBIC_ANGSTROM * contrast
    return ParticleShape(_ellipsoid(axes), max(axes) + 6 * EDGE_ANGSTROM, 0.0, mass, 0.0)


def vesicle_shape(radius_angstrom: float, contrast: float = 0.5) -> ParticleShape:
    """Return a closed lipid bilayer: two leaflets 36 Angstrom apart around `radius_angstrom`."""
    leaflets = _sum_of((1.0, _shell(radius_angstrom - 18.0, 8.0)), (1.0, _shell(radius_angstrom + 18.0, 8.0)))
    mass = 4 * np.pi * radius_angstrom**2 * 2 * 8.0 * 2.5 * PROTEIN_KILODALTON_PER_CUBIC_ANGSTROM * contrast
    return ParticleShape(leaflets, radius_angstrom + 45.0, 0.0, mass, 0.0)


def render_shape(
    shape: ParticleShape, rotation_zyx: Floats, offset_voxels: Floats, voxel_spacing_angstrom: float
) -> tuple[Field, NDArray[np.bool_]]:
    """Draw one particle in a box of its own.

    Parameters
    ----------
    shape
        What to draw.
    rotation_zyx
        Shape (3, 3), particle frame to tomogram frame, acting on zyx column vectors.
    offset_voxels
        Shape (3,): where the particle's centre lies from the centre of the box's middle voxel, zyx.
    voxel_spacing_angstrom
        Voxel spacing of the box, Angstrom.

    Returns
    -------
    density, support
        Float32 box of odd size, 1 = protein; and which of its voxels belong to the particle, hollow core included.
    """
    half = int(np.ceil(shape.extent_angstrom / voxel_spacing_angstrom)) + 1
    steps = np.arange(-half, half + 1)
    dz, dy, dx = ((steps - offset) * voxel_spacing_angstrom for offset in offset_voxels)
    frame = [  # the inverse rotation takes a place in the tomogram into the particle's frame
        (r[0] * dz[:, None, None] + r[1] * dy[None, :, None] + r[2] * dx[None, None, :]).astype(np.float32)
        for r in rotation_zyx.T
    ]
    density = shape.density(*frame)
    core = sum((axis * axis for axis in frame), start=np.float32(0)) <= shape.core_angstrom**2
    support = (density > 0.3 * density.max()) | core
    target = shape.mass_kilodalton / PROTEIN_KILODALTON_PER_CUBIC_ANGSTROM / voxel_spacing_angstrom**3
    scaled = density * np.float32(target / density.sum(dtype=np.float64))
    return scaled, support
