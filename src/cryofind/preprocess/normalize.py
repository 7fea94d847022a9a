"""Grey values to zero mean and unit spread, whatever number type, scale or damage they come with."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import PreprocessConfig
from cryofind.errors import TomogramError
from cryofind.preprocess.pieces import Piece, map_pieces

logger = logging.getLogger("cryofind")

Float32s = NDArray[np.float32]
Numbers = NDArray[Any]  # any real number type; Tomogram has checked it

NOTHING_TO_FIND = "all voxels are equal, so nothing can be found"
# The median absolute deviation of a normal distribution is 1 / 1.4826 of its standard deviation.
MAD_TO_STANDARD_DEVIATION = 1.4826
# Below this many voxels a strided sample says too little, so the stride is shortened.
MIN_SAMPLE_VOXELS = 100_000
# Values whose spread leaves this range are scaled in float64, where float32 would overflow or lose digits.
_FLOAT32_SAFE_SCALE = (1e-30, 1e30)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class GreyScale:
    """How grey values become network input: `(clip(value, low, high) - center) / scale`.

    Parameters
    ----------
    center, scale
        In the units of the volume; a scale of 0 stands for a constant volume.
    low, high
        Clipping limits in the units of the volume, infinite for none.
    """

    center: float
    scale: float
    low: float = -np.inf
    high: float = np.inf


def normalize_volume(volume_zyx: Numbers, config: PreprocessConfig, *, subject: str = "tomogram") -> Float32s:
    """Return a volume as contiguous float32 of about zero mean and unit spread.

    Statistics come from every `config.statistics_stride`-th voxel along each axis (fewer are skipped in small
    volumes). The volume is converted piece by piece, so that no second copy of it is held in a wider number type.

    Parameters
    ----------
    volume_zyx
        Real array (z, y, x) of any number type and byte order; may be memory-mapped and read-only.
    config
        `normalization`: `zscore` takes mean and standard deviation; `percentile` clips to `clip_percentiles` and
        takes mean and standard deviation of the clipped values; `robust` clips likewise and takes the median and
        the median absolute deviation x 1.4826.
    subject
        What to call the volume in messages.

    Returns
    -------
    ndarray of shape (z, y, x), float32
        Zeros if all voxels are equal.

    Raises
    ------
    TomogramError
        If more than `config.max_nonfinite_fraction` of the voxels are NaN or infinite.

    Notes
    -----
    What had to be mended (voxels replaced by the median, a constant volume) is logged as a warning.
    """
    filled, fill_notes = fill_nonfinite(volume_zyx, config, subject=subject)
    normalized, notes = normalize_finite(filled, config)
    for note in fill_notes + notes:
        logger.warning("%s: %s", subject, note)
    return normalized


def normalize_finite(
    volume_zyx: Numbers, config: PreprocessConfig, *, may_overwrite: bool = False
) -> tuple[Float32s, tuple[str, ...]]:
    """Return a volume without NaN or infinity as float32 (see `normalize_volume`), and notes on what was odd.

    With `may_overwrite` the result takes the place of the given volume if that is writable and of the right kind.
    """
    grey_scale, notes = measure_grey_scale(volume_zyx, config)
    if grey_scale.scale == 0.0:
        return np.zeros(volume_zyx.shape, np.float32), (*notes, NOTHING_TO_FIND)
    return apply_grey_scale(volume_zyx, grey_scale, may_overwrite=may_overwrite), notes


def fill_nonfinite(
    volume_zyx: Numbers, config: PreprocessConfig, *, subject: str = "tomogram"
) -> tuple[Numbers, tuple[str, ...]]:
    """Return the volume with NaN and infinite voxels replaced by the median, and a note if there were any.

    A volume without such voxels is returned as it is, without a copy. Values beyond the range of float32 count as
    infinite.

    Raises
    ------
    TomogramError
        If their share is above `config.max_nonfinite_fraction`.
    """
    count = count_unusable(volume_zyx)
    notes = judge_unusable(count, volume_zyx.size, config, subject=subject)
    if count == 0:
        return volume_zyx, ()
    sample = take_sample(volume_zyx, config.statistics_stride)
    if sample.size == 0:
        sample = take_sample(volume_zyx, 1)
    return replace_unusable(volume_zyx, median_of(sample)), notes


def count_unusable(volume_zyx: Numbers) -> int:
    """Return how many voxels are NaN, infinite or beyond the range of float32."""
    if not np.issubdtype(volume_zyx.dtype, np.floating):
        return 0
    return sum(map_pieces(volume_zyx.shape, lambda piece: _count_unusable(volume_zyx[piece])))


def judge_unusable(count: int, size: int, config: PreprocessConfig, *, subject: str) -> tuple[str, ...]:
    """Return a note on that many unusable voxels of a volume of that size, if there are any.

    Raises
    ------
    TomogramError
        If their share is above `config.max_nonfinite_fraction`.
    """
    if count == 0:
        return ()
    share = count / size
    if share > config.max_nonfinite_fraction:
        raise TomogramError(
            subject,
            f"{count} of {size} voxels ({share:.2g} of all) are NaN, infinite or beyond float32, at most "
            f"{config.max_nonfinite_fraction:g} of all are accepted",
            "reconstruct it anew, or set preprocess.max_nonfinite_fraction to replace them by the median",
        )
    return (f"{count} voxels ({share:.2g} of all) were NaN or infinite and became the median",)


def median_of(sample: NDArray[np.float64]) -> float:
    """Return the median of a sample of finite values, 0 if there are none."""
    return float(np.median(sample)) if sample.size else 0.0


def replace_unusable(volume_zyx: Numbers, median: float) -> Numbers:
    """Return a copy of the volume in which voxels that are NaN, infinite or beyond float32 have that value."""
    filled = np.array(volume_zyx, dtype=volume_zyx.dtype.newbyteorder("="))
    for plane in filled:
        plane[~_is_usable(plane)] = median
    return filled


def measure_grey_scale(volume_zyx: Numbers, config: PreprocessConfig) -> tuple[GreyScale, tuple[str, ...]]:
    """Return the grey scale of a finite volume, and a note if the asked-for statistics did not serve."""
    sample = take_sample(volume_zyx, config.statistics_stride)
    if sample.min() == sample.max():
        sample = take_sample(volume_zyx, 1)
    if config.normalization == "zscore":
        return _scale_by_deviation(sample), ()
    limits = np.percentile(sample, config.clip_percentiles)
    clipped = np.clip(sample, *limits)
    robust = config.normalization == "robust"
    grey_scale = _scale_by_median(clipped) if robust else _scale_by_deviation(clipped)
    if grey_scale.scale == 0.0 and sample.min() < sample.max():
        return _scale_by_deviation(sample), ("most voxels are equal: mean and standard deviation without clipping",)
    return GreyScale(grey_scale.center, grey_scale.scale, float(limits[0]), float(limits[1])), ()


def apply_grey_scale(volume_zyx: Numbers, grey_scale: GreyScale, *, may_overwrite: bool = False) -> Float32s:
    """Return the volume as contiguous float32 on that grey scale (scale > 0), converted piece by piece.

    With `may_overwrite` a writable, contiguous float32 volume is itself changed and returned.
    """
    takes_place = may_overwrite and volume_zyx.dtype == np.float32 and volume_zyx.flags.carray
    normalized = volume_zyx if takes_place else np.empty(volume_zyx.shape, np.float32)
    working_type = _working_type(volume_zyx.dtype, grey_scale.scale)

    def convert(piece: Piece) -> None:
        _convert(volume_zyx[piece], normalized[piece], grey_scale, working_type)

    map_pieces(volume_zyx.shape, convert)
    return normalized


def _convert(values: Numbers, out: Float32s, grey_scale: GreyScale, working_type: np.dtype[Any]) -> None:
    # In place where the result's type will do: each step then finds its values in the cache.
    scaled = out if working_type == out.dtype else np.empty(out.shape, working_type)
    if np.isfinite(grey_scale.low):
        np.clip(values.astype(working_type, copy=False), grey_scale.low, grey_scale.high, out=scaled)
        values = scaled
    np.subtract(values, working_type.type(grey_scale.center), out=scaled, dtype=working_type)
    np.divide(scaled, working_type.type(grey_scale.scale), out=out, casting="same_kind")


def take_sample(volume_zyx: Numbers, stride: int) -> NDArray[np.float64]:
    """Return the finite ones of every `stride`-th voxel along each axis, flat, float64.

    The stride is shortened where the volume is so small that less than 100 000 voxels would remain.
    """
    stride = shorten_stride(volume_zyx.size, stride)
    sample = volume_zyx[::stride, ::stride, ::stride].astype(np.float64).ravel()
    return sample[np.abs(sample) <= _FLOAT32_MAX]


def shorten_stride(size: int, stride: int) -> int:
    """Return the stride, shortened where a volume of so many voxels would give less than 100 000 of them."""
    while stride > 1 and size < MIN_SAMPLE_VOXELS * stride**3:
        stride -= 1
    return stride


def _scale_by_deviation(sample: NDArray[np.float64]) -> GreyScale:
    center = float(sample.mean())
    deviations = np.abs(sample - center)
    largest = float(deviations.max())
    if sample.min() == sample.max() or largest == 0.0:
        return GreyScale(center, 0.0)
    # Relative to the largest, lest the squares of tiny values underflow.
    return GreyScale(center, largest * float(np.sqrt(np.mean((deviations / largest) ** 2))))


def _scale_by_median(sample: NDArray[np.float64]) -> GreyScale:
    center = float(np.median(sample))
    return GreyScale(center, MAD_TO_STANDARD_DEVIATION * float(np.median(np.abs(sample - center))))


def _working_type(dtype: np.dtype[Any], scale: float) -> np.dtype[Any]:
    smallest, largest = _FLOAT32_SAFE_SCALE
    at_least = np.float32 if smallest < scale < largest else np.float64
    return np.result_type(dtype.newbyteorder("="), at_least)


def _count_unusable(values: Numbers) -> int:
    return values.size - int(np.count_nonzero(_is_usable(values)))


def _is_usable(values: Numbers) -> NDArray[np.bool_]:
    if values.dtype.itemsize <= 4:
        return np.isfinite(values)
    return np.asarray(np.abs(values) <= _FLOAT32_MAX)
