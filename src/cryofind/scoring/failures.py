"""What went wrong with picks, where, and what stands out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.config import ScoreConfig
from cryofind.coordinates import xyz_from_zyx
from cryofind.scoring.match import DEFAULT_CONFIG
from cryofind.scoring.places import RateCircumstance, ReadMembranes, measure_membrane_distances, measure_places
from cryofind.scoring.rates import Failure, RateTable, Sample, judge_tables, tabulate_names, tabulate_values
from cryofind.scoring.remarks import Confusion, make_remarks
from cryofind.scoring.verdicts import (
    FALSE,
    FALSE_CAUSES,
    MISSED,
    MISSED_CAUSES,
    UNJUDGED,
    PickVerdicts,
    TruthVerdicts,
    judge,
)
from cryofind.types import ParticleSpec, Picks, VoxelGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FailureAnalysis:
    """Every pick and particle judged, and the failures counted by circumstance.

    Parameters
    ----------
    candidates, truth
        The tables that were compared, N and M rows; verdicts are by their rows.
    picks, truths
        The verdict on each row, and what lies nearest.
    false_rows
        Rows of the selected picks that are false, the highest score first.
    missed_rows
        Rows of the particles that were missed, those farthest from any candidate (in radii) first; of equals, as all
        are without any candidate, the kinds in turns.
    confusions
        Which kinds are taken for which, the most frequent first.
    tables
        Failure rates by circumstance: of what can be told from what was given.
    causes_missed, causes_false
        Number of missed particles by cause, of false picks by cause.
    remarks
        Sentences about causes and confusions; those of the tables are in the tables.
    """

    candidates: Picks
    truth: Picks
    picks: PickVerdicts
    truths: TruthVerdicts
    false_rows: Ints
    missed_rows: Ints
    confusions: tuple[Confusion, ...]
    tables: tuple[RateTable, ...]
    causes_missed: dict[str, int]
    causes_false: dict[str, int]
    remarks: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that stands out, a sentence each; the remarks first."""
        return (*self.remarks, *(table.sentence for table in self.tables if table.sentence))

    def to_dict(self) -> dict[str, Any]:
        """Return counts, sentences, tables and every failure as a JSON-ready dictionary."""
        judged, selected = self.picks.verdicts != UNJUDGED, self.candidates.selected
        return {
            "particles": int(np.count_nonzero(self.truths.verdicts != UNJUDGED)),
            "missed_count": len(self.missed_rows),
            "selected_picks": int(np.count_nonzero(judged & selected)),
            "false_count": len(self.false_rows),
            "sentences": list(self.sentences),
            "causes_missed": self.causes_missed,
            "causes_false": self.causes_false,
            "confusions": [confusion.to_dict() for confusion in self.confusions],
            "tables": [table.to_dict() for table in self.tables],
            "missed": [self._describe_missed(row) for row in self.missed_rows.tolist()],
            "false": [self._describe_false(row) for row in self.false_rows.tolist()],
        }

    def _describe_missed(self, row: int) -> dict[str, Any]:
        nearest = int(self.truths.nearest_candidates[row])
        document = {**_describe_row(self.truth, row), "cause": str(self.truths.causes[row]), "nearest_candidate": None}
        if nearest >= 0:
            document["nearest_candidate"] = {
                "object": str(self.candidates.objects[nearest]),
                "score": float(self.candidates.scores[nearest]),
                "distance_angstrom": round(float(self.truths.nearest_distances_angstrom[row]), 3),
                "selected": bool(self.candidates.selected[nearest]),
            }
        return document

    def _describe_false(self, row: int) -> dict[str, Any]:
        nearest, score = int(self.picks.nearest_truths[row]), float(self.candidates.scores[row])
        document = {**_describe_row(self.candidates, row), "score": score, "cause": str(self.picks.causes[row])}
        if nearest < 0:
            return {**document, "nearest_truth": None}
        distance = round(float(self.picks.nearest_distances_angstrom[row]), 3)
        return {
            **document,
            "nearest_truth": {"object": str(self.truth.objects[nearest]), "distance_angstrom": distance},
        }


def _describe_row(table: Picks, row: int) -> dict[str, Any]:
    x, y, z = (round(float(value), 3) for value in xyz_from_zyx(table.positions_zyx_angstrom[row]))
    names = {"run": str(table.runs[row]), "object": str(table.objects[row])}
    return {**names, "x_angstrom": x, "y_angstrom": y, "z_angstrom": z}


def analyse_failures(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    grids: Mapping[str, VoxelGrid],
    *,
    config: ScoreConfig = DEFAULT_CONFIG,
    runs: Sequence[str] | None = None,
    membranes: Mapping[str, ReadMembranes] | None = None,
) -> FailureAnalysis:
    """Judge every candidate and every true particle, and say where failures are frequent.

    Parameters
    ----------
    candidates
        Picks; those that are not selected are judged as well, but no failures.
    truth
        True picks; all rows count.
    specs
        The objects, with their radii. As in the score, picks of an object without any true particle do not count.
    grids
        Grid of each run's tomogram, as far as known: for depth and the distance to the box's faces.
    config
        What a hit is: mode and match radius.
    runs
        Runs that count; those of the truth when None.
    membranes
        By run, what reads where its membranes are; one run's volume is in memory at a time.

    Returns
    -------
    FailureAnalysis

    Raises
    ------
    PicksError, ConfigError
        As `match_candidates` says.
    """
    counted_runs = truth.run_names if runs is None else tuple(runs)
    picks, truths = judge(candidates, truth, specs, config, counted_runs)
    false_rows = _order_false(candidates, picks)
    missed_rows = _order_missed(truth, truths, specs)
    confusions = _count_confusions(candidates, truth, picks, truths, false_rows)
    causes_missed = _count_causes(truths.causes[missed_rows], MISSED_CAUSES)
    causes_false = _count_causes(picks.causes[false_rows], FALSE_CAUSES)
    is_counted = (picks.verdicts != UNJUDGED) & candidates.selected
    counted_picks, is_false = candidates.where(is_counted), picks.verdicts[is_counted] == FALSE
    is_judged = truths.verdicts != UNJUDGED
    particles, is_missed = truth.where(is_judged), truths.verdicts[is_judged] == MISSED
    of_particles, of_picks = measure_membrane_distances([particles, counted_picks], membranes or {})
    tables = judge_tables(
        [
            *_tabulate("missed", particles, is_missed, measure_places(particles, specs, grids, of_particles)),
            *_tabulate(
                "false",
                counted_picks,
                is_false,
                {**measure_places(counted_picks, specs, grids, of_picks), "score": counted_picks.scores},
            ),
        ]
    )
    remarks = make_remarks(tables, causes_missed, causes_false, confusions)
    return FailureAnalysis(
        candidates,
        truth,
        picks,
        truths,
        false_rows,
        missed_rows,
        confusions,
        tables,
        causes_missed,
        causes_false,
        remarks,
    )


def _order_false(candidates: Picks, picks: PickVerdicts) -> Ints:
    rows = np.flatnonzero((picks.verdicts == FALSE) & candidates.selected)
    return rows[np.argsort(-candidates.scores[rows], kind="stable")]


def _order_missed(truth: Picks, truths: TruthVerdicts, specs: Sequence[ParticleSpec]) -> Ints:
    rows = np.flatnonzero(truths.verdicts == MISSED)
    radius_of = {spec.name: spec.particle_radius_angstrom for spec in specs if spec.is_particle}
    radii = np.array([radius_of[name] for name in truth.objects[rows].tolist()])
    return rows[np.lexsort((_count_turns(truth.objects[rows]), -truths.nearest_distances_angstrom[rows] / radii))]


def _count_turns(names: NDArray[np.str_]) -> Ints:
    """Return for each name how often it came before."""
    turns = np.zeros(len(names), np.int64)
    for name in np.unique(names):
        turns[names == name] = np.arange(np.count_nonzero(names == name))
    return turns


def _count_causes(causes: NDArray[np.str_], known: Sequence[str]) -> dict[str, int]:
    return {cause: int(np.count_nonzero(causes == cause)) for cause in known}


def _count_confusions(
    candidates: Picks, truth: Picks, picks: PickVerdicts, truths: TruthVerdicts, false_rows: Ints
) -> tuple[Confusion, ...]:
    false_picks = Counter(candidates.objects[false_rows].tolist())
    confused = false_rows[picks.causes[false_rows] == "confused"]
    on = picks.confused_with[confused]
    pairs = list(zip(candidates.objects[confused].tolist(), truth.objects[on].tolist(), strict=True))
    counts = Counter(pairs)
    missed = Counter(pair for pair, row in zip(pairs, on, strict=True) if truths.verdicts[row] == MISSED)
    ordered = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return tuple(Confusion(*pair, counts[pair], missed[pair], false_picks[pair[0]]) for pair in ordered)


def _tabulate(
    failure: Failure, table: Picks, is_failure: NDArray[np.bool_], values: Mapping[RateCircumstance, Floats]
) -> list[RateTable]:
    """Return the tables of all circumstances of which anything is known."""
    sample = Sample(failure, table.objects, table.runs, is_failure)
    tables = [tabulate_names(sample, "object"), tabulate_names(sample, "run")]
    tables += [tabulate_values(sample, circumstance, values[circumstance]) for circumstance in values]
    return [table for table in tables if table.bins]
