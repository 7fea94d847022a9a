"""What one tomogram's page is made from, and its picks as marks and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from cryofind.config import ScoreConfig
from cryofind.io import TomogramEntry
from cryofind.report.colors import Rgb, choose_colors
from cryofind.report.marks import ObjectMarks
from cryofind.report.tomogram_page import Facts, Section, Words
from cryofind.scoring import match_candidates
from cryofind.scoring.match import DISTANCE_FACTORS, in_reach_rule
from cryofind.types import ParticleSpec, Picks, ScoreReport, VoxelGrid

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class RunTask:
    """What is needed for one tomogram's page.

    Parameters
    ----------
    run
        Its run.
    page
        File of the page, relative to the report.
    entry
        Where the tomogram was when it was picked.
    grid
        Its voxels then.
    picks
        All candidates of the run.
    specs
        Objects, with colours and radii.
    thresholds
        Scores from which picks were selected, by object, as far as one number says it.
    record
        What `run.json` says of the run; empty without one.
    truth
        True picks of the run (or the other result's candidates); None without.
    truth_thresholds
        As `thresholds`, of the other result.
    config
        How picks are compared.
    words
        What the verdicts are called.
    results
        Names of the two results where two are compared; empty else.
    is_score
        Whether the comparison is with a truth.
    warnings
        What is known of the run before it is looked at.
    provenance
        What made the picks.
    extra_sections
        What the page shows first below its table.
    sharers
        Processes that read tomograms at the same time.
    """

    run: str
    page: str
    entry: TomogramEntry
    grid: VoxelGrid
    picks: Picks
    specs: tuple[ParticleSpec, ...]
    thresholds: dict[str, float]
    record: Record
    truth: Picks | None = None
    truth_thresholds: dict[str, float] = field(default_factory=dict)
    config: ScoreConfig = field(default_factory=ScoreConfig)
    words: Words = field(default_factory=Words)
    results: tuple[str, ...] = ()
    is_score: bool = True
    warnings: tuple[str, ...] = ()
    provenance: Facts = ()
    extra_sections: tuple[Section, ...] = ()
    sharers: int = 1


def describe_grid(flavour: str, grid: VoxelGrid) -> str:
    """Return what a tomogram is, in a line."""
    z, y, x = grid.shape_zyx
    spacing = [f"{value:.4g}" for value in grid.spacing_zyx_angstrom]
    size = f"{z} x {y} x {x} voxels (z, y, x) of {spacing[0] if len(set(spacing)) == 1 else ' x '.join(spacing)} Å"
    return f"{flavour}, {size}" if flavour else size


def build_marks(task: RunTask, report: ScoreReport | None) -> tuple[ObjectMarks, ...]:
    """Return candidates and particles by object, with what lies in reach of what."""
    particles = [spec for spec in task.specs if spec.is_particle]
    colors = choose_colors(particles)
    weights = {} if report is None else {name: rated.weight for name, rated in report.objects.items()}
    matches = {}
    if task.truth is not None:
        matches = match_candidates(task.picks, task.truth, particles, config=_reach_rule(task), runs=(task.run,))
    marks = []
    for spec in particles:
        candidates = task.picks.of_object(spec.name)
        match = matches.get(spec.name)
        truths = None if task.truth is None else task.truth.of_object(spec.name)
        # As in the score: without a true particle of its kind a pick is neither right nor wrong.
        is_judged = truths is not None and (len(truths) > 0 or not task.is_score)
        pairs = np.zeros((0, 2), np.int64)
        if match is not None:
            order = np.lexsort((match.distances_angstrom, -match.scores[match.pairs[:, 0]]))
            pairs = match.pairs[order]
        color, weight = colors[spec.name], weights.get(spec.name, 0.0)
        own = _mark(spec, candidates, task.thresholds, color, weight)
        if truths is not None and is_judged:
            own = replace(own, truth_zyx_angstrom=truths.positions_zyx_angstrom, pairs=pairs)
            if not task.is_score:
                own = replace(own, other=_mark(spec, truths, task.truth_thresholds, color, weight))
        marks.append(own)
    return tuple(marks)


def _mark(
    spec: ParticleSpec, candidates: Picks, thresholds: dict[str, float], color: Rgb, weight: float
) -> ObjectMarks:
    """Return the candidates of an object, with nothing to compare them with."""
    return ObjectMarks(
        spec.name,
        spec.particle_radius_angstrom,
        color,
        weight,
        _single_threshold(candidates, thresholds.get(spec.name)),
        candidates.positions_zyx_angstrom,
        candidates.scores,
        candidates.selected,
    )


def _reach_rule(task: RunTask) -> ScoreConfig:
    """Return a rule that names all pairs in reach: the page assigns them itself where the mode asks for that."""
    if task.is_score:
        return in_reach_rule(task.config)
    # Picks of two kinds at one place are an error in a truth, but not in a result; only this mode lets them be.
    factor = task.config.distance_factor or DISTANCE_FACTORS[task.config.mode]
    return task.config.model_copy(update={"mode": "octopi", "distance_factor": factor})


def _single_threshold(candidates: Picks, threshold: float | None) -> float | None:
    """Return the threshold if the selected candidates are those that reach it."""
    if threshold is None or not np.array_equal(candidates.selected, candidates.scores >= threshold):
        return None
    return threshold


def number_objects(
    task: RunTask, marks: Sequence[ObjectMarks], report: ScoreReport | None
) -> dict[str, dict[str, Any]]:
    """Return what the tables say of every object."""
    known = task.record.get("trust", {}).get("objects", {})
    numbers = {}
    for one in marks:
        rated = None if report is None else report.objects.get(one.name)
        picks = int(one.selected.sum())
        expected = known.get(one.name)
        numbers[one.name] = {
            "candidates": len(one.scores),
            "picks": picks,
            "threshold": None if one.threshold is None else round(one.threshold, 6),
            "expected": expected,
            "expected_text": _describe_expected(expected),
        }
        if task.truth is not None and task.is_score:
            true = len(task.truth.of_object(one.name))
            numbers[one.name] |= {"true": true, "score": None if rated is None else rated.to_dict()}
        elif one.other is not None:
            both = count_shared(one)
            numbers[one.name] |= {"both": both, "only_a": picks - both, "only_b": int(one.other.selected.sum()) - both}
    return numbers


def count_shared(marks: ObjectMarks) -> int:
    """Return how many selected picks can be paired with one of the other result each, no pick twice."""
    if marks.pairs is None or marks.other is None or not len(marks.pairs):
        return 0
    pairs = marks.pairs[marks.selected[marks.pairs[:, 0]] & marks.other.selected[marks.pairs[:, 1]]]
    shape = len(marks.scores), len(marks.other.scores)
    graph = csr_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=shape)
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def _describe_expected(expected: Record | None) -> str:
    if expected is None:
        return "-"
    low, high = expected["interval_95"]
    return f"{expected['expected']:.0f} ({np.floor(low):.0f}-{np.ceil(high):.0f})"
