"""The layer of ice in a tomogram: how thick it is, how it is tilted, and where it lies.

Particles and the crowd between them make the contrast at low resolution vary; in vacuum there is noise alone. So the
variance of a band-passed volume along z, in columns over x and y, is high within the layer.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float64]

# Standard deviations of the two Gaussians of the band-pass, Angstrom: finer is noise, coarser is uneven illumination.
BAND_SIGMAS_ANGSTROM = (30.0, 90.0)
COLUMNS_ACROSS = 6
# Tilts are sought within the limits, first in coarse steps, then in fine ones around the best.
TILT_LIMIT_DEGREES = 9.0
TILT_STEP_DEGREES = 1.5
TILT_FINE_STEP_DEGREES = 0.5
# A tilt t makes the fit worse by the share (t / this)^2: particles are smeared along x and z, and what lies where in
# the layer is by chance, which both look like some tilt.
TILT_SCALE_DEGREES = 20.0
LEAST_THICKNESS_ANGSTROM = 200.0
# Vacuum must be seen over at least this share of the height, ...
LEAST_VACUUM_SHARE = 0.06
# ... with this many times less variance than the layer (geometric means), ...
LEAST_VARIANCE_RATIO = 1.15
# ... and a top hat must explain this share of the profile. Measured on simulated tomograms with vacuum: ratio 1.2 to 4,
# share 0.73 to 0.91; without: ratio up to 1.4, share up to 0.4.
LEAST_EXPLAINED_SHARE = 0.65
# Both halves of the columns, alternating, must find the same faces to this share of the height. Measured: up to 0.075
# with vacuum, 0.19 in a small box without.
GREATEST_DISAGREEMENT = 0.12
# Columns must agree on it: the mean of their differences between layer and vacuum is this many times its standard
# error. Within ice clumps and gaps make a profile of their own. Measured: 8 to 25 with vacuum, 2 to 4 in boxes cut out
# of ice.
LEAST_STANDARD_ERRORS = 6.0
# Of the standard deviations of all columns and heights: what lies below is vacuum at its emptiest.
VACUUM_PERCENTILE = 5.0
# The volume is averaged to about this voxel spacing first: the band-pass leaves nothing finer.
COARSE_ANGSTROM = 20.0


@dataclass(frozen=True)
class SlabMeasurement:
    """A layer between two parallel planes.

    Parameters
    ----------
    thickness_angstrom
        Along z.
    offset_angstrom
        Of its middle from the middle of the box along z, at the middle of the box along y and x.
    tilt_y_degrees, tilt_x_degrees
        Rise of the layer along y and along x.
    is_whole_box
        No vacuum was seen: the layer is as thick as the box, or thicker.
    """

    thickness_angstrom: float
    offset_angstrom: float = 0.0
    tilt_y_degrees: float = 0.0
    tilt_x_degrees: float = 0.0
    is_whole_box: bool = False

    def middle_angstrom(self, depth_angstrom: float, y_angstrom: float, x_angstrom: float) -> float:
        """Return the height z of the layer's middle at a place y, x counted from the middle of the box, Angstrom."""
        rise_y, rise_x = np.tan(np.radians([self.tilt_y_degrees, self.tilt_x_degrees]))
        return float(depth_angstrom / 2 + self.offset_angstrom + rise_y * y_angstrom + rise_x * x_angstrom)


def measure_slab(volume_zyx: NDArray[Any], spacing_angstrom: float) -> SlabMeasurement:
    """Measure the layer of ice.

    Thickness is good to about 120 Angstrom, the offset to 60, tilts to 3 degrees.

    Parameters
    ----------
    volume_zyx
        Finite real numbers, not constant.
    spacing_angstrom
        Voxel spacing.
    """
    depth_angstrom = volume_zyx.shape[0] * spacing_angstrom
    columns = _measure_variance(volume_zyx, spacing_angstrom)
    ice = _saturate(columns)
    tilt_y, tilt_x, hat = _search_tilts(ice, 0.0, 0.0, TILT_STEP_DEGREES, TILT_LIMIT_DEGREES)
    tilt_y, tilt_x, hat = _search_tilts(ice, tilt_y, tilt_x, TILT_FINE_STEP_DEGREES, 2 * TILT_FINE_STEP_DEGREES)
    thickness = (hat.high - hat.low) * columns.step_angstrom
    is_seen = (
        hat.share >= LEAST_EXPLAINED_SHARE
        and _ratio(columns, hat, tilt_y, tilt_x) >= LEAST_VARIANCE_RATIO
        and _standard_errors(columns, hat, tilt_y, tilt_x) >= LEAST_STANDARD_ERRORS
        and _disagreement(ice, tilt_y, tilt_x) <= GREATEST_DISAGREEMENT * depth_angstrom
    )
    if not is_seen or thickness > (1 - LEAST_VACUUM_SHARE) * depth_angstrom:
        return SlabMeasurement(depth_angstrom, is_whole_box=True)
    # The first block begins half a voxel before index 0.
    middle = (hat.low + hat.high) / 2 * columns.step_angstrom - spacing_angstrom / 2
    return SlabMeasurement(round(thickness, 1), round(middle - depth_angstrom / 2, 1), tilt_y, tilt_x)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Something for each (z, column), the step along z in Angstrom, and where columns stand, from the box's middle."""

    values: Floats
    step_angstrom: float
    y_angstrom: Floats
    x_angstrom: Floats


@dataclass(frozen=True)
class _TopHat:
    """Ends in rows, explained sum of squares, and its share in all."""

    low: int
    high: int
    explained: float
    share: float


def _saturate(columns: _Columns) -> _Columns:
    """Return 0 for vacuum to 1 for ice, whatever lies in the ice: one vesicle outshines all proteins."""
    amplitude = np.exp(columns.values / 2)
    vacuum = np.percentile(amplitude, VACUUM_PERCENTILE)
    ice = np.median(amplitude[amplitude >= np.median(amplitude)])
    return replace(columns, values=np.clip((amplitude - vacuum) / max(ice - vacuum, 1e-6 * ice), 0.0, 1.0))


def _ratio(columns: _Columns, hat: _TopHat, tilt_y: float, tilt_x: float) -> float:
    """Return how many times the variance within the top hat is that outside."""
    profile = _level(columns, tilt_y, tilt_x)
    outside = np.concatenate([profile[: hat.low], profile[hat.high :]])
    return float(np.exp(profile[hat.low : hat.high].mean() - outside.mean()))


def _standard_errors(columns: _Columns, hat: _TopHat, tilt_y: float, tilt_x: float) -> float:
    """Return by how many standard errors, of the mean over columns, the layer differs from what is outside."""
    levelled = _level_columns(columns, tilt_y, tilt_x)
    outside = np.concatenate([levelled[: hat.low], levelled[hat.high :]])
    differences = levelled[hat.low : hat.high].mean(axis=0) - outside.mean(axis=0)
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return float(differences.mean() / max(error, np.finfo(np.float64).tiny))


def _disagreement(columns: _Columns, tilt_y: float, tilt_x: float) -> float:
    """Return how far the faces are apart that either half of the columns finds, Angstrom: far, where there are none."""
    halves = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        part = replace(
            columns,
            values=columns.values[:, half],
            y_angstrom=columns.y_angstrom[half],
            x_angstrom=columns.x_angstrom[half],
        )
        halves.append(_fit_top_hat(_level(part, tilt_y, tilt_x), LEAST_THICKNESS_ANGSTROM / columns.step_angstrom))
    first, second = halves
    return max(abs(first.low - second.low), abs(first.high - second.high)) * columns.step_angstrom


def _search_tilts(
    columns: _Columns, center_y: float, center_x: float, step: float, reach: float
) -> tuple[float, float, _TopHat]:
    """Return the best tilts around a centre, and the top hat that fits then."""
    least_rows = LEAST_THICKNESS_ANGSTROM / columns.step_angstrom
    offsets = np.arange(-reach, reach + step / 2, step)
    found = []
    for tilt_y in center_y + offsets:
        for tilt_x in center_x + offsets:
            hat = _fit_top_hat(_level(columns, tilt_y, tilt_x), least_rows)
            score = hat.explained * (1 - (tilt_y**2 + tilt_x**2) / TILT_SCALE_DEGREES**2)
            found.append((score, float(tilt_y), float(tilt_x), hat))
    return max(found, key=lambda candidate: candidate[0])[1:]


def _measure_variance(volume_zyx: NDArray[Any], spacing_angstrom: float) -> _Columns:
    """Return the logarithm of the variance of the band-passed volume in columns."""
    factor = max(1, int(COARSE_ANGSTROM / spacing_angstrom))
    coarse = average_blocks(volume_zyx, factor)
    step_angstrom = spacing_angstrom * factor
    fine, wide = (gaussian_filter(coarse, sigma / step_angstrom) for sigma in BAND_SIGMAS_ANGSTROM)
    squares = np.square(fine - wide)
    rows, across = (np.array_split(np.arange(size), COLUMNS_ACROSS) for size in squares.shape[1:])
    parts = [squares[:, a[0] : a[-1] + 1, b[0] : b[-1] + 1].reshape(len(squares), -1) for a in rows for b in across]
    # The median over a column's voxels, unlike the mean, does not care about a gold bead or a carbon edge.
    variance = np.stack([np.median(part, axis=1) for part in parts], axis=1)
    places = [
        [(indices.mean() + 0.5 - size / 2) * step_angstrom for indices in groups]
        for groups, size in ((rows, squares.shape[1]), (across, squares.shape[2]))
    ]
    y, x = (place.ravel() for place in np.meshgrid(*places, indexing="ij"))
    return _Columns(np.log(variance + 1e-9 * variance.mean()), step_angstrom, y, x)


def average_blocks(volume_zyx: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Return means over `factor`^3 voxels, float32; voxels beyond the last whole block are left out."""
    z, y, x = (size // factor for size in volume_zyx.shape)
    means = np.empty((z, y, x), np.float32)
    for plane in range(z):
        part = np.asarray(volume_zyx[plane * factor : (plane + 1) * factor, : y * factor, : x * factor], np.float32)
        means[plane] = part.reshape(factor, y, factor, x, factor).mean(axis=(0, 2, 4))
    return means


def _level(columns: _Columns, tilt_y: float, tilt_x: float) -> Floats:
    """Return the mean over columns, each shifted along z by what a layer of that tilt rises there."""
    return np.asarray(_level_columns(columns, tilt_y, tilt_x).mean(axis=1))


def _level_columns(columns: _Columns, tilt_y: float, tilt_x: float) -> Floats:
    values = columns.values
    rise = np.tan(np.radians(tilt_y)) * columns.y_angstrom + np.tan(np.radians(tilt_x)) * columns.x_angstrom
    heights = np.arange(len(values))[:, None] + rise / columns.step_angstrom
    # Beyond the box it goes on as it ends.
    below = np.clip(np.floor(heights).astype(int), 0, len(values) - 2)
    share = np.clip(heights - below, 0.0, 1.0)
    numbers = np.arange(values.shape[1])
    return np.asarray(values[below, numbers] * (1 - share) + values[below + 1, numbers] * share)


def _fit_top_hat(profile: Floats, least_rows: float) -> _TopHat:
    """Return the top hat that explains most of a profile's variance."""
    size = len(profile)
    sums = np.concatenate([[0.0], np.cumsum(profile)])
    low, high = np.triu_indices(size + 1, k=max(2, int(least_rows)))
    is_allowed = high - low <= size - 2
    low, high = low[is_allowed], high[is_allowed]
    count = high - low
    inside = (sums[high] - sums[low]) / count
    outside = (sums[-1] - sums[high] + sums[low]) / (size - count)
    explained = np.where(inside > outside, count * (size - count) / size * (inside - outside) ** 2, -1.0)
    best = int(np.argmax(explained))
    total = max(float(np.square(profile - profile.mean()).sum()), np.finfo(np.float64).tiny)
    return _TopHat(int(low[best]), int(high[best]), float(explained[best]), float(explained[best]) / total)
