"""Location: probabilities of six species in memory to picks in memory.

The probabilities are made up: a Gaussian ball of random height at every true pick of a simulated tomogram, ten false
and mostly fainter ones for each, on a background of smoothed noise that stays near the floor of the locator.
"""

from typing import Any

import numpy as np
from materials import read_runs, simulate
from measuring import Case, interleave
from numpy.typing import NDArray
from options import Options, describe
from scipy.ndimage import gaussian_filter
from table import Line, format_spread

from cryofind import czii
from cryofind.config import LocateConfig
from cryofind.locate import find_picks
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, VoxelGrid

WITHIN_SECONDS = 0.3
FALSE_BALLS_PER_PICK = 10
BALL_SIGMA_FACTOR = 0.3  # of the particle's radius
NOISE_QUANTILE, NOISE_LEVEL = 0.999, 0.02  # one cell in a thousand lies above the floor by noise alone


def measure(options: Options) -> dict[str, Any]:
    """Return seconds and the number of candidates."""
    ((tomogram, truth),) = read_runs(simulate(options, options.shape_zyx))
    probabilities = make_probabilities(truth, tomogram.grid.coarsened(2))
    config = LocateConfig()

    def locate() -> Picks:
        return find_picks(probabilities, czii.OBJECTS, config, grid=tomogram.grid)

    return {
        "shape_zyx": list(tomogram.grid.shape_zyx),
        "true_picks": len(truth),
        "candidates": len(locate()),
        "cells_above_floor": [int(count) for count in (probabilities.probabilities > config.floor).sum((1, 2, 3))],
        "seconds": interleave({"locate": Case(locate, options.repeats, calls=3)})["locate"],
    }


def make_probabilities(truth: Picks, grid: VoxelGrid) -> ProbabilityVolume:
    random = np.random.default_rng(0)
    channels = [make_channel(truth.of_object(spec.name), spec, grid, random) for spec in czii.OBJECTS]
    return ProbabilityVolume("BENCHMARK", np.stack(channels), grid, czii.OBJECT_NAMES)


def make_channel(truth: Picks, spec: ParticleSpec, grid: VoxelGrid, random: np.random.Generator) -> NDArray[np.float32]:
    noise = gaussian_filter(random.standard_normal(grid.shape_zyx, dtype=np.float32), 1.0)
    noise *= NOISE_LEVEL / float(np.quantile(noise[::2, ::2, ::2], NOISE_QUANTILE))
    channel = np.maximum(noise, 0.0)
    true = grid.indices_from_positions(truth.positions_zyx_angstrom)
    false = random.uniform(0, 1, (FALSE_BALLS_PER_PICK * len(truth), 3)) * (np.array(grid.shape_zyx) - 1)
    heights = np.concatenate([random.uniform(0.3, 1.0, len(true)), random.beta(1.0, 6.0, len(false))])
    sigma = BALL_SIGMA_FACTOR * float(spec.radius_angstrom or 0) / grid.spacing_angstrom
    for centre_zyx, height in zip(np.concatenate([true, false]), heights, strict=True):
        add_ball(channel, centre_zyx, float(height), sigma)
    return channel


def add_ball(channel: NDArray[np.float32], centre_zyx: NDArray[np.float64], height: float, sigma: float) -> None:
    """Raise the cells around a centre to a Gaussian of that height, where they are lower."""
    reach = int(np.ceil(4 * sigma))
    start = np.maximum(np.rint(centre_zyx).astype(int) - reach, 0)
    stop = np.minimum(np.rint(centre_zyx).astype(int) + reach + 1, channel.shape)
    if (stop <= start).any():
        return
    box = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
    axes = np.ogrid[box]
    squared = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre_zyx, strict=True))
    np.maximum(channel[box], (height * np.exp(-squared / (2 * sigma**2))).astype(np.float32), out=channel[box])


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    seconds = result["seconds"]
    text = f"{format_spread(seconds, digits=3)}; {result['candidates']} candidates"
    what = f"location, six species, {describe(tuple(result['shape_zyx']))}"
    return [Line(what, f"<= {WITHIN_SECONDS:g} s", text, seconds["median"] <= WITHIN_SECONDS)]
