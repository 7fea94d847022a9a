"""Hard negatives: where a model saw particles and there are none, written as picks of an object of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from places import run_cryofind
from scipy.spatial import KDTree
from sets import OpenSet

from cryofind.io import write_copick_config, write_picks_overlay
from cryofind.locate import suppress_neighbours
from cryofind.pipeline.simulated_runs import TRUTH_SESSION, TRUTH_USER
from cryofind.types import ParticleSpec, Picks

DECOY_NAME, DECOY_RADIUS_ANGSTROM = "decoy", 60.0
MOST_PER_RUN = 40  # of 96 x 256 x 256 voxels: 460 in a tomogram of the challenge's size


def write_decoy_project(opened: OpenSet, model: str, folder: Path) -> Path:
    """Write a copick project with tomograms and picks of a set, and with decoys; return its configuration.

    Parameters
    ----------
    opened
        The set; its tomograms stay where they are.
    model
        Whose false candidates are taken.
    folder
        Of the new project. One that is there is kept.
    """
    config = folder / "copick.json"
    if config.is_file():
        return config
    found = folder / "candidates"
    runs = [part for run in opened.runs for part in ("--run", run)]
    run_cryofind("pick", opened.project.path, "--model", model, "--out", found, "--set", "locate.floor_factor=0", *runs)
    decoys = find_decoys(Picks.from_csv(found / "picks.csv"), opened.truth, opened.particles, opened.runs)
    spacings = {entry.run: entry.read_grid().spacing_angstrom for entry in opened.entries}
    name = {"user": TRUTH_USER, "session": TRUTH_SESSION}
    write_picks_overlay(folder, decoys, **name, voxel_spacings=spacings, runs=opened.runs, objects=(DECOY_NAME,))
    label = 1 + max(spec.label for spec in opened.project.objects)
    objects = [*opened.project.objects, ParticleSpec(DECOY_NAME, DECOY_RADIUS_ANGSTROM, label, score_weight=0.0)]
    static = opened.project.overlay_root
    write_copick_config(config, name="decoys", objects=objects, overlay_root=folder, static_root=static)
    return config


def find_decoys(candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], runs: Sequence[str]) -> Picks:
    """Return the best candidates of each run that lie on no particle of any kind, as picks of the decoy.

    None lies nearer to a true particle's middle than its radius, or to another decoy than a decoy's.
    """
    radii_angstrom = {spec.name: float(spec.radius_angstrom or 0.0) for spec in specs}
    found = []
    for run in runs:
        of_run = candidates.of_run(run)
        is_free = np.ones(len(of_run), bool)
        for name in radii_angstrom:
            places = truth.of_run(run).of_object(name).positions_zyx_angstrom
            if len(places):
                is_free &= KDTree(places).query(of_run.positions_zyx_angstrom)[0] > radii_angstrom[name]
        free = of_run.where(is_free)
        kept = suppress_neighbours(
            free.positions_zyx_angstrom,
            free.scores,
            np.zeros(len(free), np.int64),
            separations_angstrom=np.full((1, 1), DECOY_RADIUS_ANGSTROM),
        )[:MOST_PER_RUN]
        found.append(Picks.build(run, DECOY_NAME, free.positions_zyx_angstrom[kept]))
    return Picks.concatenate(found)
