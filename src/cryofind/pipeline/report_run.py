"""One tomogram of a report: its voxels, its picks, its page. A process of its own can make it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryofind.atomic import write_text
from cryofind.errors import CryofindError
from cryofind.io import fingerprint_volume
from cryofind.pipeline.failures import FailureReport, explain_failures
from cryofind.pipeline.report import INDEX_LINK
from cryofind.pipeline.report_galleries import Gallery, cut_gallery, show_gallery
from cryofind.pipeline.report_sections import show_failures, show_residuals, show_scores, trace_thinned
from cryofind.pipeline.report_task import RunTask, build_marks, describe_grid, number_objects
from cryofind.pipeline.report_voxels import Voxels, draw_pictures, open_voxels
from cryofind.pipeline.timing import round_seconds
from cryofind.pipeline.trust import describe_trust
from cryofind.report.marks import limit_marks
from cryofind.report.slabs import PictureStack
from cryofind.report.tomogram_page import Facts, Rule, Section, TomogramContent, render_tomogram
from cryofind.scoring import FailureAnalysis, score
from cryofind.types import ScoreReport

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """What came of one tomogram.

    Parameters
    ----------
    document
        Its numbers, as `report.json` has them.
    gallery
        Its pictures, for the summary.
    """

    document: Record
    gallery: Gallery


def write_run_page(task: RunTask, out: Path) -> RunOutcome:
    """Write the page of a tomogram below `out`; return its numbers and pictures.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    report = _score_run(task)
    explained = _explain(task, report)
    sight = _look(task, None if explained is None else explained.analysis)
    outside = int((~task.grid.contains(task.picks.positions_zyx_angstrom)).sum())
    marks = build_marks(task, report)
    content = TomogramContent(
        run=task.run,
        subtitle=describe_grid(task.entry.flavour, task.grid),
        grid=task.grid if sight.voxels is None else sight.voxels.grid,
        stacks=sight.stacks,
        objects=limit_marks(marks),
        object_numbers=number_objects(task, marks, report),
        rule=_rule_of(task, report),
        f_beta=None if report is None else report.f_beta,
        expected=_describe_trust(task),
        words=task.words,
        results=task.results,
        warnings=(*task.warnings, *_warn(task, sight, outside)),
        sections=(*task.extra_sections, *_build_sections(task, explained, sight.gallery)),
        provenance=_describe_run(task, sight.voxels),
        index_page=INDEX_LINK,
    )
    write_text(out / task.page, render_tomogram(content))
    return RunOutcome(_number_run(task, content, outside), sight.gallery)


def _number_run(task: RunTask, content: TomogramContent, outside: int) -> Record:
    """Return the numbers of a page, as `report.json` has them."""
    return {
        "run": task.run,
        "page": task.page,
        "flavour": task.entry.flavour,
        "path": str(task.entry.path),
        "shape_zyx": list(task.grid.shape_zyx),
        "spacing_zyx_angstrom": list(task.grid.spacing_zyx_angstrom),
        "has_slices": bool(content.stacks),
        "picks_outside": outside,
        "f_beta": content.f_beta,
        "objects": content.object_numbers,
        "warnings": list(content.warnings),
        "expected": content.expected,
        "seconds": task.record.get("seconds", {}),
    }


@dataclass(frozen=True, eq=False)
class _Sight:
    """What is to be seen of a tomogram; nothing but the reason where it cannot be read."""

    voxels: Voxels | None = None
    stacks: tuple[PictureStack, ...] = ()
    gallery: Gallery = field(default_factory=Gallery)
    problem: str = ""


def _look(task: RunTask, analysis: FailureAnalysis | None) -> _Sight:
    """Return the voxels of a run and its pictures. A damaged part may show only when its box is read."""
    try:
        voxels = open_voxels(task.entry, spacing_angstrom=task.grid.spacing_angstrom, sharers=task.sharers)
        if voxels.grid.shape_zyx == task.grid.shape_zyx:
            # The voxel spacing that was picked with may not be the file's.
            voxels = replace(voxels, grid=task.grid)
        stacks = draw_pictures(voxels)
        gallery = cut_gallery(voxels, task.picks, task.specs, analysis, stacks[0].grey_range)
    except CryofindError as error:
        return _Sight(problem=f"no slices, since the tomogram cannot be read: {error}")
    return _Sight(voxels, stacks, gallery)


def _score_run(task: RunTask) -> ScoreReport | None:
    if task.truth is None or not len(task.truth) or not task.is_score:
        return None
    particles = [spec for spec in task.specs if spec.is_particle]
    return score(task.picks, task.truth, particles, config=task.config, runs=(task.run,))


def _rule_of(task: RunTask, report: ScoreReport | None) -> Rule | None:
    if not task.is_score:
        # Two results are on a par: a pick of one has at most one of the other.
        return Rule("one-to-one", task.config.beta, 1.0, is_score=False)
    return None if report is None else Rule(report.mode, report.beta, report.divisor)


def _describe_trust(task: RunTask) -> str:
    if "trust" not in task.record:
        return ""
    line = describe_trust(task.run, task.record["trust"], task.record.get("familiarity"))
    return line.removeprefix(f"{task.run}: ")


def _warn(task: RunTask, sight: _Sight, outside: int) -> list[str]:
    """Return what to know before the numbers are believed."""
    lines = [sight.problem] if sight.problem else []
    if sight.voxels is not None:
        lines += _compare_voxels(task, sight.voxels)
    if outside:
        lines.append(
            f"{outside} of {len(task.picks)} candidates lie outside of the tomogram: check unit and axis order"
        )
    if familiarity := task.record.get("familiarity"):
        lines += [familiarity["warning"]] if familiarity["warning"] else []
    if task.record.get("in_sample"):
        lines.append("in-sample: the model was trained or tuned on this tomogram")
    return lines


def _compare_voxels(task: RunTask, voxels: Voxels) -> list[str]:
    """Say whether the file still holds what was picked."""
    now, then = voxels.grid.shape_zyx, task.grid.shape_zyx
    if now != then:
        return [f"the tomogram now has {now} voxels, {then} when it was picked: circles may lie elsewhere"]
    stored = task.record.get("key", {}).get("volume_sha256")
    if stored and voxels.volume_zyx is not None and fingerprint_volume(voxels.volume_zyx) != stored:
        return ["the tomogram has other voxels than when it was picked"]
    return []


def _build_sections(task: RunTask, explained: FailureReport | None, gallery: Gallery) -> tuple[Section, ...]:
    """Return what stands below the table: scores, averages and, with a truth, curves, failures and offsets."""
    particles = [spec for spec in task.specs if spec.is_particle]
    if explained is None or task.truth is None:
        return (*show_scores(task.picks, particles), *show_gallery(gallery, particles, with_failures=False))
    curves = trace_thinned(task.picks, task.truth, particles, task.config, (task.run,))
    return (
        *show_scores(task.picks, particles, curves, beta=task.config.beta),
        show_failures(explained, with_rates=False),
        *show_gallery(gallery, particles, with_failures=True),
        *show_residuals(explained.residuals),
    )


def _explain(task: RunTask, report: ScoreReport | None) -> FailureReport | None:
    """Return what went wrong in this run. Rates by circumstance are on the summary: of one run they say too little."""
    if report is None or task.truth is None:
        return None
    particles = [spec for spec in task.specs if spec.is_particle]
    grids = {task.run: task.grid}
    return explain_failures(
        task.picks, task.truth, particles, grids, config=task.config, runs=(task.run,), membranes={}
    )


def _describe_run(task: RunTask, voxels: Voxels | None) -> Facts:
    """Return where picks and tomogram come from, and how long it took."""
    facts = [("tomogram", str(task.entry.path))]
    if voxels is not None and voxels.notes:
        facts.append(("notes on reading", "\n".join(voxels.notes)))
    if notes := task.record.get("notes"):
        facts.append(("notes on picking", "\n".join(notes)))
    if engine := task.record.get("engine"):
        facts.append(
            ("engine", ", ".join(str(engine[key]) for key in ("engine", "precision", "device") if key in engine))
        )
    if seconds := task.record.get("seconds"):
        shown = ", ".join(f"{stage} {value:.1f} s" for stage, value in round_seconds(seconds).items())
        facts.append(("time of picking", shown))
    if volume := task.record.get("key", {}).get("volume_sha256"):
        facts.append(("SHA-256 of voxels", volume))
    return (*facts, *task.provenance)
