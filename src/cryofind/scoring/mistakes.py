"""Whether picks that hit little would hit far more with other axes, another direction, or another unit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cryofind.config import ScoreConfig
from cryofind.scoring.match import in_reach_rule, match_candidates
from cryofind.scoring.rates import say_percent
from cryofind.types import ParticleSpec, Picks, VoxelGrid

Floats = NDArray[np.float64]

# It is looked for where less than this share of at least so many particles is found, and said where more is then.
LEAST_SHARE = 0.5
LEAST_PARTICLES = 10


def find_mistake(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    grids: Mapping[str, VoxelGrid],
    *,
    config: ScoreConfig,
    runs: Sequence[str],
) -> str:
    """Return a sentence on what turns most misses into hits; empty when there is no such thing.

    Tried are all orders of the axes, each axis in the other direction, and voxels in the place of Angstrom or the other
    way round; the latter two in runs whose grid is known.

    Parameters
    ----------
    candidates, truth
        The tables that are compared; of the first what is selected.
    specs
        The objects, with their radii.
    grids
        Grid of each run's tomogram, as far as known.
    config
        Mode and match radius.
    runs
        Runs that count.

    Raises
    ------
    PicksError, ConfigError
        As `match_candidates` says.
    """
    picks = candidates.where(candidates.selected & np.isin(candidates.runs, runs))
    particles = truth.where(np.isin(truth.runs, runs))
    as_they_are = _count_found(picks, particles, specs, config)
    if len(particles) < LEAST_PARTICLES or as_they_are >= LEAST_SHARE * len(particles):
        return ""
    found = {words: _count_found(moved, particles, specs, config) for words, moved in _transform(picks, grids)}
    best = max(found, key=lambda words: found[words])
    if found[best] < max(LEAST_SHARE * len(particles), 2 * as_they_are):
        return ""
    return (
        f"The picks hit {as_they_are} of {len(particles)} particles, and would hit {found[best]} "
        f"({say_percent(found[best] / len(particles))}) {best}: check how they were written."
    )


def _count_found(picks: Picks, particles: Picks, specs: Sequence[ParticleSpec], config: ScoreConfig) -> int:
    """Return how many particles have a pick of their kind in reach."""
    matches = match_candidates(picks, particles, specs, config=in_reach_rule(config))
    return sum(int(np.count_nonzero(match.reference_is_hit)) for match in matches.values())


def _transform(picks: Picks, grids: Mapping[str, VoxelGrid]) -> Iterator[tuple[str, Picks]]:
    """Yield the picks under each mistake undone, with words for it that follow "would hit 9"."""
    positions = picks.positions_zyx_angstrom
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            named = ", ".join("zyx"[axis] for axis in reversed(order))
            words = f"if their columns x, y, z were taken for {named}"
            yield words, replace(picks, positions_zyx_angstrom=positions[:, np.argsort(order)])
    extents = _by_run(picks, grids, lambda grid: np.array(grid.extent_zyx_angstrom))
    spacings = _by_run(picks, grids, lambda grid: np.array(grid.spacing_zyx_angstrom))
    for axis in range(3):
        mirrored = positions.copy()
        mirrored[:, axis] = extents[:, axis] - positions[:, axis]
        yield f"if {'zyx'[axis]} ran the other way", _keep_known(picks, mirrored)
    yield "if their coordinates were voxels", _keep_known(picks, positions * spacings)
    yield "if the truth's coordinates were voxels", _keep_known(picks, positions / spacings)


def _by_run(picks: Picks, grids: Mapping[str, VoxelGrid], measure: Callable[[VoxelGrid], Floats]) -> Floats:
    """Return a triple of each pick's grid, shape (N, 3); NaN where the grid is not known."""
    values = {run: measure(grids[run]) if run in grids else np.full(3, np.nan) for run in picks.run_names}
    return np.array([values[run] for run in picks.runs.tolist()]).reshape(-1, 3)


def _keep_known(picks: Picks, positions_zyx_angstrom: Floats) -> Picks:
    known = np.asarray(np.isfinite(positions_zyx_angstrom).all(axis=1))
    return replace(picks.where(known), positions_zyx_angstrom=positions_zyx_angstrom[known])
