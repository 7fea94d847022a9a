"""What `cryofind simulate --like` finds on a tomogram whose parameters are known: EXT_1 `wbp`; no picks are used.

Prints what was measured and fitted beside what is known of it. EXT_1 comes from another generator (`external/` in the
reference data), so not all of its parameters exist here.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measures import find_reference_data

from cryofind import czii
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.simulate_like import LikeRequest, save_fitted_recipe
from cryofind.simulate import Range, SimulationRecipe, load_recipe

# From the reference data's README: particles and distractors in 320 x 320 voxels of 10 Angstrom, dose, constant.
PARTICLES = {
    "apo-ferritin": 42,
    "beta-galactosidase": 28,
    "ribosome": 22,
    "thyroglobulin": 27,
    "virus-like-particle": 10,
}
DISTRACTORS = 640
SIDE_ANGSTROM = 3200.0
DOSE_ELECTRONS_PER_SQUARE_ANGSTROM = 57.0
START = "czii"


@dataclass(frozen=True)
class Row:
    name: str
    found: str
    known: str


def known_crowding(start: SimulationRecipe) -> dict[str, float]:
    """Return, for every species, how many times as many there are for an area as in the starting recipe."""
    _, depth, width = czii.TOMOGRAM_GRID.extent_zyx_angstrom
    areas = depth * width / SIDE_ANGSTROM**2
    middle = {name: (species.count.low + species.count.high) / 2 for name, species in start.species.items()}
    return {name: count * areas / middle[name] for name, count in PARTICLES.items()}


def compare(start: SimulationRecipe, fitted: SimulationRecipe) -> list[Row]:
    microscope, sample, surroundings = fitted.microscope, fitted.sample, fitted.surroundings
    crowding = known_crowding(start)
    _, depth, width = czii.TOMOGRAM_GRID.extent_zyx_angstrom
    distractors = DISTRACTORS * depth * width / SIDE_ANGSTROM**2
    potential = start.microscope.protein_potential_volts
    return [
        Row("highest tilt, degrees", f"{microscope.tilt_maximum_degrees.value:g}", "45"),
        Row("tilt step, degrees", f"{microscope.tilt_step_degrees.value:g}", "3 (31 tilts)"),
        Row("flavour", ", ".join(fitted.output.flavours), "CTF deconvolved, before the half-map filter"),
        Row("deconvolution constant", show(fitted.reconstruction.deconvolution_constant), "0.002"),
        Row("protein potential at 57 e/A2, V", show(microscope.protein_potential_volts), f"physics: {show(potential)}"),
        Row("defocus, micrometre", show(microscope.defocus_micrometre), "not published"),
        Row("ice, Angstrom", show(sample.slab_thickness_angstrom), "not published; box 1200"),
        Row(
            "crowding",
            show(sample.crowding),
            ", ".join(f"{value:.1f} {name}" for name, value in crowding.items()),
        ),
        Row("distractors, for a challenge volume", show(surroundings.distractor_count), f"{distractors:.0f}"),
        Row("albumin, mg/ml", show(surroundings.albumin_milligram_per_millilitre), "a crowd, its amount not published"),
        Row("shift error, Angstrom", show(microscope.shift_error_angstrom), "not published"),
    ]


def show(found: Range) -> str:
    return f"{found.low:.4g}" if found.low == found.high else f"{found.low:.4g} to {found.high:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tomogram", default="wbp", help="wbp, filtered or denoised")
    parser.add_argument("--save-recipe", type=Path, help="keep the fitted recipe")
    arguments = parser.parse_args()
    settings = (f"microscope.total_dose_electrons_per_square_angstrom={DOSE_ELECTRONS_PER_SQUARE_ANGSTROM}",)
    like = LikeRequest(
        (find_reference_data() / "external" / "copick.json",),
        InputSelection(tomogram_uri=arguments.tomogram),
        START,
        settings,
        simulations=arguments.simulations,
        seed=arguments.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.save_recipe or Path(folder) / "like.toml"
        started = time.perf_counter()
        print(*save_fitted_recipe(like, path)[:-1], sep="\n")
        print(f"\n{time.perf_counter() - started:.0f} s\n")
        rows = compare(load_recipe(START, settings), load_recipe(path))
    for row in (Row("", "found", "known"), *rows):
        print(f"{row.name:<38} {row.found:<18} {row.known}")


if __name__ == "__main__":
    main()
