"""Cut-outs of the worst failures and means around picks, for the pages of a report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryofind.coordinates import xyz_from_zyx
from cryofind.pipeline.report_sections import colors_in_words, describe_cause
from cryofind.pipeline.report_voxels import Voxels
from cryofind.report.averages import CentralSlices, average_by_object, cut_slices
from cryofind.report.cutouts import draw_slices_of, pool_slices, share_of_width
from cryofind.report.tomogram_page import Cutout, Section
from cryofind.scoring.failures import FailureAnalysis
from cryofind.types import ParticleSpec, Picks

MOST_SHOWN = 12
MOST_IN_SUMMARY = 8

GreyRange = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures of one run, for its page and for the summary.

    Parameters
    ----------
    missed, false
        The worst failures.
    averages
        Means around the selected picks, by object; None where no tomogram could be read.
    grey_range
        Values that are black and white in the run's slices.
    """

    missed: tuple[Cutout, ...] = ()
    false: tuple[Cutout, ...] = ()
    averages: Mapping[str, CentralSlices] | None = None
    grey_range: GreyRange = (0.0, 1.0)


def cut_gallery(
    voxels: Voxels,
    picks: Picks,
    specs: Sequence[ParticleSpec],
    analysis: FailureAnalysis | None,
    grey_range: GreyRange,
) -> Gallery:
    """Return the pictures of one run.

    Parameters
    ----------
    voxels
        Its tomogram.
    picks
        Its candidates.
    specs
        Objects, with colours and radii.
    analysis
        What went wrong in this run; None without a truth.
    grey_range
        Values that are black and white.
    """
    particles = [spec for spec in specs if spec.is_particle]
    averages = average_by_object(voxels.read_box, voxels.grid, picks, particles)
    if analysis is None:
        return Gallery(averages=averages, grey_range=grey_range)
    missed = [_describe_missed(analysis, row) for row in analysis.missed_rows[:MOST_SHOWN].tolist()]
    false = [_describe_false(analysis, row) for row in analysis.false_rows[:MOST_SHOWN].tolist()]
    colors, radius_of = colors_in_words(particles), {spec.name: spec.particle_radius_angstrom for spec in particles}

    def draw(kind: str, shown: Sequence["_Shown"]) -> tuple[Cutout, ...]:
        cutouts = []
        for one in shown:
            radius = radius_of[one.name]
            (slices,) = cut_slices(voxels.read_box, voxels.grid, [one.position_zyx_angstrom], radius)
            pictures, share = draw_slices_of(slices, grey_range), share_of_width(slices, radius)
            cutouts.append(
                Cutout(
                    one.name,
                    one.lines,
                    pictures,
                    colors[one.name],
                    share,
                    kind,
                    _round(one.position_zyx_angstrom),
                    one.rank,
                )
            )
        return tuple(cutouts)

    return Gallery(draw("missed", missed), draw("false", false), averages, grey_range)


@dataclass(frozen=True, eq=False)
class _Shown:
    """A failure to show: its object, where it is, what is known, how bad it is."""

    name: str
    position_zyx_angstrom: Floats
    lines: tuple[str, ...]
    rank: float


def _describe_missed(analysis: FailureAnalysis, row: int) -> _Shown:
    truths, candidates = analysis.truths, analysis.candidates
    position = analysis.truth.positions_zyx_angstrom[row]
    distance, nearest = float(truths.nearest_distances_angstrom[row]), int(truths.nearest_candidates[row])
    lines = [_describe_place(position), describe_cause(str(truths.causes[row]))]
    if nearest >= 0:
        was = "picked" if candidates.selected[nearest] else "candidate"
        name, score = candidates.objects[nearest], candidates.scores[nearest]
        lines.append(f"nearest {was}: {name}, score {score:.3f}, {distance:.0f} Å away")
    return _Shown(str(analysis.truth.objects[row]), position, tuple(lines), distance if np.isfinite(distance) else 1e9)


def _describe_false(analysis: FailureAnalysis, row: int) -> _Shown:
    picks, candidates = analysis.picks, analysis.candidates
    position, score = candidates.positions_zyx_angstrom[row], float(candidates.scores[row])
    nearest, distance = int(picks.nearest_truths[row]), float(picks.nearest_distances_angstrom[row])
    lines = [f"score {score:.3f}; {_describe_place(position)}", describe_cause(str(picks.causes[row]))]
    if nearest >= 0:
        lines.append(f"nearest particle: {analysis.truth.objects[nearest]}, {distance:.0f} Å away")
    return _Shown(str(candidates.objects[row]), position, tuple(lines), score)


def _round(position_zyx_angstrom: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 1) for value in position_zyx_angstrom)


def _describe_place(position_zyx_angstrom: Floats) -> str:
    x, y, z = xyz_from_zyx(position_zyx_angstrom)
    return f"x {x:.0f}, y {y:.0f}, z {z:.0f} Å"


def show_gallery(gallery: Gallery, specs: Sequence[ParticleSpec], *, with_failures: bool) -> tuple[Section, ...]:
    """Return the sections of a run's page."""
    sections = []
    if with_failures and gallery.averages is not None:
        shown = (
            ("Missed, farthest from any candidate first", gallery.missed),
            ("False, best scored first", gallery.false),
        )
        sections.append(Section("gallery", "The worst failures", galleries=shown))
    if gallery.averages:
        sections.append(_show_averages(gallery.averages, specs))
    return tuple(sections)


def _show_averages(averages: Mapping[str, CentralSlices], specs: Sequence[ParticleSpec]) -> Section:
    colors = colors_in_words([spec for spec in specs if spec.is_particle])
    cutouts = []
    for spec in specs:
        if spec.name not in averages:
            continue
        slices = averages[spec.name]
        share = share_of_width(slices, spec.particle_radius_angstrom)
        lines = (f"mean of {slices.count} picks",)
        cutouts.append(Cutout(spec.name, lines, draw_slices_of(slices), colors[spec.name], share))
    sentence = (
        "The mean of the tomogram around the picks: a particle in the middle of its ring is what they should show."
    )
    return Section("averages", "Averages", sentences=(sentence,), galleries=(("", tuple(cutouts)),))


def show_worst(
    galleries: Sequence[tuple[str, Gallery]], specs: Sequence[ParticleSpec], *, with_failures: bool
) -> tuple[Section, ...]:
    """Return the sections of the summary: the worst failures of all runs, and means over runs.

    Parameters
    ----------
    galleries
        Names of runs with their pictures.
    specs
        Objects.
    with_failures
        Whether there is a truth.
    """
    missed = _choose([(run, cutout) for run, gallery in galleries for cutout in gallery.missed])
    false = _choose([(run, cutout) for run, gallery in galleries for cutout in gallery.false])
    averages = {}
    for spec in specs:
        parts = [
            (gallery.averages[spec.name], gallery.grey_range)
            for _, gallery in galleries
            if gallery.averages and spec.name in gallery.averages
        ]
        pooled = pool_slices([part for part, _ in parts], [greys for _, greys in parts])
        if pooled is not None:
            averages[spec.name] = pooled
    is_seen = any(gallery.averages is not None for _, gallery in galleries)
    return show_gallery(Gallery(missed, false, averages if is_seen else None), specs, with_failures=with_failures)


def _choose(cutouts: Sequence[tuple[str, Cutout]]) -> tuple[Cutout, ...]:
    """Return the worst; of equals, as all are without any candidate, runs and objects in turns."""
    left, chosen = list(cutouts), list[Cutout]()
    shown_of_run, shown_of_object = Counter[str](), Counter[str]()

    def order(number: int) -> tuple[float, int, int]:
        run, cutout = left[number]
        return -cutout.rank, shown_of_run[run], shown_of_object[cutout.title]

    while left and len(chosen) < MOST_IN_SUMMARY:
        run, cutout = left.pop(min(range(len(left)), key=order))
        shown_of_run[run] += 1
        shown_of_object[cutout.title] += 1
        chosen.append(replace(cutout, lines=(f"in {run}", *cutout.lines), zyx=()))
    return tuple(chosen)
