"""Recall by circumstance: of particles in close pairs, in contact with another kind, cut off, and of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cryofind.config import ScoreConfig
from cryofind.errors import PicksError
from cryofind.scoring.match import DEFAULT_CONFIG, match_candidates
from cryofind.types import ParticleSpec, Picks, VoxelGrid, find_spec

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

# `close-pair`: another particle of its kind nearer than 1.3 diameters. `contact`: one of another kind nearer than the
# sum of their radii. `border`: nearer than one radius to a face of the box, or outside. `alone`: none of these. All
# distances are from centre to centre; a particle may be in several of the first three.
Circumstance = Literal["close-pair", "contact", "border", "alone"]
CIRCUMSTANCES: tuple[Circumstance, ...] = get_args(Circumstance)

CLOSE_PAIR_DIAMETERS = 1.3

# Of the standard normal distribution: 95 % lie within so many standard deviations.
NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class Recall:
    """How many references of one kind were found.

    Parameters
    ----------
    references
        Number of references.
    located
        Of these, how many any candidate hits, selected or not: the others were lost by network or location.
    hits
        How many a selected candidate hits: what `located` has more was lost by the threshold.
    """

    references: int
    located: int
    hits: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the recall; see `wilson_interval`."""
        return wilson_interval(self.hits, self.references)

    def __add__(self, other: "Recall") -> "Recall":
        """Return the recall of the references of both."""
        return Recall(self.references + other.references, self.located + other.located, self.hits + other.hits)


RecallTable = dict[str, dict[Circumstance, Recall]]


def recall_by_circumstance(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    grids: Mapping[str, VoxelGrid],
    *,
    config: ScoreConfig = DEFAULT_CONFIG,
) -> RecallTable:
    """Count the references that were found, by object and circumstance.

    Parameters
    ----------
    candidates
        Picks of the runs of the truth; those that are not selected count as located only.
    truth
        True picks of any number of runs.
    specs
        The objects, with their radii.
    grids
        Grid of each run's tomogram.
    config
        What a hit is: mode and match radius.

    Returns
    -------
    dict of str to dict of str to Recall
        For every object of the truth, in the order of the specs, all of `CIRCUMSTANCES`.

    Raises
    ------
    PicksError
        If a run of the truth has no grid, or as `match_candidates` says.
    ConfigError
        If an object of the truth is not among the specs.
    """
    circumstances = find_circumstances(truth, specs, grids)
    is_located = _find_hit(candidates, truth, specs, config)
    is_hit = _find_hit(candidates.only_selected(), truth, specs, config)
    return {
        spec.name: {
            circumstance: _count(mask & (truth.objects == spec.name), is_located, is_hit)
            for circumstance, mask in circumstances.items()
        }
        for spec in specs
        if spec.name in truth.object_names
    }


def find_circumstances(
    truth: Picks, specs: Sequence[ParticleSpec], grids: Mapping[str, VoxelGrid]
) -> dict[Circumstance, Mask]:
    """Say which references are in which circumstance.

    Parameters
    ----------
    truth
        True picks of any number of runs, N in all.
    specs
        The objects, with their radii.
    grids
        Grid of each run's tomogram.

    Returns
    -------
    dict of str to ndarray of shape (N,)
        A mask for each of `CIRCUMSTANCES`; every reference is in at least one of them.

    Raises
    ------
    PicksError
        If a run of the truth has no grid.
    ConfigError
        If an object of the truth is not among the specs, or has no radius.
    """
    radius_of = {name: find_spec(specs, name).particle_radius_angstrom for name in truth.object_names}
    radii_angstrom = np.array([radius_of[str(name)] for name in truth.objects])
    is_close, is_touched, is_cut = (np.zeros(len(truth), bool) for _ in range(3))
    for run in truth.run_names:
        if run not in grids:
            raise PicksError(f"truth of run '{run}'", "has no grid of a tomogram", "give the grid of every run")
        rows = np.flatnonzero(truth.runs == run)
        positions, radii, objects = truth.positions_zyx_angstrom[rows], radii_angstrom[rows], truth.objects[rows]
        is_close[rows], is_touched[rows] = _find_neighbours(positions, radii, objects)
        is_cut[rows] = [
            not grids[run].contains(position, margin_angstrom=radius)
            for position, radius in zip(positions, radii, strict=True)
        ]
    alone = ~(is_close | is_touched | is_cut)
    return {"close-pair": is_close, "contact": is_touched, "border": is_cut, "alone": alone}


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of which `hits` of `count` were seen; 0 to 1 when the count is 0.

    It holds for small counts and for shares of 0 and 1, where the usual one has no width (E. B. Wilson, J. Am. Stat.
    Assoc. 22, 209, 1927). Neighbours are taken to be found or lost independently, so of pairs it is a little narrow.

    Raises
    ------
    ValueError
        If `hits` is below 0 or above the count.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"hits must be 0 to {count}, found {hits}")
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, NORMAL_QUANTILE**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = NORMAL_QUANTILE / (1 + square / count) * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # At the ends the interval ends too, but for rounding.
    return 0.0 if hits == 0 else float(middle - half), 1.0 if hits == count else float(middle + half)


def _find_neighbours(positions: Floats, radii: Floats, objects: NDArray[np.str_]) -> tuple[Mask, Mask]:
    """Return which particles (N,) of a run have one of their kind, and one of another kind, too near."""
    # A contact is nearer than that too: no sum of two radii is above twice the largest.
    reach = 2 * CLOSE_PAIR_DIAMETERS * radii.max(initial=0.0)
    first, second = KDTree(positions).query_pairs(reach, output_type="ndarray").T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    is_same = objects[first] == objects[second]
    is_near = is_same & (distances < 2 * CLOSE_PAIR_DIAMETERS * radii[first])
    touches = ~is_same & (distances < radii[first] + radii[second])
    masks = np.zeros((2, len(positions)), bool)
    for mask, chosen in zip(masks, (is_near, touches), strict=True):
        mask[first[chosen]] = mask[second[chosen]] = True
    return masks[0], masks[1]


def _find_hit(candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], config: ScoreConfig) -> Mask:
    is_hit = np.zeros(len(truth), bool)
    for match in match_candidates(candidates, truth, specs, config=config).values():
        is_hit[match.reference_rows] = match.reference_is_hit
    return is_hit


def _count(is_counted: Mask, is_located: Mask, is_hit: Mask) -> Recall:
    counts = (np.count_nonzero(is_counted & mask) for mask in (True, is_located, is_hit))
    references, located, hits = (int(count) for count in counts)
    return Recall(references, located, hits)
