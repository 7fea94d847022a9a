"""Annotation as people make it: particles left out, and places that are not quite the middle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from sets import OpenSet, write_over

from cryofind.types import Picks, VoxelGrid

DELETED_SHARE = 0.3
JITTER_ANGSTROM = (5.0, 10.0)


def write_spoiled_project(opened: OpenSet, folder: Path, *, seed: int) -> Path:
    """Write a copick project with the tomograms of a set, which stay where they are, and spoiled picks of its own.

    The picks bear the name of the true ones, so that they hide these.

    Parameters
    ----------
    opened
        The set.
    folder
        Of the new project: a configuration and picks, no voxels.
    seed
        What is left out and moved depends on it and on the number of the run alone.

    Returns
    -------
    Path
        The configuration.
    """
    grids = {entry.run: entry.read_grid() for entry in opened.entries}
    spoiled = spoil_picks(opened.truth, grids, seed=seed)
    # Of all objects: one that lost all of its picks hides the true ones, too.
    return write_over(opened, folder, spoiled, names=opened.truth.object_names, objects=opened.project.objects)


def spoil_picks(truth: Picks, grids: Mapping[str, VoxelGrid], *, seed: int) -> Picks:
    """Return the picks of every run without `DELETED_SHARE` of them, the others moved by `JITTER_ANGSTROM`.

    The length of a move is uniform, its direction random; one that would leave the tomogram is mirrored back.
    """
    moved = []
    for number, (run, grid) in enumerate(grids.items()):
        random = np.random.default_rng((seed, number))
        rows = np.flatnonzero(truth.runs == run)
        kept = np.sort(random.permutation(rows)[: len(rows) - round(DELETED_SHARE * len(rows))])
        picks = truth.where(np.isin(np.arange(len(truth)), kept))
        directions = random.normal(size=(len(picks), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        steps = directions * random.uniform(*JITTER_ANGSTROM, size=(len(picks), 1))
        places = picks.positions_zyx_angstrom
        outside = (places + steps < 0) | (places + steps > np.array(grid.extent_zyx_angstrom))
        moved.append(replace(picks, positions_zyx_angstrom=places + np.where(outside, -steps, steps)))
    return Picks.concatenate(moved)
