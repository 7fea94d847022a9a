"""Whether failures gather in one place by chance: the exact test of Mantel and Haenszel."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# From this variance on the normal distribution stands in for the exact one: at 100 and a chance of one in a thousand
# it is right to within a half of that chance.
WIDE_VARIANCE = 100.0


def tail_probability(failures: Ints, counts: Ints, in_bin: Ints, failures_in_bin: int) -> float:
    """Return the chance of at least so many failures in a bin if failing has nothing to do with it.

    Given how many of each stratum fail, those that fail are any of them: their number in the bin is hypergeometric,
    and that of all strata a sum of such (the exact test of N. Mantel and W. Haenszel, J. Natl. Cancer Inst. 22, 719,
    1959). Where the sum is wide the normal distribution with a continuity correction stands in.

    Parameters
    ----------
    failures, counts, in_bin
        Of each stratum, shape (S,): how many fail, how many there are, how many of them are in the bin.
    failures_in_bin
        How many of the bin fail, over all strata.
    """
    lowest = np.maximum(0, in_bin + failures - counts)
    mean, variance = hypergeometric_moments(failures, counts, in_bin)
    if variance.sum() == 0:
        return 1.0 if failures_in_bin <= mean.sum() + 0.5 else 0.0
    if variance.sum() >= WIDE_VARIANCE:
        return float(ndtr(-(failures_in_bin - 0.5 - mean.sum()) / np.sqrt(variance.sum())))
    varied = variance > 0
    chances = _convolve_all(failures[varied], counts[varied], in_bin[varied])
    return float(np.clip(chances[max(0, failures_in_bin - int(lowest.sum())) :].sum(), 0.0, 1.0))


def hypergeometric_moments(failures: Ints, counts: Ints, in_bin: Ints) -> tuple[Floats, Floats]:
    """Return the mean and variance of the failures in a bin, by stratum; see `tail_probability`."""
    share = failures / counts
    spread = (counts - in_bin) / np.maximum(counts - 1, 1)
    return in_bin * share, in_bin * share * (1 - share) * spread


def _convolve_all(failures: Ints, counts: Ints, in_bin: Ints) -> Floats:
    """Return the chance of every possible number of failures in the bin over all strata, from the lowest on.

    Strata that are alike are taken together, by Fourier transform: its rounding is far below any chance that counts.
    """
    kinds, times = np.unique(np.stack([failures, counts, in_bin], axis=1), axis=0, return_counts=True)
    chances = [_hypergeometric(*kind) for kind in kinds.tolist()]
    length = 1 + sum(int(number) * (len(of_kind) - 1) for of_kind, number in zip(chances, times, strict=True))
    spectrum = np.ones(length // 2 + 1, np.complex128)
    for of_kind, number in zip(chances, times, strict=True):
        spectrum *= np.fft.rfft(of_kind, length) ** number
    return np.asarray(np.fft.irfft(spectrum, length), dtype=np.float64)


def _hypergeometric(failures: int, count: int, in_bin: int) -> Floats:
    """Return the chance of every possible number of failures in the bin, from the lowest on."""
    number = np.arange(max(0, in_bin + failures - count), min(in_bin, failures) + 1)
    ways = _log_choose(failures, number) + _log_choose(count - failures, in_bin - number)
    return np.asarray(np.exp(ways - _log_choose(count, np.array([in_bin]))))


def _log_choose(count: int, number: NDArray[np.integer]) -> Floats:
    return np.asarray(gammaln(count + 1) - gammaln(number + 1) - gammaln(count - number + 1))
