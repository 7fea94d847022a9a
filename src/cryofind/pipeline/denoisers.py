"""The Noise2Noise network of a simulated project: trained on halves of its own recipe, then used by all its runs."""

from pathlib import Path

from cryofind.simulate import Cast, SimulationRecipe, simulate_volumes
from cryofind.simulate.run import Denoise
from cryofind.types import VoxelGrid

FOLDER = "denoiser"
TRAINING_RUNS = 3
TRAINING_SHAPE_ZYX = (96, 192, 192)


def prepare_denoiser(recipe: SimulationRecipe, cast: Cast, out: Path, *, seed: int) -> None:
    """Train the network of a recipe that denoises by `noise2noise`, unless it is there."""
    if not _is_wanted(recipe) or (out / FOLDER).is_dir():
        return
    from cryofind.train.noise2noise import train_denoiser  # loads torch

    grid = VoxelGrid.isotropic(TRAINING_SHAPE_ZYX, recipe.output.voxel_spacing_angstrom)
    pairs = []
    for number in range(TRAINING_RUNS):
        # Runs count from 1, and their seeds have two numbers: these are runs of their own.
        volumes = simulate_volumes(recipe, cast, grid, run=f"denoiser_{number}", seed=(seed, 0, number))[2]
        half_1, half_2 = volumes.halves
        pairs.append((half_1, half_2))
    # On the CPU, here and below: the same seed gives the same bytes.
    steps = recipe.denoising.noise2noise_steps
    train_denoiser(pairs, steps=steps, seed=seed, devices="cpu").save(out / FOLDER)


def load_denoise(recipe: SimulationRecipe, out: Path) -> Denoise | None:
    """Return the function that a run is denoised with; None for the Wiener filter."""
    if not _is_wanted(recipe):
        return None
    from cryofind.models.denoiser import load_denoiser
    from cryofind.predict.denoise import denoise_volume

    denoiser = load_denoiser(out / FOLDER)
    return lambda half_1, half_2: denoise_volume(denoiser, half_1, half_2, device="cpu")


def _is_wanted(recipe: SimulationRecipe) -> bool:
    return "denoised" in recipe.output.flavours and recipe.denoising.method == "noise2noise"
