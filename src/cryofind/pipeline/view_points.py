"""Whose picks and whose truth `cryofind view` shows, in which colours and sizes, and from which score on."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cryofind import czii
from cryofind.errors import PicksError, advise_known_names
from cryofind.io import OWN_SESSION, OWN_USER, PicksEntry
from cryofind.pipeline.importing import parse_object
from cryofind.pipeline.points import PointSource, read_points
from cryofind.pipeline.view_subject import Subject
from cryofind.report.colors import choose_colors
from cryofind.types import ParticleSpec, Picks, VoxelGrid
from cryofind.view import SCORE_DIGITS, Particles

logger = logging.getLogger("cryofind")

# For objects of which nobody says how large they are.
UNKNOWN_RADIUS_ANGSTROM = 100.0
# The page holds every pick as text, and sends them all back when anything changes.
MAX_DRAWN = 10_000


@dataclass(frozen=True, eq=False)
class RunPoints:
    """Picks of one run and what is known of their objects.

    Parameters
    ----------
    picks
        Rows of any objects; empty where there are none.
    objects
        What their source says of objects.
    thresholds
        Least score of a selected pick by object, as far as the source states it.
    """

    picks: Picks = field(default_factory=Picks.empty)
    objects: tuple[ParticleSpec, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)


def find_points(subject: Subject, *, picks: str = "", truth: str = "") -> tuple[RunPoints, RunPoints]:
    """Return the picks and the truth to show.

    Parameters
    ----------
    subject
        The run.
    picks, truth
        A path, or whose of the project's in copick's grammar. When empty, the picks are those of the result folder or
        by cryofind, and what others have picked is the truth; without any by cryofind, theirs are the picks.

    Raises
    ------
    CryofindError
        If they cannot be read, or it is not clear whose are meant.
    """
    found = _read_named(picks, subject) if picks else _read_own(subject)
    if truth:
        return found or RunPoints(), _read_named(truth, subject)
    if found is None:
        return _read_others(subject), RunPoints()
    if picks and not Path(picks).exists():
        return found, RunPoints()  # some of the project's own were chosen: the others are not their truth
    try:
        return found, _read_others(subject)
    except PicksError as error:
        logger.warning("no truth is shown (--truth chooses one): %s", error)
        return found, RunPoints()


def _read_named(name: str, subject: Subject) -> RunPoints:
    project = subject.project
    if project is not None and ":" in name and not Path(name).exists():
        return RunPoints(project.read_picks(name, runs=(subject.run,)), project.objects)
    source = read_points(Path(name))
    return _of_source(source, _match_run(source, subject.run))


def _of_source(source: PointSource, run: str) -> RunPoints:
    return RunPoints(source.picks.of_run(run), source.objects, source.record.get("thresholds", {}))


def _match_run(source: PointSource, run: str) -> str:
    """Return what the source calls a run; one that holds a single run need not call it the same."""
    if run in source.runs or not source.runs:
        return run
    if len(source.runs) > 1:
        problem = f"has no picks of run '{run}', but of {len(source.runs)} others"
        raise PicksError(source.path, problem, f"say --run; {advise_known_names(run, source.runs[:20])}")
    logger.info("the picks are of a run called '%s'", source.runs[0])
    return source.runs[0]


def _read_own(subject: Subject) -> RunPoints | None:
    """Return what cryofind has picked in a run; None if it has not."""
    if subject.result is not None:
        return _of_source(subject.result, subject.run)
    own = [entry for entry in _entries(subject) if _is_own(entry)]
    if subject.project is None or not own:
        return None
    return RunPoints(Picks.concatenate(entry.read() for entry in own), subject.project.objects)


def _read_others(subject: Subject) -> RunPoints:
    """Return what others have picked in a run, provided that no object has been picked by two of them."""
    if subject.project is None:
        return RunPoints()
    others = replace(subject.project, picks_entries=tuple(e for e in _entries(subject) if not _is_own(e)))
    return RunPoints(others.read_picks(), others.objects)


def _entries(subject: Subject) -> tuple[PicksEntry, ...]:
    project = subject.project
    return () if project is None else tuple(entry for entry in project.picks_entries if entry.run == subject.run)


def _is_own(entry: PicksEntry) -> bool:
    return (entry.user, entry.session) == (OWN_USER, OWN_SESSION)


def describe_objects(asked: Sequence[str], *sources: RunPoints) -> tuple[ParticleSpec, ...]:
    """Return radius and colour of every object that has picks.

    Parameters
    ----------
    asked
        `NAME:RADIUS_A` each: radii that the user states.
    sources
        Picks; what the first says of an object counts.

    Raises
    ------
    ConfigError
        If one is not of that form.
    """
    radii = {spec.name: spec.radius_angstrom for spec in map(parse_object, asked, range(1, len(asked) + 1))}
    known = {spec.name: spec for spec in czii.OBJECTS}
    for source in reversed(sources):
        known |= {spec.name: spec for spec in source.objects}
    names = sorted({name for source in sources for name in source.picks.object_names})
    specs = [known.get(name) or ParticleSpec(name, radii.get(name) or _guess_radius(name), 1) for name in names]
    colors = choose_colors(specs)
    return tuple(
        replace(spec, radius_angstrom=radii.get(spec.name, spec.radius_angstrom), color=(*colors[spec.name], 255))
        for spec in specs
    )


def _guess_radius(name: str) -> float:
    logger.warning(
        "the radius of '%s' is not known: drawn with %g Angstrom; say --object %s:RADIUS",
        name,
        UNKNOWN_RADIUS_ANGSTROM,
        name,
    )
    return UNKNOWN_RADIUS_ANGSTROM


def draw_picks(points: RunPoints, specs: Sequence[ParticleSpec]) -> tuple[Particles, ...]:
    """Return all candidates, a layer for every object that has any; those above its threshold are shown at first."""
    picks = _leave_out_worst(points.picks)
    return tuple(
        _layer(spec, mine, choose_threshold(mine, points.thresholds.get(spec.name)))
        for spec in specs
        if len(mine := picks.of_object(spec.name))
    )


def draw_truth(points: RunPoints, specs: Sequence[ParticleSpec]) -> tuple[Particles, ...]:
    """Return the truth, a layer for every object that has any."""
    truth = points.picks.only_selected()
    return tuple(_layer(spec, mine, None) for spec in specs if len(mine := truth.of_object(spec.name)))


def _layer(spec: ParticleSpec, picks: Picks, threshold: float | None) -> Particles:
    radius_angstrom = spec.radius_angstrom or _guess_radius(spec.name)
    return Particles(spec.name, spec.color[:3], radius_angstrom, picks.positions_zyx_angstrom, picks.scores, threshold)


def choose_threshold(picks: Picks, stated: float | None) -> float | None:
    """Return the least score to show of one object's picks; None if their scores say nothing.

    It is the stated threshold if that tells the selected from the others, else the lowest score of a selected one,
    rounded down to the digits that files of picks carry, so that nothing selected is hidden.
    """
    scores, selected = picks.scores, picks.selected
    if not len(picks) or (scores.min() == scores.max() and selected.all()):
        return None
    if stated is not None and (selected == (scores >= stated)).all():
        least = stated
    else:
        least = float(scores[selected].min()) if selected.any() else max(1.0, float(scores.max()))
    digits = 10.0**SCORE_DIGITS
    return math.floor(least * digits + 1e-3) / digits


def _leave_out_worst(picks: Picks) -> Picks:
    if len(picks) <= MAX_DRAWN:
        return picks
    logger.warning("of %d candidates the best %d are drawn", len(picks), MAX_DRAWN)
    best_first = np.lexsort((-picks.scores, ~picks.selected))
    return picks.where(np.sort(best_first[:MAX_DRAWN]))


def warn_of_outside(layers: Sequence[Particles], grid: VoxelGrid) -> None:
    """Say how many particles lie outside the tomogram: they are drawn there, and something is wrong."""
    outside = sum(int((~grid.contains(layer.positions_zyx_angstrom)).sum()) for layer in layers)
    if outside:
        total = sum(len(layer.scores) for layer in layers)
        logger.warning("%d of %d particles lie outside the tomogram: check unit, axes, voxel spacing", outside, total)
