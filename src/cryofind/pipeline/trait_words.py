"""Figures of a tomogram's traits in plain words."""

from collections.abc import Iterable

import numpy as np

from cryofind.preprocess import traits

_SIDES = {"dark": "below", "bright": "above"}


def kind_of(trait: str) -> str:
    """Return what a trait is a number of: `spectrum`, `contrast` or `features`."""
    return trait if trait in {"spectrum", "features"} else "contrast"


def join_kinds(names: Iterable[str]) -> str:
    """Return of which kinds traits are: `spectrum, contrast and features`."""
    *first, last = dict.fromkeys(kind_of(name) for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def describe_outlier(
    trait: str, number: int, value: float, limits: tuple[float, float], spacing_angstrom: float
) -> str:
    """Return what is outside, where, by how much and in which unit.

    Parameters
    ----------
    trait, number
        A trait of `measure_traits` or `features`, and which of its numbers.
    value
        That number.
    limits
        Least and greatest of the tomograms that it is compared with.
    spacing_angstrom
        Voxel spacing at which it was measured.
    """
    least, greatest = limits
    if trait == "spectrum":
        low, high = (edge * spacing_angstrom for edge in traits.BAND_EDGES_VOXELS[number : number + 2])
        return f"power at {low:.0f}-{high:.0f} Angstrom is {_compare(value, least, greatest)}"
    if trait == "features":
        return (
            f"the features of the network are {_times(value - greatest)} times as far from their mean as in any of them"
        )
    cube = traits.GREY_CUBES_VOXELS[number]
    where = "grey values" if cube == 1 else f"grey values averaged over {cube * spacing_angstrom:.0f} Angstrom"
    if trait == "skewness":
        return f"skewness of {where} is {value:.2f}, in them {least:.2f} to {greatest:.2f}"
    shown = np.exp([value, least, greatest])
    if trait == "kurtosis":
        return f"kurtosis of {where} is {shown[0]:.2f}, in them {shown[1]:.2f} to {shown[2]:.2f}"
    share, low, high = 100 * np.maximum(shown - traits.LEAST_SHARE, 0.0)
    limit = f"{traits.OUTLIER_DEVIATIONS:g} standard deviations {_SIDES[trait]} the mean"
    return f"the share of {where} {limit} is {share:.2f} %, in them {low:.2f} to {high:.2f} %"


def _compare(value: float, least: float, greatest: float) -> str:
    if value > greatest:
        return f"{_times(value - greatest)} times as high as in any of them"
    return f"{_times(least - value)} times lower than in any of them"


def _times(logarithm: float) -> str:
    ratio = float(np.exp(logarithm))
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
