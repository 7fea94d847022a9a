"""The verdict on every pick and on every true particle, with what lies nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cryofind.config import ScoreConfig
from cryofind.scoring.match import Matches, in_reach_rule, match_candidates, match_reach
from cryofind.scoring.neighbours import Pairs, RunSpace, find_nearest, find_pairs
from cryofind.types import ParticleSpec, Picks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]

MATCHED, FALSE, MISSED, UNJUDGED = "matched", "false", "missed", ""

# Why a pick is false. `duplicate`: in reach of a particle of its kind that a better pick has. `confused`: in reach of
# a particle of another kind (in that one's reach). `background`: neither.
FalseCause = Literal["duplicate", "confused", "background"]
# Why a particle was missed. `threshold`: a candidate of its kind in reach was not selected. `shared`: the pick in its
# reach was assigned to a neighbour (mode `one-to-one` only). `confused`: a selected pick of another kind is in its
# reach. `absent`: none of these.
MissedCause = Literal["threshold", "shared", "confused", "absent"]
FALSE_CAUSES: tuple[FalseCause, ...] = get_args(FalseCause)
MISSED_CAUSES: tuple[MissedCause, ...] = get_args(MissedCause)


@dataclass(frozen=True, eq=False)
class PickVerdicts:
    """How every candidate compares with the truth; a row for each row of the candidates, shape (N,).

    Parameters
    ----------
    verdicts
        `matched`, `false`, or empty for a candidate whose run or object is not scored. A selected candidate is matched
        if the scorer counts it as a hit; of several that hit one particle the best-scored one is (mode `octopi`: all
        are). One that is not selected is matched if it would find a particle that was missed. (In mode `kaggle` a pick
        that hits two particles makes up for a false one: the scorer's false positives are then fewer.)
    causes
        Of those that are false, one of `FALSE_CAUSES`; else empty.
    nearest_truths
        Row of the nearest true particle of the run, of any object; -1 if there is none.
    nearest_distances_angstrom
        Its distance, Angstrom; infinite if there is none.
    hit_truths
        Row of the particle that a matched candidate is counted for (of several the nearest); else -1.
    confused_with
        Row of the nearest true particle of another kind in whose reach it lies; -1 if there is none.
    """

    verdicts: Names
    causes: Names
    nearest_truths: Ints
    nearest_distances_angstrom: Floats
    hit_truths: Ints
    confused_with: Ints


@dataclass(frozen=True, eq=False)
class TruthVerdicts:
    """What became of every true particle; a row for each row of the truth, shape (M,).

    Parameters
    ----------
    verdicts
        `matched`, `missed`, or empty for a particle whose run is not scored.
    causes
        Of those that were missed, one of `MISSED_CAUSES`; else empty.
    nearest_candidates
        Row of the nearest candidate of the run, of any object, selected or not; -1 if there is none.
    nearest_distances_angstrom
        Its distance, Angstrom; infinite if there is none.
    """

    verdicts: Names
    causes: Names
    nearest_candidates: Ints
    nearest_distances_angstrom: Floats


def judge(
    candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], config: ScoreConfig, runs: Sequence[str]
) -> tuple[PickVerdicts, TruthVerdicts]:
    """Judge every candidate and every true particle by the scorer's rule.

    Parameters
    ----------
    candidates, truth
        Picks of any number of runs; all rows of the truth count.
    specs
        The objects, with their radii. As in the score, candidates of objects without a true particle are not judged.
    config
        Mode and match radius.
    runs
        Runs that count.

    Raises
    ------
    PicksError, ConfigError
        As `match_candidates` says.
    """
    is_true = np.isin(truth.runs, runs)
    is_scored = np.isin(candidates.runs, runs) & np.isin(candidates.objects, truth.where(is_true).object_names)
    reached = _pair(match_candidates(candidates, truth, specs, config=in_reach_rule(config), runs=runs))
    counted = _find_counted(candidates, truth, specs, config, runs, reached)
    is_found = np.zeros(len(truth), bool)
    is_found[counted.truths] = True
    spare = reached.where(~candidates.selected[reached.candidates] & ~is_found[reached.truths])
    hit_truths = _first_truths(len(candidates), counted, _best_of_each(spare, candidates.scores))
    reach = max((match_reach(spec, config) for spec in specs if spec.is_particle), default=0.0)
    space = RunSpace.around(candidates, truth, reach_angstrom=reach)
    confused = _find_confused(find_pairs(space, candidates, truth, reach), candidates, truth, specs, config)
    picks = _judge_picks(find_nearest(space, candidates, truth), is_scored, hit_truths, reached, confused)
    nearest = find_nearest(space, truth, candidates)
    return picks, _judge_truths(nearest, is_true, is_found, reached, confused, candidates.selected)


def _pair(matches: Matches) -> Pairs:
    """Return the pairs of all objects by the rows of their tables."""
    parts = [
        (match.candidate_rows[match.pairs[:, 0]], match.reference_rows[match.pairs[:, 1]], match.distances_angstrom)
        for match in matches.values()
    ]
    none = np.zeros(0, np.int64)
    first, second, distances = zip((none, none, np.zeros(0)), *parts, strict=True)
    return Pairs(np.concatenate(first), np.concatenate(second), np.concatenate(distances))


def _find_counted(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    config: ScoreConfig,
    runs: Sequence[str],
    reached: Pairs,
) -> Pairs:
    """Return the pairs that the scorer counts as hits of the selected picks."""
    if config.mode == "one-to-one":
        selected = np.flatnonzero(candidates.selected)
        assigned = _pair(match_candidates(candidates.where(selected), truth, specs, config=config, runs=runs))
        return Pairs(selected[assigned.candidates], assigned.truths, assigned.distances)
    of_selected = reached.where(candidates.selected[reached.candidates])
    return of_selected if config.mode == "octopi" else _best_of_each(of_selected, candidates.scores)


def _first_truths(count: int, *tables: Pairs) -> Ints:
    """Return for each of `count` candidates the nearest particle that it is paired with; -1 for none."""
    rows = np.full(count, -1, np.int64)
    for pairs in tables:
        ordered = pairs.where(np.lexsort((pairs.truths, pairs.distances, pairs.candidates)))
        firsts = ordered.where(np.diff(ordered.candidates, prepend=-1) != 0)
        rows[firsts.candidates] = firsts.truths
    return rows


def _best_of_each(pairs: Pairs, scores: Floats) -> Pairs:
    """Return the pair of every particle with its best candidate: of the highest score, then the nearest."""
    order = np.lexsort((pairs.candidates, pairs.distances, -scores[pairs.candidates], pairs.truths))
    ordered = pairs.where(order)
    return ordered.where(np.diff(ordered.truths, prepend=-1) != 0)


def _find_confused(
    pairs: Pairs, candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], config: ScoreConfig
) -> Pairs:
    """Return the pairs of a candidate with a particle of another kind in whose reach it is."""
    reaches = {spec.name: match_reach(spec, config) for spec in specs if spec.is_particle}
    reach = np.array([reaches.get(name, -1.0) for name in truth.objects[pairs.truths].tolist()])
    is_other = candidates.objects[pairs.candidates] != truth.objects[pairs.truths]
    return pairs.where(is_other & (pairs.distances <= reach))


def _judge_picks(
    nearest: tuple[Ints, Floats], is_scored: Mask, hit_truths: Ints, reached: Pairs, confused: Pairs
) -> PickVerdicts:
    confused_with = _first_truths(len(is_scored), confused)
    has_own_kind = np.zeros(len(is_scored), bool)
    has_own_kind[reached.candidates] = True
    is_false = is_scored & (hit_truths < 0)
    verdicts = np.select([is_false, is_scored], [FALSE, MATCHED], UNJUDGED)
    causes: list[FalseCause] = ["duplicate", "confused"]
    because = np.select([~is_false, has_own_kind, confused_with >= 0], ["", *causes], "background")
    return PickVerdicts(verdicts, because, *nearest, hit_truths, confused_with)


def _judge_truths(
    nearest: tuple[Ints, Floats], is_true: Mask, is_found: Mask, reached: Pairs, confused: Pairs, selected: Mask
) -> TruthVerdicts:
    is_shared, is_offered, is_covered = (np.zeros(len(is_true), bool) for _ in range(3))
    of_selected = selected[reached.candidates]
    is_shared[reached.truths[of_selected]] = True
    is_offered[reached.truths[~of_selected]] = True
    is_covered[confused.truths[selected[confused.candidates]]] = True
    is_missed = is_true & ~is_found
    verdicts = np.select([is_missed, is_true], [MISSED, MATCHED], UNJUDGED)
    causes: list[MissedCause] = ["threshold", "shared", "confused"]
    because = np.select([~is_missed, is_offered, is_shared, is_covered], ["", *causes], "absent")
    return TruthVerdicts(verdicts, because, *nearest)
