"""What a tomogram looks like, in numbers that a simulated one can be compared by.

The geometry (tilt scheme, layer of ice) is measured on the whole tomogram. The texture (spectrum, grey values, dark
blobs) is measured in boxes within the ice, as large as the simulations it will be compared with, so that both suffer
from the same windows and edges; how far the boxes differ says how well one of them can tell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryofind.simulate.look import (
    COARSEST_ANGSTROM,
    COARSEST_MEAN_ANGSTROM,
    GREY_SCALES_ANGSTROM,
    LEAST_POWER,
    LEAST_WEDGE_POWER,
    MAD_TO_STANDARD_DEVIATION,
    SPECTRUM_BINS,
    WEDGE_BINS,
    Look,
    Texture,
    summarize,
)
from cryofind.simulate.measure_defocus import DefocusMeasurement, measure_defocus
from cryofind.simulate.measure_slab import SlabMeasurement, average_blocks, measure_slab
from cryofind.simulate.measure_tilts import TiltMeasurement, measure_tilts, profile_over_angles

Floats = NDArray[np.float64]

WEDGE_BAND = (0.08, 0.35)  # cycles per voxel; higher, a denoised tomogram is empty
# Blobs: minima of the smoothed volume below this many robust standard deviations, no nearer than the distance.
BLOB_SIGMA_ANGSTROM = 25.0
BLOB_SPACING_ANGSTROM = 20.0  # the volume is averaged to about this first
BLOB_DEPTH = 3.0
BLOB_DISTANCE_ANGSTROM = 100.0
BLOB_VOLUME_CUBIC_ANGSTROM = 1e9  # a cube of 0.1 micrometre

# Boxes of tomograms, and of the simulations they are compared with.
BOX_VOXELS = 192
MAX_BOXES = 9
LEAST_VOXELS = 64
LEAST_WINDOW_VOXELS = 32
# Of the thickness of the ice: a tilted layer leaves a box that is as high as itself.
WINDOW_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class TomogramMeasurement:
    """All that was measured on one tomogram.

    Parameters
    ----------
    spacing_angstrom
        Voxel spacing.
    shape_zyx
        Voxels.
    tilts, slab
        Geometry.
    defocus
        From the rings of a CTF deconvolution.
    look
        Texture within the ice.
    """

    spacing_angstrom: float
    shape_zyx: tuple[int, int, int]
    tilts: TiltMeasurement
    slab: SlabMeasurement
    defocus: DefocusMeasurement
    look: Look


def measure_tomogram(volume_zyx: NDArray[Any], spacing_angstrom: float) -> TomogramMeasurement:
    """Measure a tomogram.

    Parameters
    ----------
    volume_zyx
        Finite real numbers, dark particles, at least `LEAST_VOXELS` along each axis, not constant.
    spacing_angstrom
        Voxel spacing, equal along the axes.
    """
    tilts = measure_tilts(volume_zyx)
    turned = volume_zyx if tilts.axis == "y" else np.swapaxes(volume_zyx, 1, 2)
    slab = measure_slab(turned, spacing_angstrom)
    defocus = measure_defocus(turned, spacing_angstrom, tilts.maximum_degrees)
    boxes = cut_boxes(turned, slab, spacing_angstrom)
    textures = [measure_texture(box, spacing_angstrom, tilts.maximum_degrees) for box in boxes]
    z, y, x = turned.shape
    return TomogramMeasurement(spacing_angstrom, (z, y, x), tilts, slab, defocus, summarize(textures, boxes[0]))


def cut_boxes(volume_zyx: NDArray[Any], slab: SlabMeasurement, spacing_angstrom: float) -> list[NDArray[Any]]:
    """Return up to `MAX_BOXES` boxes within the ice that cover the tomogram, the nearest to its middle first."""
    depth, *sizes = volume_zyx.shape
    height = min(depth, max(LEAST_WINDOW_VOXELS, round(WINDOW_SHARE * slab.thickness_angstrom / spacing_angstrom)))
    sides = [min(size, BOX_VOXELS) for size in sizes]
    corners = [
        np.linspace(0, size - side, max(1, round(size / side))).astype(int) if size > side else [0]
        for size, side in zip(sizes, sides, strict=True)
    ]
    places = [
        (y, x, y + (sides[0] - sizes[0]) / 2, x + (sides[1] - sizes[1]) / 2) for y in corners[0] for x in corners[1]
    ]
    places.sort(key=lambda place: np.hypot(place[2], place[3]))
    boxes = []
    for y, x, away_y, away_x in places[:MAX_BOXES]:
        away = (away_y * spacing_angstrom, away_x * spacing_angstrom)
        middle = slab.middle_angstrom(depth * spacing_angstrom, *away) / spacing_angstrom
        z = int(np.clip(round(middle - height / 2), 0, depth - height))
        boxes.append(volume_zyx[z : z + height, y : y + sides[0], x : x + sides[1]])
    return boxes


def measure_texture(box_zyx: NDArray[Any], spacing_angstrom: float, tilt_maximum_degrees: float | None) -> Texture:
    """Measure a box that is full of ice.

    Parameters
    ----------
    box_zyx
        Finite real numbers, not constant; dark particles.
    spacing_angstrom
        Voxel spacing.
    tilt_maximum_degrees
        Highest tilt about the y axis: components beyond it are left out of the spectrum. None: there are none.
    """
    values = np.asarray(box_zyx, np.float32)
    values = values - values.mean(dtype=np.float64)
    values /= max(float(values.std(dtype=np.float64)), np.finfo(np.float32).tiny)
    factors = [max(1, round(scale / spacing_angstrom)) for scale in GREY_SCALES_ANGSTROM]
    moments = [_measure_moments(average_blocks(values, factor)) for factor in factors]
    return Texture(
        measure_spectrum(values, spacing_angstrom, tilt_maximum_degrees),
        _measure_wedge(values),
        np.array([skewness for skewness, _ in moments]),
        np.log([kurtosis for _, kurtosis in moments]),
        float(np.log1p(count_blobs(values, spacing_angstrom))),
    )


def spectrum_frequencies(spacing_angstrom: float) -> Floats:
    """Return the edges of the bins of a spectrum, 1/Angstrom, shape (SPECTRUM_BINS + 1,)."""
    return np.geomspace(1 / COARSEST_ANGSTROM, 0.5 / spacing_angstrom, SPECTRUM_BINS + 1)


def measure_spectrum(
    values_zyx: NDArray[np.float32], spacing_angstrom: float, tilt_maximum_degrees: float | None
) -> Floats:
    """Return the natural logarithm of the mean power per component in each bin; NaN in bins without components.

    For values of unit variance. The mean over bins beyond 1 / `COARSEST_MEAN_ANGSTROM` is taken off: one vesicle in the
    box would move all bins.
    """
    windows = [np.hanning(size + 2)[1:-1].astype(np.float32) for size in values_zyx.shape]
    z, y, x = np.ix_(*windows)
    spectrum = fft.rfftn(values_zyx * z * y * x)
    power = (spectrum.real**2 + spectrum.imag**2) / np.prod([np.square(window).sum() for window in windows])
    frequency_z, frequency_y = (np.fft.fftfreq(size, spacing_angstrom) for size in values_zyx.shape[:2])
    frequency_x = np.fft.rfftfreq(values_zyx.shape[2], spacing_angstrom)
    plane = frequency_z[:, None] ** 2 + frequency_x**2
    is_sampled = np.ones(plane.shape, bool)
    if tilt_maximum_degrees is not None:
        is_sampled = np.abs(frequency_z)[:, None] <= np.tan(np.radians(tilt_maximum_degrees)) * frequency_x
    edges = spectrum_frequencies(spacing_angstrom)
    sums, counts = np.zeros(SPECTRUM_BINS + 2), np.zeros(SPECTRUM_BINS + 2)
    for row, frequency in enumerate(frequency_y):
        bins = np.searchsorted(edges, np.sqrt(plane[is_sampled] + frequency**2), side="right")
        sums += np.bincount(bins, power[:, row, :][is_sampled], minlength=SPECTRUM_BINS + 2)
        counts += np.bincount(bins, minlength=SPECTRUM_BINS + 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts > 0, np.log(sums / counts + LEAST_POWER), np.nan)[1:-1]
    return np.asarray(logs - np.nanmean(logs[edges[:-1] > 1 / COARSEST_MEAN_ANGSTROM]))


def count_blobs(values_zyx: NDArray[np.float32], spacing_angstrom: float) -> float:
    """Return the number of dark blobs in a cube of 0.1 micrometre."""
    factor = max(1, int(BLOB_SPACING_ANGSTROM / spacing_angstrom))
    step_angstrom = factor * spacing_angstrom
    smooth = ndimage.gaussian_filter(average_blocks(values_zyx, factor), BLOB_SIGMA_ANGSTROM / step_angstrom)
    middle = np.median(smooth)
    spread = MAD_TO_STANDARD_DEVIATION * float(np.median(np.abs(smooth - middle)))
    size = 2 * round(BLOB_DISTANCE_ANGSTROM / step_angstrom / 2) + 1
    is_blob = (smooth < middle - BLOB_DEPTH * spread) & (smooth == ndimage.minimum_filter(smooth, size))
    volume = smooth.size * step_angstrom**3 / BLOB_VOLUME_CUBIC_ANGSTROM
    return float(np.count_nonzero(is_blob) / volume)


def _measure_moments(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return skewness and kurtosis (3 for normal noise), population moments."""
    centered = values - values.mean(dtype=np.float64).astype(np.float32)
    squares = centered * centered
    variance = max(float(squares.mean(dtype=np.float64)), float(np.finfo(np.float32).tiny))
    third = float((squares * centered).mean(dtype=np.float64))
    fourth = float((squares * squares).mean(dtype=np.float64))
    return third / variance**1.5, max(fourth / variance**2, 1.0)


def _measure_wedge(values_zyx: NDArray[np.float32]) -> Floats:
    _, power = profile_over_angles(values_zyx, "y", WEDGE_BAND)
    means = power.reshape(WEDGE_BINS, -1).mean(axis=1)
    return np.asarray(np.log(means + LEAST_WEDGE_POWER))
