"""Phantoms: small, fast tomograms of analytic particles, whose truth is known exactly.

For tests, demonstrations and first trials. They have the missing wedge, the dark contrast, the crowding and the
coloured noise of a denoised tomogram, but no microscope: no tilt series, no contrast transfer, no dose.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.transform import Rotation

from cryofind import czii
from cryofind.testing.shapes import ParticleShape, blob_shape, render_shape, shape_of, vesicle_shape
from cryofind.types import LabelVolume, ParticleSpec, Picks, Tomogram, VoxelGrid

logger = logging.getLogger("cryofind")

Field = NDArray[np.float32]
Floats = NDArray[np.float64]
Block = tuple[slice, slice, slice]

MAX_TILT_DEGREES = 45.0  # the challenge's tilt series run from -45 to 45 degrees
SLAB_ANGSTROM = 950.0  # ... and its particles lie in a layer of 650 to 1150 Angstrom
EDGE_MARGIN_ANGSTROM = 70.0  # ... with no labels nearer than this to the x and y faces
FACE_MARGIN_ANGSTROM = 90.0
OVERLAP_TOLERANCE = 0.02  # share of a particle's voxels that may belong to another
PLACEMENT_TRIES = 300
NOISE_SIGMA = 0.13  # of the noise at `noise=1`; protein has contrast 1
NOISE_CORNER_ANGSTROM = 250.0  # noise power is flat above this length and falls below it
NOISE_LIMIT_ANGSTROM = 28.0
ALBUMIN_COUNT = 600  # small proteins in a tomogram of the challenge's size: a dense background
DEBRIS_COUNT = 12


@dataclass(frozen=True, eq=False)
class Phantom:
    """A tomogram with its truth.

    Parameters
    ----------
    tomogram
        Float32, dark particles, mean 0, standard deviation 1, flavour `denoised`.
    picks
        True centres of all particles, with rotations.
    labels
        Which particle every voxel belongs to (hollow particles are filled).
    """

    tomogram: Tomogram
    picks: Picks
    labels: LabelVolume


def make_phantom(
    *,
    seed: int | Sequence[int],
    shape_zyx: tuple[int, int, int] = (96, 256, 256),
    voxel_spacing_angstrom: float = 10.012,
    crowding: float = 8.0,
    noise: float = 1.0,
    objects: Sequence[ParticleSpec] = czii.OBJECTS,
    run: str = "PHANTOM_0",
) -> Phantom:
    """Make a phantom tomogram.

    Parameters
    ----------
    seed
        The same seed gives the same phantom, bit by bit.
    shape_zyx, voxel_spacing_angstrom
        Voxels along z, y, x and their spacing, Angstrom.
    crowding
        Particles per volume, in units of the challenge's training tomograms; at 8 a volume of (64, 256, 256) holds at
        least five of every species. At least one of every object is asked for; a full sample holds fewer.
    noise
        Amplitude of the noise; 0 leaves none.
    objects
        What to place. The challenge's species have shapes of their own, others are ellipsoids of their radius.
    run
        Name of the run.

    Returns
    -------
    Phantom
        Tomogram, true picks with rotations, and labels.
    """
    rng = np.random.default_rng(seed)
    grid = VoxelGrid.isotropic(shape_zyx, voxel_spacing_angstrom)
    sample = _Sample(grid, rng)
    relative_volume = np.prod(grid.extent_zyx_angstrom) / np.prod(czii.TOMOGRAM_GRID.extent_zyx_angstrom)
    density_factor = float(crowding * relative_volume)

    sample.place_vesicle()
    particles = [spec for spec in objects if spec.is_particle]
    picks = _place_particles(sample, particles, density_factor, run)
    sample.scatter_distractors(density_factor)

    volume = _image_sample(sample.density, voxel_spacing_angstrom, noise, rng)
    names = {spec.label: spec.name for spec in particles}
    return Phantom(Tomogram(run, volume, grid, flavour="denoised"), picks, LabelVolume(run, sample.labels, grid, names))


def missing_wedge_mask(
    shape_zyx: tuple[int, int, int], *, max_tilt_degrees: float = MAX_TILT_DEGREES
) -> NDArray[np.bool_]:
    """Return which frequencies a tilt series about y sees, shape (z, 1, x // 2 + 1), for `rfftn` of equal voxels.

    A tilt by the angle t sees the plane kz = kx tan(t), so what is seen is |kz| <= |kx| tan(max_tilt).
    """
    z, _, x = shape_zyx
    kz = np.abs(np.fft.fftfreq(z))[:, None, None]
    kx = np.fft.rfftfreq(x)[None, None, :]
    return np.asarray(kz <= kx * np.tan(np.deg2rad(max_tilt_degrees)) + 1e-9)


class _Sample:
    """The specimen while it is being filled."""

    def __init__(self, grid: VoxelGrid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.rng = rng
        self.density = np.zeros(grid.shape_zyx, np.float32)
        self.labels = np.zeros(grid.shape_zyx, np.uint8)
        self._occupied = np.zeros(grid.shape_zyx, np.bool_)
        self._slab_slope = np.tan(np.deg2rad(rng.uniform(-3, 3, 2)))

    def place(self, shape: ParticleShape, rotation_zyx: Floats, *, label: int = 0) -> Floats | None:
        """Put one particle at a free place of the layer; return its position zyx in Angstrom, or None if full."""
        offset = self.rng.uniform(-0.5, 0.5, 3)
        density, support = render_shape(shape, rotation_zyx, offset, self.grid.spacing_angstrom)
        for _ in range(PLACEMENT_TRIES):
            index = self._draw_index()
            block, inner = _overlap(index, density.shape, self.grid.shape_zyx)
            mine = support[inner]
            if np.count_nonzero(self._occupied[block] & mine) <= OVERLAP_TOLERANCE * support.sum():
                self._stamp(block, density[inner], mine, label)
                return self.grid.positions_from_indices(index + offset)
        return None

    def place_vesicle(self) -> None:
        """Put one closed membrane, of up to 300 Angstrom radius, partly out of the field of view."""
        _, y, x = self.grid.extent_zyx_angstrom
        radius = min(300.0, 0.25 * min(y, x))
        corner = self.rng.integers(0, 2, 2) * [y, x] + self.rng.uniform(-0.3, 0.3, 2) * radius
        z = self.grid.extent_zyx_angstrom[0] * self.rng.uniform(0.3, 0.7)
        index = self.grid.nearest_indices_from_positions([z, *corner])
        density, support = render_shape(vesicle_shape(radius), np.eye(3), np.zeros(3), self.grid.spacing_angstrom)
        block, inner = _overlap(index, density.shape, self.grid.shape_zyx)
        self._stamp(block, density[inner], support[inner], 0)

    def scatter_distractors(self, density_factor: float) -> None:
        """Fill what is left with small proteins and with some debris of the size of the particles."""
        for _ in range(round(ALBUMIN_COUNT * density_factor)):
            if self.place(blob_shape(self.rng.uniform(16, 30, 3), 0.6), np.eye(3)) is None:
                break  # full: so it will be for the rest
        for _ in range(round(DEBRIS_COUNT * density_factor)):
            axes = self.rng.uniform((12, 40, 60), (25, 80, 140))
            self.place(blob_shape(axes, self.rng.uniform(0.4, 0.8)), _random_rotation(self.rng))

    def _stamp(self, block: Block, density: Field, support: NDArray[np.bool_], label: int) -> None:
        self.density[block] += density
        self._occupied[block] |= support
        if label:
            self.labels[block][support] = label

    def _draw_index(self) -> NDArray[np.int64]:
        """Draw a voxel of the layer, which is a little tilted against the volume."""
        extent = np.array(self.grid.extent_zyx_angstrom)
        margin = np.minimum([FACE_MARGIN_ANGSTROM, EDGE_MARGIN_ANGSTROM, EDGE_MARGIN_ANGSTROM], 0.25 * extent)
        y, x = self.rng.uniform(margin[1:], extent[1:] - margin[1:])
        middle = extent[0] / 2 + self._slab_slope @ ([y, x] - extent[1:] / 2)
        half = min(SLAB_ANGSTROM / 2, extent[0] / 2 - margin[0])
        z = np.clip(middle + self.rng.uniform(-half, half), margin[0], extent[0] - margin[0])
        return np.clip(self.grid.nearest_indices_from_positions([z, y, x]), 1, np.array(self.grid.shape_zyx) - 2)


def _place_particles(sample: _Sample, objects: Sequence[ParticleSpec], density_factor: float, run: str) -> Picks:
    """Place all particles, the largest first, and return them in the order of `objects`."""
    tables: dict[str, Picks] = {}
    for spec in sorted(objects, key=lambda spec: -shape_of(spec).extent_angstrom):
        shape = shape_of(spec)
        wanted = max(1, round(shape.mean_count * density_factor))
        positions: list[Floats] = []
        rotations = [_random_rotation(sample.rng) for _ in range(wanted)]
        for rotation in rotations:
            position = sample.place(shape, rotation, label=spec.label)
            if position is None:
                logger.warning("%s: room for %d of %d %s; lower the crowding", run, len(positions), wanted, spec.name)
                break
            positions.append(position)
        placed = np.reshape(rotations[: len(positions)], (-1, 3, 3))
        tables[spec.name] = Picks.build(run, spec.name, positions, rotations_zyx=placed)
    return Picks.concatenate(tables[spec.name] for spec in objects)


def _random_rotation(rng: np.random.Generator) -> Floats:
    """Return a rotation matrix, uniformly random: a normal quaternion has no preferred direction."""
    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix(), dtype=np.float64)


def _overlap(
    index_zyx: NDArray[np.int64], box_shape: tuple[int, ...], shape_zyx: tuple[int, int, int]
) -> tuple[Block, Block]:
    """Return the part of the volume that a box centred on `index_zyx` covers, and that part within the box."""
    start = index_zyx - np.array(box_shape) // 2
    low = np.maximum(start, 0)
    high = np.maximum(np.minimum(start + box_shape, shape_zyx), low)
    return _block(low, high), _block(low - start, high - start)


def _block(low: NDArray[np.int64], high: NDArray[np.int64]) -> Block:
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def _image_sample(density: Field, voxel_spacing_angstrom: float, noise: float, rng: np.random.Generator) -> Field:
    """Return the dark, wedge-shaped, noisy image of a density: mean 0, standard deviation 1."""
    shape = density.shape
    spectrum = fft.rfftn(density)
    spectrum *= missing_wedge_mask((shape[0], shape[1], shape[2]))
    if noise > 0:
        colored = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
        colored *= _noise_amplitude(shape, voxel_spacing_angstrom)
        spectrum += np.float32(noise) * colored
    volume = np.asarray(fft.irfftn(spectrum, s=shape, overwrite_x=True), dtype=np.float32)
    volume -= volume.mean(dtype=np.float64)
    volume /= -max(float(volume.std(dtype=np.float64)), 1e-12)
    return volume


def _noise_amplitude(shape: tuple[int, ...], voxel_spacing_angstrom: float) -> Field:
    """Return the filter that turns white noise of variance 1 into coloured noise of standard deviation NOISE_SIGMA."""
    kz, ky = ((np.fft.fftfreq(n, voxel_spacing_angstrom) ** 2).astype(np.float32) for n in shape[:2])
    kx = (np.fft.rfftfreq(shape[2], voxel_spacing_angstrom) ** 2).astype(np.float32)
    squared = kz[:, None, None] + ky[None, :, None] + kx[None, None, :]
    power = np.exp(-squared * np.float32(NOISE_LIMIT_ANGSTROM**2)) / (
        1 + squared * np.float32(NOISE_CORNER_ANGSTROM**2)
    )
    mirrored = np.full(power.shape[2], 2.0)  # rfftn keeps half of the frequencies: all but these stand for two
    mirrored[0] = 1.0
    if shape[2] % 2 == 0:
        mirrored[-1] = 1.0
    mean_power = float((power.sum(axis=(0, 1), dtype=np.float64) * mirrored).sum()) / float(np.prod(shape))
    amplitude: Field = np.sqrt(power) * np.float32(NOISE_SIGMA / np.sqrt(mean_power))
    return amplitude
