"""The tilt scheme that a tomogram was made with, from where its Fourier components are.

A tilt image fills one plane of the Fourier transform, which contains the tilt axis. Seen along the axis, a tilt series
is a fan of spokes, and beyond the highest tilt there is nothing: the missing wedge. Angles here are those of spokes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Floats = NDArray[np.float64]
Axis = Literal["y", "x"]

BIN_DEGREES = 0.25
# Along the tilt axis this many planes are enough, and keep the memory small.
MAX_PLANES = 96
# In cycles per voxel: below, spokes overlap; above, interpolation has taken much.
BAND = (0.15, 0.48)
SPOKE_BAND = (0.30, 0.48)
SHELL = 0.02
# Half the width at half maximum of the power of a Hann window of n voxels is this over n (cycles per voxel).
HANN_HALF_WIDTH = 0.72
# An edge is the place where the mean log power over this many degrees on both sides differs most ...
EDGE_DEGREES = 6.0
EDGE_LIMITS_DEGREES = (20.0, 84.0)
# ... and counts as the end of the tilt range if the power falls by this much (natural logarithm). Measured on
# simulations: 3.5 and more unfiltered, 1.1 after a half-map Wiener filter; below 0.35 where there is no edge.
LEAST_FALL = 0.6
STEPS_DEGREES = (1.0, 6.0)
# Share of the periodogram's highest possible amplitude. Measured: 0.67 for 3 degrees in 120 voxels, and up to 0.22
# where the sample is too shallow for spokes to stand apart.
LEAST_SPOKE_AMPLITUDE = 0.4


@dataclass(frozen=True, eq=False)
class TiltMeasurement:
    """What the Fourier transform says of the tilt scheme.

    Parameters
    ----------
    maximum_degrees
        Highest tilt, either side, good to 1.5 degrees; None if there is no missing wedge to be seen.
    step_degrees
        Angle between tilts; None if the spokes do not stand apart.
    axis
        Axis of the array along which the tilt axis lies.
    fall
        Natural logarithm of the fall of the power at the edge of the missing wedge.
    """

    maximum_degrees: float | None
    step_degrees: float | None
    axis: Axis
    fall: float


def measure_tilts(volume_zyx: NDArray[Any]) -> TiltMeasurement:
    """Measure tilt range, step and axis.

    Parameters
    ----------
    volume_zyx
        Finite real numbers of equal voxel spacing along z, y and x, not constant.
    """
    candidates = {axis: _measure_edge(volume_zyx, axis) for axis in ("y", "x")}
    axis: Axis = "y" if candidates["y"][1] >= candidates["x"][1] else "x"
    edge, fall = candidates[axis]
    if fall < LEAST_FALL:
        return TiltMeasurement(None, None, "y", fall)
    step, phase = _measure_step(volume_zyx, axis, edge)
    # The last spoke is as wide as all others, and its outer half lies beyond the highest tilt.
    half_width = HANN_HALF_WIDTH / volume_zyx.shape[0] / np.mean(BAND) * np.cos(np.radians(edge))
    highest = edge - float(np.degrees(half_width))
    if step is None:
        return TiltMeasurement(round(2 * highest) / 2, None, axis, fall)
    highest = phase + step * round((highest - phase) / step)
    return TiltMeasurement(round(highest, 1), step, axis, fall)


def _measure_edge(volume_zyx: NDArray[Any], axis: Axis) -> tuple[float, float]:
    """Return the angle at which the power falls most, and the natural logarithm of the fall."""
    angles, power = profile_over_angles(volume_zyx, axis, BAND)
    logs = np.log(power + 1e-6 * power.max())
    reach = round(EDGE_DEGREES / BIN_DEGREES)
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    means = (sums[reach:] - sums[:-reach]) / reach
    falls = np.full(len(logs) + 1, -np.inf)
    falls[reach : len(logs) - reach + 1] = means[:-reach] - means[reach:]
    ends = np.arange(len(logs) + 1) * BIN_DEGREES
    falls[(ends < EDGE_LIMITS_DEGREES[0]) | (ends > EDGE_LIMITS_DEGREES[1])] = -np.inf
    best = int(np.argmax(falls))
    # The half-way point between both levels, in power: the logarithm's steepest place lies farther out.
    inside, outside = (np.exp(logs[part]).mean() for part in (slice(best - 2 * reach, best), slice(best, best + reach)))
    near = slice(best - reach, best + reach)
    share = np.clip((power[near] - outside) / (inside - outside), 0.0, 1.0)
    edge = angles[near][0] - BIN_DEGREES / 2 + _count_until_half(share) * BIN_DEGREES
    return float(edge), float(falls[best])


def _count_until_half(share: Floats) -> float:
    """Return the number of bins before the last one above one half."""
    above = np.flatnonzero(share > 0.5)
    return float(above[-1] + 1) if len(above) else len(share) / 2


def _measure_step(volume_zyx: NDArray[Any], axis: Axis, edge: float) -> tuple[float | None, float]:
    """Return the angle between spokes, or None, and the angle of one of them."""
    angles, power = profile_over_angles(volume_zyx, axis, SPOKE_BAND)
    use = (angles > 2.0) & (angles < edge - 1.0)
    width = round(2 * STEPS_DEGREES[1] / BIN_DEGREES) - 1
    ripple = power[use] / ndimage.uniform_filter1d(power[use], width, mode="nearest") - 1.0
    ripple -= ripple.mean()
    steps = np.arange(STEPS_DEGREES[0], STEPS_DEGREES[1] + 0.01, 0.05)
    waves = np.exp(2j * np.pi * angles[use] / steps[:, None]) @ ripple
    amplitudes = np.abs(waves) / np.sqrt(np.square(ripple).sum() * len(ripple))
    best = int(np.argmax(amplitudes))
    if amplitudes[best] < LEAST_SPOKE_AMPLITUDE or best in {0, len(steps) - 1}:
        return None, 0.0
    step = round(float(steps[best]) * 4) / 4  # microscopes are set to whole, half or quarter degrees
    phase = float(np.angle(np.sum(ripple * np.exp(2j * np.pi * angles[use] / step)))) / (2 * np.pi) * step
    return step, phase


def profile_over_angles(volume_zyx: NDArray[Any], axis: Axis, band: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the mean power along spokes, each ring of frequencies divided by its own mean.

    Parameters
    ----------
    volume_zyx
        Finite real numbers.
    axis
        Supposed tilt axis.
    band
        Frequencies to average over, cycles per voxel.

    Returns
    -------
    angles_degrees, power
        Centres of bins from 0 (the plane of the untilted image) to 90 (the beam), and what is in them; both signs of
        the angle are taken together.
    """
    squares = _power_along(volume_zyx, axis)
    frequency_z = np.fft.fftfreq(volume_zyx.shape[0])[:, None]
    frequency_across = np.fft.rfftfreq(volume_zyx.shape[2 if axis == "y" else 1])[None, :]
    radius = np.hypot(frequency_z, frequency_across)
    degrees = np.degrees(np.arctan2(np.abs(frequency_z), frequency_across))
    bins = np.minimum((degrees / BIN_DEGREES).astype(int), round(90 / BIN_DEGREES) - 1)
    shells = np.floor(radius / SHELL).astype(int)
    use = (radius >= band[0]) & (radius < band[1])
    means = np.bincount(shells[use], squares[use]) / np.maximum(np.bincount(shells[use]), 1)
    relative = squares[use] / np.maximum(means[shells[use]], np.finfo(np.float64).tiny)
    size = round(90 / BIN_DEGREES)
    counts = np.bincount(bins[use], minlength=size)
    power = np.bincount(bins[use], relative, minlength=size)
    angles = (np.arange(size, dtype=np.float64) + 0.5) * BIN_DEGREES
    filled = counts > 0
    return angles, np.asarray(np.interp(angles, angles[filled], power[filled] / counts[filled]), np.float64)


def _power_along(volume_zyx: NDArray[Any], axis: Axis) -> Floats:
    """Return the power over (z, across), summed over planes along the axis."""
    along = 1 if axis == "y" else 2
    stride = -(-volume_zyx.shape[along] // MAX_PLANES)
    planes = np.moveaxis(volume_zyx, along, 0)[::stride]
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in planes.shape[1:])).astype(np.float32)
    total = np.zeros((planes.shape[1], planes.shape[2] // 2 + 1))
    for plane in planes:
        values = np.asarray(plane, np.float32)
        spectrum = fft.rfft2((values - values.mean()) * window)
        total += spectrum.real**2 + spectrum.imag**2
    return total
