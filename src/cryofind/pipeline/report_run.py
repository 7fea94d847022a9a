"""One tomogram of a report: its voxels, its picks, its page. A process of its own can make it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryofind.atomic import write_text
from cryofind.io import fingerprint_volume
from cryofind.pipeline.failures import FailureReport, explain_failures
from cryofind.pipeline.report_galleries import Gallery, cut_gallery, show_gallery
from cryofind.pipeline.report_sections import show_failures, show_residuals, show_scores, trace_thinned
from cryofind.pipeline.report_task import RunTask, build_marks, describe_grid, number_objects
from cryofind.pipeline.report_voxels import Voxels, draw_pictures, try_open_voxels
from cryofind.pipeline.timing import round_seconds
from cryofind.pipeline.trust import describe_trust
from cryofind.report.marks import limit_marks
from cryofind.report.tomogram_page import Facts, Rule, Section, TomogramContent, render_tomogram
from cryofind.scoring import score
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
    entry, spacing = task.entry, task.grid.spacing_angstrom
    voxels, problem = try_open_voxels(entry, spacing_angstrom=spacing, sharers=task.sharers)
    # The voxel spacing that was picked with may not be the file's.
    if voxels is not None and voxels.grid.shape_zyx == task.grid.shape_zyx:
        voxels = replace(voxels, grid=task.grid)
    report = _score_run(task)
    marks = build_marks(task, report)
    outside = int((~task.grid.contains(task.picks.positions_zyx_angstrom)).sum())
    warnings = (*task.warnings, *_warn(task, voxels, problem, outside))
    numbers = number_objects(task, marks, report)
    stacks = () if voxels is None else draw_pictures(voxels)
    explained = _explain(task, report)
    analysis = None if explained is None else explained.analysis
    gallery = Gallery()
    if voxels is not None:
        gallery = cut_gallery(voxels, task.picks, task.specs, voxels.grid, analysis, stacks[0].grey_range)
    content = TomogramContent(
        run=task.run,
        subtitle=describe_grid(entry.flavour, task.grid),
        grid=task.grid if voxels is None else voxels.grid,
        stacks=stacks,
        objects=limit_marks(marks),
        object_numbers=numbers,
        rule=_rule_of(task, report),
        f_beta=report.f_beta if report is not None and task.is_score else None,
        expected=_describe_trust(task),
        words=task.words,
        warnings=warnings,
        sections=(*task.extra_sections, *_build_sections(task, explained, gallery)),
        provenance=_describe_run(task, voxels),
        index_page=task.index_page,
    )
    write_text(out / task.page, render_tomogram(content))
    document = {
        "run": task.run,
        "page": task.page,
        "flavour": entry.flavour,
        "path": str(entry.path),
        "shape_zyx": list(task.grid.shape_zyx),
        "spacing_zyx_angstrom": list(task.grid.spacing_zyx_angstrom),
        "has_slices": voxels is not None,
        "picks_outside": outside,
        "f_beta": content.f_beta,
        "objects": numbers,
        "warnings": list(warnings),
        "expected": _describe_trust(task),
        "seconds": task.record.get("seconds", {}),
    }
    return RunOutcome(document, gallery)


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


def _warn(task: RunTask, voxels: Voxels | None, problem: str, outside: int) -> list[str]:
    """Return what to know before the numbers are believed."""
    lines = [problem] if problem else []
    if voxels is not None:
        lines += _compare_voxels(task, voxels)
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
