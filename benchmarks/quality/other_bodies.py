"""Bodies for the set `other-microscope`: fitted otherwise than the shipped ones, to maps that are first blurred.

python benchmarks/quality/other_bodies.py MAPS_FOLDER OUT_FOLDER

MAPS_FOLDER holds the maps of `recipes/fit_bodies.py`. Writes OUT_FOLDER/NAME.mrc for every species, and
OUT_FOLDER/other_microscope.toml, which names them: `cryofind simulate` fits beads of one mass to each on its own.
"""

import shutil
import sys
from pathlib import Path

from scipy import ndimage

from cryofind.io import write_mrc
from cryofind.types import Tomogram, VoxelGrid

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "recipes"))

import fit_bodies  # noqa: E402

RECIPE = HERE / "other_microscope.toml"
# As if the maps had a resolution of 15 Angstrom instead of 10.
BLUR_ANGSTROM = 5.0


def write_other_bodies(maps: Path, out: Path) -> Path:
    """Write the maps and the recipe; return the recipe's path."""
    out.mkdir(parents=True, exist_ok=True)
    for target in fit_bodies.TARGETS:
        if target.file is None:
            density, spacing = fit_bodies.build_amylase(), fit_bodies.AMYLASE_SPACING_ANGSTROM
        else:
            density, spacing = fit_bodies.read_map(maps, target)
        blurred = ndimage.gaussian_filter(density, BLUR_ANGSTROM / spacing).astype("float32")
        grid = VoxelGrid.isotropic(blurred.shape, spacing)
        write_mrc(out / f"{target.name}.mrc", Tomogram(target.name, blurred, grid))
    return Path(shutil.copy(RECIPE, out / RECIPE.name))


if __name__ == "__main__":
    print(write_other_bodies(Path(sys.argv[1]), Path(sys.argv[2])))
