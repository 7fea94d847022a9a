"""Which candidates hit which references."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.coordinates import xyz_from_zyx
from cryofind.errors import PicksError, advise_known_names
from cryofind.types import ParticleSpec, Picks, find_spec

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DEFAULT_CONFIG = ScoreConfig()

# Match radius in particle radii: the challenge's, and the default of octopi's evaluator.
DISTANCE_FACTORS = {"kaggle": czii.MATCH_RADIUS_FACTOR, "one-to-one": czii.MATCH_RADIUS_FACTOR, "octopi": 0.8}


@dataclass(frozen=True, eq=False)
class ObjectMatches:
    """Candidates and references of one object over all runs, and which lie in reach of each other.

    Parameters
    ----------
    candidate_rows
        Rows of the N candidates in the table of candidates.
    reference_rows
        Rows of the M references in the truth.
    scores
        Scores of the candidates, shape (N,).
    pairs
        Shape (P, 2): index among the candidates (0 to N - 1) and among the references (0 to M - 1). All pairs in
        reach in modes `kaggle` and `octopi`; the assigned ones in mode `one-to-one`.
    distances_angstrom
        Distance of every pair, shape (P,).
    """

    candidate_rows: Ints
    reference_rows: Ints
    scores: Floats
    pairs: Ints
    distances_angstrom: Floats

    @property
    def reference_count(self) -> int:
        """Number of references, hit or missed."""
        return len(self.reference_rows)

    @property
    def candidate_is_hit(self) -> NDArray[np.bool_]:
        """Whether each candidate has a reference in its reach, shape (N,)."""
        is_hit = np.zeros(len(self.candidate_rows), bool)
        is_hit[self.pairs[:, 0]] = True
        return is_hit

    @property
    def reference_is_hit(self) -> NDArray[np.bool_]:
        """Whether each reference has a candidate in its reach, shape (M,)."""
        is_hit = np.zeros(len(self.reference_rows), bool)
        is_hit[self.pairs[:, 1]] = True
        return is_hit


Matches = dict[str, ObjectMatches]


def match_reach(spec: ParticleSpec, config: ScoreConfig) -> float:
    """Return how far from a particle of that kind a candidate may lie to hit it, Angstrom."""
    return spec.particle_radius_angstrom * (config.distance_factor or DISTANCE_FACTORS[config.mode])


def in_reach_rule(config: ScoreConfig) -> ScoreConfig:
    """Return the rule that pairs all that are in reach of each other: that of the mode, before any assignment."""
    return config.model_copy(update={"mode": "kaggle"}) if config.mode == "one-to-one" else config


def match_candidates(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    *,
    config: ScoreConfig = DEFAULT_CONFIG,
    runs: Sequence[str] | None = None,
) -> Matches:
    """Match every candidate, selected or not, with the references of its run and object.

    In reach means: at most (mode `octopi`: less than) `distance_factor` particle radii away. Mode `one-to-one`
    assigns so that as many as possible are matched, at the least total distance.

    Parameters
    ----------
    candidates, truth
        Picks of any number of runs and objects.
    specs
        The objects, with their radii.
    config
        Mode and match radius.
    runs
        Runs that count; those of the truth when None. Rows of other runs are left out.

    Returns
    -------
    dict of str to ObjectMatches
        Every object that occurs in the candidates or the truth, in the order of the specs.

    Raises
    ------
    PicksError
        If a candidate of these runs is of an unknown object, or (but for mode `octopi`) the truth has two picks of
        one run at the same place.
    ConfigError
        If an object of the truth is not among the specs.
    """
    counted_runs = truth.run_names if runs is None else tuple(runs)
    candidate_rows = np.flatnonzero(np.isin(candidates.runs, counted_runs))
    truth_rows = np.flatnonzero(np.isin(truth.runs, counted_runs))
    counted_truth = truth.where(truth_rows)
    for name in counted_truth.object_names:
        find_spec(specs, name)
    _check_known(candidates.where(candidate_rows), specs)
    if config.mode != "octopi":
        _check_distinct(counted_truth)
    matches = {}
    for spec in specs:
        of_candidates = candidate_rows[candidates.objects[candidate_rows] == spec.name]
        of_truth = truth_rows[truth.objects[truth_rows] == spec.name]
        if len(of_candidates) or len(of_truth):
            matches[spec.name] = _match_object(candidates, truth, of_candidates, of_truth, spec, config)
    return matches


def _check_known(candidates: Picks, specs: Sequence[ParticleSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in candidates.object_names:
        if name not in known:
            row = int(np.flatnonzero(candidates.objects == name)[0])
            subject = f"predictions of run '{candidates.runs[row]}': object"
            raise PicksError(subject, f"'{name}' is not one of the objects", advise_known_names(name, known))


def _check_distinct(truth: Picks) -> None:
    seen: dict[tuple[str, bytes], int] = {}
    for row, (run, position) in enumerate(zip(truth.runs, truth.positions_zyx_angstrom + 0.0, strict=True)):
        first = seen.setdefault((str(run), position.tobytes()), row)
        if first != row:
            x, y, z = xyz_from_zyx(position)
            problem = f"{truth.objects[first]} and {truth.objects[row]} both lie at x, y, z = {x:g}, {y:g}, {z:g}"
            raise PicksError(f"truth of run '{run}'", problem, "remove one of the two")


def _match_object(
    candidates: Picks, truth: Picks, candidate_rows: Ints, truth_rows: Ints, spec: ParticleSpec, config: ScoreConfig
) -> ObjectMatches:
    radius_angstrom = match_reach(spec, config)
    found_pairs, found_distances = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    candidates_by_run = _group(candidates.runs[candidate_rows])
    for run, of_truth in sorted(_group(truth.runs[truth_rows]).items()):
        of_candidates = candidates_by_run.get(run, np.zeros(0, np.int64))
        pairs, distances = find_pairs_in_reach(
            candidates.positions_zyx_angstrom[candidate_rows[of_candidates]],
            truth.positions_zyx_angstrom[truth_rows[of_truth]],
            radius_angstrom,
        )
        if config.mode == "octopi":
            pairs, distances = pairs[distances < radius_angstrom], distances[distances < radius_angstrom]
        elif config.mode == "one-to-one":
            assigned = _assign(pairs, distances)
            pairs, distances = pairs[assigned], distances[assigned]
        found_pairs.append(np.stack([of_candidates[pairs[:, 0]], of_truth[pairs[:, 1]]], axis=1))
        found_distances.append(distances)
    return ObjectMatches(
        candidate_rows,
        truth_rows,
        candidates.scores[candidate_rows],
        np.concatenate(found_pairs),
        np.concatenate(found_distances),
    )


def _group(names: NDArray[np.str_]) -> dict[str, Ints]:
    """Return the rows of every name, ascending."""
    distinct, codes = np.unique(names, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(distinct)))
    return dict(zip(distinct.tolist(), np.split(order, ends[:-1]), strict=True)) if len(distinct) else {}


def find_pairs_in_reach(
    candidates_zyx_angstrom: Floats, references_zyx_angstrom: Floats, radius_angstrom: float
) -> tuple[Ints, Floats]:
    """Return all pairs (P, 2) of candidate and reference at most the radius apart, and their distances (P,)."""
    if not len(candidates_zyx_angstrom) or not len(references_zyx_angstrom):
        return np.zeros((0, 2), np.int64), np.zeros(0)
    # The tree and the order x, y, z of the challenge's own code: its rounding decides at exactly one radius.
    candidates_xyz, references_xyz = xyz_from_zyx(candidates_zyx_angstrom), xyz_from_zyx(references_zyx_angstrom)
    in_reach = KDTree(references_xyz).query_ball_point(candidates_xyz, r=radius_angstrom, return_sorted=True)
    counts = [len(references) for references in in_reach]
    first = np.repeat(np.arange(len(counts)), counts)
    second = np.array([reference for references in in_reach for reference in references], dtype=np.int64)
    distances = np.linalg.norm(candidates_xyz[first] - references_xyz[second], axis=1)
    return np.stack([first, second], axis=1).astype(np.int64), distances


def _assign(pairs: Ints, distances: Floats) -> Ints:
    """Return the rows of `pairs` of the assignment with the most pairs and, of those, the least total distance.

    Each group of candidates and references that are linked by pairs is solved on its own: they are tiny.
    """
    if not len(pairs):
        return np.zeros(0, np.int64)
    group_of_pair = _group_linked(pairs)
    order = np.argsort(group_of_pair, kind="stable")
    starts = np.flatnonzero(np.diff(group_of_pair[order], prepend=-1))
    assigned = [rows[_assign_group(pairs[rows], distances[rows])] for rows in np.split(order, starts[1:])]
    return np.sort(np.concatenate(assigned))


def _group_linked(pairs: Ints) -> Ints:
    candidate_count, reference_count = pairs.max(axis=0) + 1
    size = candidate_count + reference_count
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], candidate_count + pairs[:, 1])), shape=(size, size))
    _, group_of_node = connected_components(links, directed=False)
    return np.asarray(group_of_node[pairs[:, 0]], dtype=np.int64)


def _assign_group(pairs: Ints, distances: Floats) -> Ints:
    from scipy.optimize import linear_sum_assignment  # a quarter of a second to import, and only this mode needs it

    _, rows = np.unique(pairs[:, 0], return_inverse=True)
    _, columns = np.unique(pairs[:, 1], return_inverse=True)
    row_count, column_count = rows.max() + 1, columns.max() + 1
    # One pair out of reach costs more than all pairs in reach together, so the number of matches comes first.
    out_of_reach = (distances.max() + 1.0) * (min(row_count, column_count) + 1)
    costs = np.full((row_count, column_count), out_of_reach)
    costs[rows, columns] = distances
    pair_at = np.full((row_count, column_count), -1)
    pair_at[rows, columns] = np.arange(len(pairs))
    chosen = pair_at[linear_sum_assignment(costs)]
    return np.asarray(chosen[chosen >= 0], dtype=np.int64)
