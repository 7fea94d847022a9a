"""One simulated run, from a recipe to its tomograms: sample, microscope, reconstruction."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.cast import Cast
from cryofind.simulate.denoise import wiener_denoise
from cryofind.simulate.microscope import image_sample
from cryofind.simulate.recipe import SimulationRecipe
from cryofind.simulate.reconstruct import Reconstruction, reconstruct
from cryofind.simulate.sample import Sample, make_sample
from cryofind.types import Tomogram, VoxelGrid

Volume = NDArray[np.float32]
Denoise = Callable[[Volume, Volume], Volume]

# Raised when the same recipe and seed give other voxels or picks than before.
SIMULATOR_VERSION = 2


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """A run and its truth.

    Parameters
    ----------
    recipe
        What was drawn for it: a recipe without ranges.
    sample
        Density, labels and picks.
    tilt_series
        See `Reconstruction`.
    tomograms
        One for each flavour of the recipe, dark particles.
    """

    recipe: SimulationRecipe
    sample: Sample
    tilt_series: dict[str, list[float]]
    tomograms: tuple[Tomogram, ...]


def simulate_run(
    recipe: SimulationRecipe,
    cast: Cast,
    grid: VoxelGrid,
    *,
    run: str,
    seed: tuple[int, ...],
    denoise: Denoise | None = None,
) -> SimulatedRun:
    """Simulate one run.

    Parameters
    ----------
    recipe
        Ranges, from which the run's parameters are drawn.
    cast
        What may lie in the ice.
    grid
        Box and voxel spacing.
    run
        Name of the run.
    seed
        The same seed gives the same bytes on one machine.
    denoise
        Two half volumes -> the denoised one; None for the half-map Wiener filter of the recipe.
    """
    drawn, sample, volumes = simulate_volumes(recipe, cast, grid, run=run, seed=seed)
    tomograms = tuple(
        Tomogram(run, _finish(volumes, flavour, drawn, grid, denoise), grid, flavour)
        for flavour in drawn.output.flavours
    )
    return SimulatedRun(drawn, sample, volumes.tilt_series, tomograms)


def simulate_volumes(
    recipe: SimulationRecipe,
    cast: Cast,
    grid: VoxelGrid,
    *,
    run: str,
    seed: tuple[int, ...],
) -> tuple[SimulationRecipe, Sample, Reconstruction]:
    """Return what was drawn, the sample, and its reconstruction before denoising; parameters as in `simulate_run`."""
    # A stream for each stage, so that a change in one leaves the others as they are.
    draws, sampling, imaging, reconstructing = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    drawn = recipe.draw(draws)
    sample = make_sample(drawn, cast, grid, run=run, random=sampling)
    series = image_sample(sample.density_zyx, sample.thickness_angstrom_yx, grid, drawn.microscope, imaging)
    volumes = reconstruct(series, grid, drawn.reconstruction, drawn.output.flavours, reconstructing)
    return drawn, sample, volumes


def _finish(
    volumes: Reconstruction, flavour: str, recipe: SimulationRecipe, grid: VoxelGrid, denoise: Denoise | None
) -> Volume:
    if flavour != "denoised":
        return volumes.full[flavour]
    half_1, half_2 = volumes.halves
    if denoise is not None:
        return denoise(half_1, half_2)
    return wiener_denoise(
        half_1,
        half_2,
        grid.spacing_angstrom,
        strength=recipe.denoising.strength.value,
        detail=recipe.denoising.detail.value,
        residual=recipe.denoising.residual.value,
    )
