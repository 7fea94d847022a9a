"""Derive the layout of the recipe `czii` from the challenge's picks, and compare the layouts that it then draws.

python recipes/derive_layout.py TRAIN_PICKS_CSV [NUMBER_OF_LAYOUTS]

TRAIN_PICKS_CSV has the columns experiment, particle_type, x, y, z (Angstrom), a row for each pick of the seven training
tomograms. The first table holds the numbers of `src/cryofind/simulate/recipes/czii.toml`, the second those of the layer
of ice, the third says how near the drawn layouts (280 of them unless told) come. Where a few rare particles stand
together at some distance, the first table sees nothing: the loose clustering and the least distances in the recipe were
set by the third one.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryofind.czii import OBJECTS, TOMOGRAM_GRID
from cryofind.simulate import load_body, load_recipe
from cryofind.simulate.layout import place_species
from cryofind.simulate.occupancy import Occupancy
from cryofind.simulate.slab import Slab

Floats = NDArray[np.float64]
Layout = dict[str, Floats]  # positions zyx, Angstrom, of each species

# Two particles are neighbours by intent within this many of the challenge's diameters.
CONTACT_DIAMETERS = 1.2
THICKNESS_PERCENTILES = (2, 98)


def main(picks_csv: Path, layouts: int = 280) -> None:
    """Print the three tables."""
    runs = read_layouts(picks_csv)
    write("species", "counts", "mean", "clustering of each run", "neighbour distance, 5-95 %")
    for spec in OBJECTS:
        positions = [run[spec.name] for run in runs.values()]
        counts = [len(some) for some in positions]
        contact = CONTACT_DIAMETERS * 2 * (spec.radius_angstrom or 0.0)
        clusterings = [estimate_clustering(run[spec.name], contact, fit_slab(run)[0]) for run in runs.values()]
        near = np.concatenate([some[some < contact] for some in map(nearest_distances, positions)])
        span = "-".join(f"{value:.0f}" for value in np.percentile(near, (5, 95))) if len(near) > 10 else "few"
        shares = " ".join(f"{value:.2f}" for value in clusterings)
        write(spec.name, f"{min(counts)}-{max(counts)}", f"{np.mean(counts):.1f}", shares, span)
    write("\nrun", "thickness 2-98 %", "offset of the middle", "tilt y", "tilt x")
    for name, run in runs.items():
        write(name, *(f"{value:.1f}" for value in fit_slab(run)))
    write("\nnearest of its kind", "real 5 %", "drawn 5 %", "real median", "drawn median")
    drawn = draw_layouts(layouts)
    for spec in OBJECTS:
        found, made = (
            np.percentile(np.concatenate([nearest_distances(run[spec.name]) for run in some]), (5, 50))
            for some in (runs.values(), drawn)
        )
        write(spec.name, *(f"{value:.0f}" for pair in zip(found, made, strict=True) for value in pair))


def read_layouts(picks_csv: Path) -> dict[str, Layout]:
    """Return the positions of every species of every run."""
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    with picks_csv.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["experiment"]][row["particle_type"]].append([float(row[axis]) for axis in "zyx"])
    return {run: {name: np.array(rows) for name, rows in kinds.items()} for run, kinds in sorted(found.items())}


def nearest_distances(positions_zyx_angstrom: Floats) -> Floats:
    """Return the distance of each position (N, 3) from the next one, Angstrom."""
    if len(positions_zyx_angstrom) < 2:
        return np.empty(0)
    return np.asarray(cKDTree(positions_zyx_angstrom).query(positions_zyx_angstrom, k=2)[0][:, 1])


def estimate_clustering(positions_zyx_angstrom: Floats, contact_angstrom: float, thickness_angstrom: float) -> float:
    """Return the probability with which particles were put beside an earlier one of their kind.

    If each of many particles is put beside one drawn evenly from those before it with probability p, the share that
    has no neighbour is (1 - p) times the mean over ranks u of u^p, which is (1 - p) / (1 + p). Neighbours by chance, in
    a layer filled at random and with no two nearer than half of the contact distance, are taken off first.
    """
    _, depth, width = TOMOGRAM_GRID.extent_zyx_angstrom
    shell = 4 / 3 * np.pi * (contact_angstrom**3 - (contact_angstrom / (2 * CONTACT_DIAMETERS)) ** 3)
    by_chance = 1 - float(np.exp(-len(positions_zyx_angstrom) / (depth * width * thickness_angstrom) * shell))
    share = float(np.mean(nearest_distances(positions_zyx_angstrom) < contact_angstrom))
    share = max(0.0, (share - by_chance) / (1 - by_chance))
    return share / (2 - share)


def fit_slab(run: Layout) -> tuple[float, float, float, float]:
    """Return the layer of the centres: thickness, offset from the middle of the box (Angstrom), tilts (degrees)."""
    middle = np.asarray(TOMOGRAM_GRID.extent_zyx_angstrom) / 2
    z, y, x = (np.concatenate(list(run.values())) - middle).T
    plane = np.stack([np.ones_like(y), y, x], axis=1)
    (offset, slope_y, slope_x), *_ = np.linalg.lstsq(plane, z, rcond=None)
    low, high = np.percentile(z - plane @ (offset, slope_y, slope_x), THICKNESS_PERCENTILES)
    tilt_y, tilt_x = np.degrees(np.arctan([slope_y, slope_x]))
    return float(high - low), float(offset), float(tilt_y), float(tilt_x)


def draw_layouts(count: int) -> list[Layout]:
    """Return layouts of the shipped recipe, in the box of the challenge."""
    recipe = load_recipe("czii")
    bodies = {name: load_body(kind.body or name) for name, kind in recipe.species.items()}
    layouts = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        drawn = recipe.draw(random)
        scaled = {name: body.scaled(drawn.species[name].size.value) for name, body in bodies.items()}
        slab = Slab.build(drawn.sample, TOMOGRAM_GRID)
        placements = place_species(scaled, drawn.species, drawn.sample, slab, Occupancy(TOMOGRAM_GRID), random)
        layouts.append({name: placed.positions_zyx_angstrom for name, placed in placements.items()})
    return layouts


def write(*cells: str) -> None:
    """Write one row of a table."""
    sys.stdout.write("  ".join(f"{cell:<22}" for cell in cells).rstrip() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
