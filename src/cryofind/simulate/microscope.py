"""From a specimen to the images of a tilt series: tilts, dose, contrast transfer, damage, loss and counting noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from cryofind.errors import ConfigError
from cryofind.simulate.ctf import Optics, ctf_2d, dose_attenuation, electron_wavelength_angstrom, interaction_constant
from cryofind.simulate.projector import Projector, run_in_threads
from cryofind.simulate.recipe import MicroscopeRecipe
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

LEAST_TILTS = 3
# A beam along the layer never leaves it.
GREATEST_TILT_DEGREES = 85.0
MICROMETRE_PER_ANGSTROM = 1e-4
# What is left of the beam at the least. Contrast of a weak phase object is linear and falls below -1 under gold.
LEAST_INTENSITY = 0.02
# Strips between which a defocus gradient is interpolated differ by this phase at the highest frequency at most;
# the contrast transfer is then wrong by 0.5^2 / 8 = 0.03 there, and less elsewhere.
STRIP_PHASE_RADIAN = 0.5


@dataclass(frozen=True, eq=False)
class TiltScheme:
    """Which tilts are taken, and what the sample has borne before each.

    Parameters
    ----------
    tilts_degrees
        Nominal angles, ascending, shape (T,).
    dose_before_electrons_per_square_angstrom
        Of each image, shape (T,); dropped views count, since the sample has seen them.
    dose_electrons_per_square_angstrom
        Of one image.
    """

    tilts_degrees: Floats
    dose_before_electrons_per_square_angstrom: Floats
    dose_electrons_per_square_angstrom: float


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """The images of a tilt series in two halves of the dose of every tilt, and how they were taken.

    Parameters
    ----------
    scheme
        Nominal tilts and doses.
    true_tilts_degrees
        Angles with their errors, shape (T,).
    defocus_micrometre
        True defocus of each tilt in the middle of the image, underfocus positive, shape (T,).
    shifts_yx_angstrom
        What alignment left, shape (T, 2).
    optics
        Of all tilts.
    halves_tyx
        Two arrays of contrast images, float32, shape (T, y, x): electrons over their mean, minus 1. Their mean is the
        contrast of the whole dose. Protein is dark at low resolution.
    electrons_per_pixel
        Mean number of electrons counted in a pixel of the whole dose, shape (T,).
    """

    scheme: TiltScheme
    true_tilts_degrees: Floats
    defocus_micrometre: Floats
    shifts_yx_angstrom: Floats
    optics: Optics
    halves_tyx: tuple[Images, Images]
    electrons_per_pixel: Floats

    @property
    def tilts_degrees(self) -> Floats:
        """Nominal angles, ascending, shape (T,)."""
        return self.scheme.tilts_degrees

    def describe(self) -> dict[str, list[float]]:
        """Return a number for each tilt of what was drawn for it, JSON-ready."""
        drawn = {
            "tilts_degrees": self.tilts_degrees,
            "true_tilts_degrees": self.true_tilts_degrees,
            "dose_before_electrons_per_square_angstrom": self.scheme.dose_before_electrons_per_square_angstrom,
            "defocus_micrometre": self.defocus_micrometre,
            "shifts_y_angstrom": self.shifts_yx_angstrom[:, 0],
            "shifts_x_angstrom": self.shifts_yx_angstrom[:, 1],
            "electrons_per_pixel": self.electrons_per_pixel,
        }
        return {name: np.round(numbers, 4).tolist() for name, numbers in drawn.items()}


def plan_tilts(recipe: MicroscopeRecipe, random: np.random.Generator) -> TiltScheme:
    """Return a dose-symmetric scheme from which some views, never the untilted one, have been dropped.

    Order of Hagen, Wan and Briggs, J. Struct. Biol. 197, 191 (2017): 0, 3, -3, -6, 6, 9, -9 ... degrees.

    Parameters
    ----------
    recipe
        Drawn. The total dose is that of all planned views.
    random
        Chooses the views to drop; three at least are kept.

    Raises
    ------
    ConfigError
        If range and step give fewer than three tilts.
    """
    maximum, step = recipe.tilt_maximum_degrees.value, recipe.tilt_step_degrees.value
    side = int(maximum / step + 1e-6)
    levels = np.arange(-side, side + 1)
    if len(levels) < LEAST_TILTS:
        problem = f"{maximum:g} degrees at a step of {step:g} leave 1 tilt, and a tomogram needs {LEAST_TILTS}"
        raise ConfigError("microscope.tilt_maximum_degrees", problem, "raise it, or lower tilt_step_degrees")
    # Within a level the side that the stage is on goes first: odd levels positive, even levels negative.
    goes_second = (levels > 0) == (levels % 2 == 0)
    places = np.argsort(np.lexsort((goes_second, np.abs(levels))))
    dose = recipe.total_dose_electrons_per_square_angstrom.value / len(levels)
    dropped = min(round(recipe.dropped_tilts.value), len(levels) - LEAST_TILTS)
    kept = np.setdiff1d(np.arange(len(levels)), random.choice(np.flatnonzero(levels), dropped, replace=False))
    return TiltScheme(levels[kept] * step, places[kept] * dose, dose)


def image_sample(
    density_zyx: Images,
    thickness_angstrom_yx: Images,
    grid: VoxelGrid,
    microscope: MicroscopeRecipe,
    random: np.random.Generator,
) -> TiltSeries:
    """Take a tilt series of a specimen.

    Every image is, in this order: the projection at the true angle; the contrast of a weak phase object, -2 times the
    contrast transfer function times the phase shift; damage by the dose borne so far; a shift that alignment left;
    loss by inelastic scattering along the path through the ice; and the noise of counting the electrons that the
    detector sees.

    Parameters
    ----------
    density_zyx
        Mass density above ice, 1 = solid protein, float32.
    thickness_angstrom_yx
        Path of an untilted beam through the ice, Angstrom, shape (y, x).
    grid
        Of the density.
    microscope
        Drawn: every range is a number. For the potential of protein see `body.PROTEIN_VOLTS_ABOVE_ICE`.
    random
        Source of all randomness.

    Raises
    ------
    ConfigError
        If there are fewer than three tilts, or the dose is so low that an image stays empty.
    """
    scheme = plan_tilts(microscope, random)
    count = len(scheme.tilts_degrees)
    errors = random.normal(0, microscope.angle_error_degrees.value, count)
    true_tilts = np.clip(scheme.tilts_degrees + errors, -GREATEST_TILT_DEGREES, GREATEST_TILT_DEGREES)
    shifts_yx = random.normal(0, microscope.shift_error_angstrom.value, (count, 2))
    jitter = random.normal(0, microscope.defocus_jitter_micrometre.value, count)
    defocus = microscope.defocus_micrometre.value + jitter
    streams = random.spawn(count)
    camera = _Camera.build(microscope, grid, thickness_angstrom_yx, _mean_height_voxels(density_zyx))
    images = Projector(grid.shape_zyx, true_tilts, is_periodic=True).project(density_zyx)
    # The second half is written over the projections.
    halves, electrons = (np.empty_like(images), images), np.empty(count)

    def take_image(tilt: int) -> None:
        dose = scheme.dose_electrons_per_square_angstrom
        borne = scheme.dose_before_electrons_per_square_angstrom[tilt] + dose / 2
        contrast = camera.contrast_yx(images[tilt], true_tilts[tilt], defocus[tilt], borne, shifts_yx[tilt])
        expected = camera.expected_electrons_yx(contrast, true_tilts[tilt], dose)
        halves[0][tilt], halves[1][tilt], electrons[tilt] = count_electrons(expected, streams[tilt])

    run_in_threads(take_image, range(count))
    return TiltSeries(scheme, true_tilts, defocus, shifts_yx, camera.optics, halves, electrons)


def count_electrons(expected_yx: Floats, random: np.random.Generator) -> tuple[Images, Images, float]:
    """Return the contrast of two halves of the electrons, and the mean number counted in a pixel.

    A Poisson count whose electrons are dealt at random to two halves (a binomial split) is two independent Poisson
    counts of half the mean, which is how they are drawn.

    Parameters
    ----------
    expected_yx
        Expected electrons of the whole dose, shape (y, x).
    random
        Source of the counts.

    Raises
    ------
    ConfigError
        If no electron is counted: too little dose, or too much ice.
    """
    counts = random.poisson(expected_yx / 2, size=(2, *expected_yx.shape))
    mean = counts.sum() / expected_yx.size
    if mean == 0:
        raise ConfigError(
            "microscope",
            "leaves an image without electrons",
            "raise total_dose_electrons_per_square_angstrom or mean_free_path_angstrom, or make the ice thinner",
        )
    contrast = counts.astype(np.float32)
    contrast *= np.float32(2 / mean)
    contrast -= 1
    return contrast[0], contrast[1], float(mean)


def _mean_height_voxels(density_zyx: Images) -> float:
    """Return the height of the layer above the middle of the box: the mean z of what is in it, in voxels."""
    mass = np.maximum([float(section.sum()) for section in density_zyx], 0)
    heights = np.arange(len(mass)) - (len(mass) - 1) / 2
    return float(mass @ heights / mass.sum()) if mass.sum() > 0 else 0.0


@dataclass(frozen=True, eq=False)
class _Camera:
    """All that is the same for every tilt. Heights in voxels above the middle of the box."""

    recipe: MicroscopeRecipe
    optics: Optics
    spacing_angstrom: float
    thickness_angstrom_yx: Images
    height_voxels: float

    @classmethod
    def build(cls, recipe: MicroscopeRecipe, grid: VoxelGrid, thickness: Images, height_voxels: float) -> "_Camera":
        optics = Optics(
            recipe.voltage_kilovolts.value,
            recipe.spherical_aberration_millimetre.value,
            recipe.amplitude_contrast.value,
            recipe.envelope_b_square_angstrom.value,
        )
        return cls(recipe, optics, grid.spacing_angstrom, thickness, height_voxels)

    def contrast_yx(
        self, projection_yx: Images, tilt_degrees: float, defocus_micrometre: float, dose: float, shift_yx: Floats
    ) -> Images:
        """Return the contrast that the electron wave has gathered at the detector: about 0, negative is dark."""
        shape = projection_yx.shape
        radian_per_sum = interaction_constant(self.optics.voltage_kilovolts) * (
            self.recipe.protein_potential_volts.value * self.spacing_angstrom
        )
        spectrum = rfft2(projection_yx, overwrite_x=False)
        spectrum *= np.float32(-2 * radian_per_sum)
        spectrum *= dose_attenuation(shape, self.spacing_angstrom, dose * self.recipe.damage.value)
        spectrum *= _shift_factor(shape, shift_yx / self.spacing_angstrom)
        offsets = self._strip_offsets(shape[1], tilt_degrees)
        strips = [
            irfft2(spectrum * ctf_2d(shape, self.spacing_angstrom, defocus_micrometre + offset, self.optics), s=shape)
            for offset in offsets
        ]
        return _blend(strips)

    def _strip_offsets(self, columns: int, tilt_degrees: float) -> Floats:
        """Return what is added to the defocus in evenly spaced strips from the first to the last column, micrometre.

        The beam runs along +z, and the plane in focus of an underfocused lens lies before the sample, so the side of
        the layer that is tilted to greater z is farther out of focus.
        """
        edge_angstrom = (columns - 1) / 2 * self.spacing_angstrom * np.tan(np.deg2rad(tilt_degrees))
        wavelength = electron_wavelength_angstrom(self.optics.voltage_kilovolts)
        phase = np.pi * wavelength * 2 * abs(edge_angstrom) / (2 * self.spacing_angstrom) ** 2
        if not self.recipe.defocus_gradient or phase < STRIP_PHASE_RADIAN / 5:
            return np.zeros(1)
        strips = 1 + int(np.ceil(phase / STRIP_PHASE_RADIAN))
        return np.linspace(edge_angstrom, -edge_angstrom, max(strips, 2)) * MICROMETRE_PER_ANGSTROM

    def expected_electrons_yx(self, contrast_yx: Images, tilt_degrees: float, dose: float) -> Floats:
        """Return the electrons that are counted in a pixel on average; `dose` per square Angstrom."""
        path = self._path_angstrom_yx(tilt_degrees)
        counted = dose * self.spacing_angstrom**2 * self.recipe.quantum_efficiency.value
        transmitted = np.exp(-path / self.recipe.mean_free_path_angstrom.value)
        return np.asarray(counted * transmitted * np.maximum(1 + contrast_yx, LEAST_INTENSITY), np.float64)

    def _path_angstrom_yx(self, tilt_degrees: float) -> Images:
        """Return the path of the tilted beam through the layer; beyond the box the layer repeats itself along x.

        A layer that is tilted along x repeats with a step at the side of the box, as in the projections.
        """
        columns = self.thickness_angstrom_yx.shape[1]
        tilt = np.deg2rad(tilt_degrees)
        middle = (columns - 1) / 2
        x = (np.arange(columns) - middle - self.height_voxels * np.sin(tilt)) / np.cos(tilt) + middle
        lower = np.floor(x).astype(np.int64)
        share = (x - lower).astype(np.float32)
        near, far = (np.take(self.thickness_angstrom_yx, index % columns, axis=1) for index in (lower, lower + 1))
        return np.asarray((near + share * (far - near)) / np.float32(np.cos(tilt)))


def _shift_factor(shape_yx: tuple[int, ...], shift_voxels_yx: Floats) -> NDArray[np.complex64]:
    """Return the factor on the half-plane of `rfft2` that moves an image by voxels along y and x."""
    rows, columns = shape_yx
    along_y = np.exp(-2j * np.pi * np.fft.fftfreq(rows) * shift_voxels_yx[0])
    along_x = np.exp(-2j * np.pi * np.fft.rfftfreq(columns) * shift_voxels_yx[1])
    return np.asarray(along_y[:, None] * along_x, np.complex64)


def _blend(strips: list[Images]) -> Images:
    """Interpolate linearly along x between images that hold at evenly spaced columns from the first to the last."""
    if len(strips) == 1:
        return strips[0]
    columns = strips[0].shape[1]
    places = np.linspace(0, len(strips) - 1, columns)
    weights = np.maximum(1 - np.abs(places - np.arange(len(strips))[:, None]), 0).astype(np.float32)
    return np.asarray(sum(image * weight for image, weight in zip(strips, weights, strict=True)), np.float32)
