"""Axes of the charts: ranges, ticks, numbers in words, thinning of long series."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST = 1e300  # values beyond are drawn at this, so that no difference of two overflows
SMALLEST_SPAN = 1e-250
FLAT_SHARE = 1e-9  # a range narrower than this share of its values is drawn as one value
DECADES_WITH_STEPS = 2.0  # up to so many decades a log axis shows 1, 2, 5 and not only powers of ten
TICK_COUNT = 5


@dataclass(frozen=True)
class Axis:
    """One axis: from values to pixels, with its ticks.

    Parameters
    ----------
    low, high
        Values at its ends, low < high; both positive on a log axis.
    start, stop
        Pixels at its ends.
    is_log
        Whether equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def place(self, values: float | Floats) -> Floats:
        """Return pixels of values, clipped to the axis; NaN stays NaN."""
        found = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.is_log:
            found, low, high = np.log10(found), math.log10(low), math.log10(high)
        placed: Floats = self.start + (self.stop - self.start) * ((found - low) / (high - low))
        return placed

    def ticks(self) -> list[float]:
        """Return round values within the axis, rising."""
        return log_ticks(self.low, self.high) if self.is_log else linear_ticks(self.low, self.high)

    def words(self, ticks: list[float]) -> list[str]:
        """Return ticks in words."""
        return [format_number(value) for value in ticks] if self.is_log else format_ticks(ticks)


def axis_of(
    values: Floats, start: float, stop: float, *, is_log: bool = False, limits: tuple[float, float] | None = None
) -> Axis:
    """Return the axis that shows all finite values; without any, from 0 to 1.

    Parameters
    ----------
    values
        Any shape; NaN and infinities are left out, on a log axis also what is not positive.
    start, stop
        Pixels at its ends.
    is_log
        Whether equal ratios are equally long.
    limits
        Values at its ends, if they are to be others than those of the data.
    """
    shown = usable(values, is_log=is_log)
    shown = shown[np.isfinite(shown)]
    if limits is not None:
        low, high = limits
    elif not len(shown):
        low, high = (0.1, 1.0) if is_log else (0.0, 1.0)
    else:
        low, high = float(shown.min()), float(shown.max())
    if is_log:
        if high / low < 1 + FLAT_SHARE:
            low, high = low / 2, high * 2
    elif high - low < max(SMALLEST_SPAN, FLAT_SHARE * max(abs(low), abs(high))):
        pad = 0.05 * max(abs(low), abs(high))
        pad = pad if pad > SMALLEST_SPAN else 0.5
        low, high = low - pad, high + pad
    return Axis(low, high, start, stop, is_log)


def usable(values: Floats, *, is_log: bool) -> Floats:
    """Return values as they can be drawn: infinities, and on a log axis what is not positive, become NaN."""
    found = np.asarray(values, dtype=np.float64)
    is_shown = np.isfinite(found) & (found >= 1 / LARGEST if is_log else True)
    return np.where(is_shown, np.clip(found, -LARGEST, LARGEST), np.nan)


def linear_ticks(low: float, high: float) -> list[float]:
    """Return multiples of 1, 2, 2.5 or 5 times a power of ten from `low` to `high`, four to eight."""
    rough = (high - low) / TICK_COUNT
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= 0.7 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [min(max(number * step, low), high) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten from `low` to `high`, with 2 and 5 between on a short axis, even steps on a shorter one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1.0, 2.0, 5.0) if math.log10(high / low) <= DECADES_WITH_STEPS else (1.0,)
    every = max(1, math.ceil((last - first) / (TICK_COUNT + 1)))
    found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    found = [value for value in found if low * 0.999 <= value <= high * 1.001]
    if len(found) < 3 and high < 10 * low:
        return linear_ticks(low, high)
    return [min(max(value, low), high) for value in found] if len(found) > 1 else [low, high]


def format_ticks(values: list[float]) -> list[str]:
    """Return ticks in words, with as many digits as tell them apart."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest and (largest >= 1e6 or largest < 1e-3):
        return [format_number(value) for value in values]
    for digits in range(7):
        words = [f"{value:,.{digits}f}" for value in values]
        if all(math.isclose(float(w.replace(",", "")), v, abs_tol=1e-9) for w, v in zip(words, values, strict=True)):
            return words
    return [format_number(value) for value in values]


def format_number(value: float) -> str:
    """Return a number with four significant digits; `-` if it is not finite."""
    if not math.isfinite(value):
        return "-"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.4g}"
    return f"{value:.4g}"


def thin(values: Floats, limit: int) -> NDArray[np.intp]:
    """Return indices of at most about `limit` values that keep the shape of their line.

    The values are cut into equal pieces, and the smallest and the largest finite one of each are kept, with the first
    and the last of all.

    Parameters
    ----------
    values
        Shape (n,).
    limit
        At least 4.
    """
    count = len(values)
    if count <= limit:
        return np.arange(count)
    edges = np.linspace(0, count, limit // 2).astype(np.intp)
    kept = {0, count - 1}
    for first, last in pairwise(edges):
        piece = values[first:last]
        kept.add(int(first + np.argmin(np.where(np.isfinite(piece), piece, np.inf))))
        kept.add(int(first + np.argmax(np.where(np.isfinite(piece), piece, -np.inf))))
    return np.array(sorted(kept), dtype=np.intp)


def smooth(values: Floats, width: int) -> Floats:
    """Return the running mean over `width` values, centred, shorter at the ends, of the finite values only.

    Parameters
    ----------
    values
        Shape (n,).
    width
        At least 1.
    """
    if not len(values):
        return np.zeros(0)
    is_known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_known)])
    half, place = width // 2, np.arange(len(values))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    known = counts[last] - counts[first]
    mean: Floats = np.where(known > 0, (sums[last] - sums[first]) / np.maximum(known, 1), np.nan)
    return mean
