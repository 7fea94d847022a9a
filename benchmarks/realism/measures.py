"""What is measured on a slice of a tomogram to judge how real it looks: spectrum, grey values, contrast of particles.

The method is frozen: it reproduces the published rows of the real slice and of the external simulation (`reference.py`
checks that on every run), and recipes are tuned against it, never the other way round. README.md tells it in words.

Every measure is free of an affine change of the grey scale (up to its sign), because no more is known of the real one.
"""

import csv
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import fft
from scipy.ndimage import affine_transform

from cryofind import czii
from cryofind.types import Picks

Floats = NDArray[np.float64]

SLICE_SPACING_ANGSTROM = 14.9  # the real slice: 630 voxels of 10.012 A drawn on 423 pixels
FREQUENCY_EDGES_PER_ANGSTROM = np.geomspace(1 / 600, 1 / 40, 15)
ALL_BINS = 14
TRUSTED_BINS = 12  # the two highest depend on how the real slice was drawn
SD_OF_MAD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
PLANES = 3  # the real slice is the mean of z = 90, 91 and 92
REACH_VOXELS = 5  # picks farther than this from a slice are not measured on it
RADII_ANGSTROM: Mapping[str, float] = {spec.name: spec.particle_radius_angstrom for spec in czii.OBJECTS}

REAL_RUN = "TS_73_6"
REAL_SLICE = "real/czii_TS_73_6_z90_denoised.png"
REAL_PICKS = "czii/train_picks.csv"
REAL_PLANE = 91  # the middle one
REAL_VOXEL_ANGSTROM = 10.012
REAL_WIDTH_VOXELS = 630
REPOSITORY = Path(__file__).resolve().parents[2]


class ReferenceMissing(Exception):
    """The reference data are not on this computer."""


# --- Spectrum and grey values ---


def spectrum_bins(slice_yx: ArrayLike, spacing_angstrom: float = SLICE_SPACING_ANGSTROM) -> Floats:
    """Return the natural logarithm of the mean radial power in 14 logarithmic bins from 1/600 to 1/40 per Angstrom.

    The slice is brought to mean 0 and variance 1 and multiplied by a Hann window w; power is |FFT|^2 / sum(w^2), so
    white noise has 0 in every bin. Low frequencies first, shape (14,); a bin that holds no frequency is nan.
    """
    return _ring_power(slice_yx, spacing_angstrom).log_mean


def scale_shares(slice_yx: ArrayLike, spacing_angstrom: float = SLICE_SPACING_ANGSTROM) -> tuple[float, float]:
    """Return the shares of the windowed slice's power that the bins leave out: beyond 600 A, and finer than 40 A."""
    return _ring_power(slice_yx, spacing_angstrom).shares_left_out


@dataclass(frozen=True, eq=False)
class _RingPower:
    """Power of the frequencies below all bins, of the 14 bins, and above them, (16,); counts; the window's power."""

    sums: Floats
    counts: NDArray[np.int64]
    window_power: float

    @property
    def log_mean(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = self.sums[1:-1] / self.counts[1:-1] / self.window_power
            return np.asarray(np.log(means), dtype=np.float64)

    @property
    def shares_left_out(self) -> tuple[float, float]:
        return float(self.sums[0] / self.sums.sum()), float(self.sums[-1] / self.sums.sum())


def _ring_power(slice_yx: ArrayLike, spacing_angstrom: float) -> _RingPower:
    values = np.asarray(slice_yx, dtype=np.float64)
    values = (values - values.mean()) / values.std()
    window, rings = _window_and_rings(values.shape, spacing_angstrom)
    power = np.abs(fft.fft2(values * window)) ** 2
    sums = np.bincount(rings, power.ravel(), ALL_BINS + 2).astype(np.float64)
    counts = np.bincount(rings, minlength=ALL_BINS + 2).astype(np.int64)
    return _RingPower(sums, counts, float(np.sum(window**2)))


@functools.lru_cache(maxsize=4)
def _window_and_rings(shape_yx: tuple[int, ...], spacing_angstrom: float) -> tuple[Floats, NDArray[np.int64]]:
    """Return the window, and for every frequency its bin, from 1 on (0 below all bins, 15 above them)."""
    window = np.outer(np.hanning(shape_yx[0]), np.hanning(shape_yx[1]))
    ky, kx = (np.fft.fftfreq(size, spacing_angstrom) for size in shape_yx)
    frequency = np.hypot(ky[:, None], kx[None, :])
    return window, np.digitize(frequency.ravel(), FREQUENCY_EDGES_PER_ANGSTROM)


def spectrum_difference(spectrum: ArrayLike, reference: ArrayLike, bins: int = ALL_BINS) -> float:
    """Return the RMS difference of two spectra over the lowest `bins` bins, after removal of the mean difference."""
    difference = (np.asarray(spectrum) - np.asarray(reference))[:bins]
    return float(np.std(difference))


def moments(slice_yx: ArrayLike) -> tuple[float, float]:
    """Return the skewness and the excess kurtosis of the grey values, from population moments."""
    values = np.asarray(slice_yx, dtype=np.float64)
    values = (values - values.mean()) / values.std()
    return float(np.mean(values**3)), float(np.mean(values**4)) - 3.0


# --- Slices ---


def average_planes(volume_zyx: NDArray[np.generic], z_index: int, planes: int = PLANES) -> Floats:
    """Return the mean of `planes` planes (odd) around `z_index`, fewer at the faces, shape (y, x)."""
    low, high = max(0, z_index - planes // 2), min(len(volume_zyx), z_index + planes // 2 + 1)
    mean: Floats = np.asarray(volume_zyx[low:high], dtype=np.float64).mean(axis=0)
    return mean


def resample_slice(slice_yx: NDArray[np.generic], spacing_angstrom: float) -> Floats:
    """Return the slice on the real one's grid: pixel (i, j) lies at (i, j) * 14.9 Angstrom, linearly interpolated."""
    step = SLICE_SPACING_ANGSTROM / spacing_angstrom
    shape = tuple(int((size - 1) / step) + 1 for size in slice_yx.shape)
    values = np.asarray(slice_yx, dtype=np.float64)
    resampled = affine_transform(values, [step, step], output_shape=shape, order=1, mode="nearest")
    return np.asarray(resampled, dtype=np.float64)


def cut_slice(volume_zyx: NDArray[np.generic], spacing_angstrom: float, z_index: int, planes: int = PLANES) -> Floats:
    """Return the mean of the planes around `z_index` on the real slice's grid."""
    return resample_slice(average_planes(volume_zyx, z_index, planes), spacing_angstrom)


@dataclass(frozen=True, eq=False)
class SliceMeasures:
    """Spectra, shape (slices, 14), and, shape (slices,), skewness, excess kurtosis and both `scale_shares`."""

    spectra: Floats
    skewness: Floats
    kurtosis: Floats
    coarse_share: Floats
    fine_share: Floats


def measure_slices(
    volume_zyx: NDArray[np.generic],
    spacing_angstrom: float,
    z_indices: Sequence[int] | None = None,
    *,
    planes: int = PLANES,
) -> SliceMeasures:
    """Return spectrum and moments of several slices of a volume: 80 ms a slice of 630 x 630 voxels.

    `z_indices` are middle planes; by default three, at 0.4, 0.5 and 0.6 of the depth.
    """
    if z_indices is None:
        z_indices = [round(share * (len(volume_zyx) - 1)) for share in (0.4, 0.5, 0.6)]
    slices = [cut_slice(volume_zyx, spacing_angstrom, z, planes) for z in z_indices]
    power = [_ring_power(one, SLICE_SPACING_ANGSTROM) for one in slices]
    grey = np.array([moments(one) for one in slices])
    shares = np.array([one.shares_left_out for one in power])
    return SliceMeasures(np.array([one.log_mean for one in power]), *grey.T, *shares.T)


# --- Contrast ---


def background(slice_yx: ArrayLike) -> tuple[float, float]:
    """Return the median of the grey values and their robust standard deviation, 1.4826 times the median deviation."""
    values = np.asarray(slice_yx, dtype=np.float64)
    median = float(np.median(values))
    return median, SD_OF_MAD * float(np.median(np.abs(values - median)))


def disc_contrasts(
    slice_yx: Floats, positions_yx_angstrom: ArrayLike, radius_angstrom: float, spacing_angstrom: float
) -> Floats:
    """Return the mean within the radius of every position minus the background, in its standard deviations, (N,).

    Pixel (i, j) lies at (i, j) * `spacing_angstrom`. The disc has the particle's full radius at any depth.
    """
    median, deviation = background(slice_yx)
    positions = np.asarray(positions_yx_angstrom, dtype=np.float64).reshape(-1, 2)
    means = [
        _disc_mean(slice_yx, position / spacing_angstrom, radius_angstrom / spacing_angstrom) for position in positions
    ]
    return (np.array(means, dtype=np.float64) - median) / deviation


def _disc_mean(slice_yx: Floats, center_yx: Floats, radius_pixels: float) -> float:
    low = np.clip(np.floor(center_yx - radius_pixels).astype(int), 0, slice_yx.shape)
    high = np.clip(np.ceil(center_yx + radius_pixels).astype(int) + 1, 0, slice_yx.shape)
    window = slice_yx[low[0] : high[0], low[1] : high[1]]
    y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
    inside = np.hypot(y - center_yx[0], x - center_yx[1]) <= radius_pixels
    return float(window[inside].mean()) if inside.any() else float("nan")


def contrasts(
    volume_zyx: NDArray[np.generic],
    picks: Picks,
    z_index: int,
    spacing_angstrom: float,
    *,
    planes: int = PLANES,
    reach_voxels: float = REACH_VOXELS,
    radii_angstrom: Mapping[str, float] = RADII_ANGSTROM,
) -> dict[str, Floats]:
    """Return the contrasts of the picks within reach of one slice, for every species that has any there."""
    one = cut_slice(volume_zyx, spacing_angstrom, z_index, planes)
    near = np.abs(picks.positions_zyx_angstrom[:, 0] / spacing_angstrom - z_index) <= reach_voxels
    measured = {}
    for name, radius in radii_angstrom.items():
        positions = picks.positions_zyx_angstrom[near & (picks.objects == name)]
        if len(positions):
            measured[name] = disc_contrasts(one, positions[:, 1:], radius, SLICE_SPACING_ANGSTROM)
    return measured


# --- The real slice ---


@dataclass(frozen=True, eq=False)
class RealReference:
    """The real slice and what is measured on it.

    For every species, of the picks within reach: `contrasts`, `offsets_angstrom` (where the slice lies from the pick
    along z) and `positions_yx_pixels`.
    """

    slice_yx: Floats
    spectrum: Floats
    skewness: float
    kurtosis: float
    contrasts: Mapping[str, Floats]
    offsets_angstrom: Mapping[str, Floats]
    positions_yx_pixels: Mapping[str, Floats]


def find_reference_data() -> Path:
    """Return the folder of reference data: `data` in CRYOFIND_SHARED, or in `shared` beside the repository.

    Raises
    ------
    ReferenceMissing
        If it does not have the real slice.
    """
    root = Path(os.environ.get("CRYOFIND_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not (root / REAL_SLICE).is_file():
        raise ReferenceMissing(f"{root / REAL_SLICE} is not there; set CRYOFIND_SHARED to the folder of reference data")
    return root


@functools.cache
def real_reference() -> RealReference:
    """Return the real slice with its measures; read once.

    Raises
    ------
    ReferenceMissing
        If the reference data are not on this computer.
    """
    root = find_reference_data()
    with Image.open(root / REAL_SLICE) as image:
        slice_yx = np.asarray(image.convert("L"), dtype=np.float64)
    spacing_angstrom = REAL_WIDTH_VOXELS * REAL_VOXEL_ANGSTROM / slice_yx.shape[1]
    values, offsets, places = {}, {}, {}
    for name, positions in _read_real_picks(root / REAL_PICKS).items():
        offset = REAL_PLANE * REAL_VOXEL_ANGSTROM - positions[:, 0]
        near = np.abs(offset) <= REACH_VOXELS * REAL_VOXEL_ANGSTROM
        if near.any():
            values[name] = disc_contrasts(slice_yx, positions[near, 1:], RADII_ANGSTROM[name], spacing_angstrom)
            offsets[name] = offset[near]
            places[name] = positions[near, 1:] / spacing_angstrom
    return RealReference(slice_yx, spectrum_bins(slice_yx), *moments(slice_yx), values, offsets, places)


def _read_real_picks(path: Path) -> dict[str, Floats]:
    """Return the positions zyx in Angstrom of every species of the real run."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["experiment"] == REAL_RUN]
    return {
        name: np.array([[float(row[axis]) for axis in "zyx"] for row in rows if row["particle_type"] == name])
        for name in RADII_ANGSTROM
    }
