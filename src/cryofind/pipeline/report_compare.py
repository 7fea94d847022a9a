"""`cryofind report A B`: two results on the same tomograms, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryofind.atomic import write_text
from cryofind.config import ScoreConfig
from cryofind.errors import PicksError
from cryofind.pipeline.points import PointSource, find_result, read_points
from cryofind.pipeline.report import INDEX_NAME, ReportRequest, choose_jobs, make_pages, score_config
from cryofind.pipeline.report_differences import list_differences
from cryofind.pipeline.report_picks import plan_runs
from cryofind.pipeline.report_rows import describe_result
from cryofind.pipeline.report_run import write_run_page
from cryofind.pipeline.report_task import RunTask
from cryofind.pipeline.report_truth import Reference, compare_with_truth, describe_in_sample
from cryofind.report.colors import choose_colors, format_color
from cryofind.report.rendering import format_percent, format_share
from cryofind.report.summary_page import Column, SummaryContent, render_summary
from cryofind.report.tomogram_page import Facts, Section, Table, Words
from cryofind.scoring import score
from cryofind.types import ParticleSpec, ScoreReport

Record = dict[str, Any]

SHOWN_DIFFERENCES = 60


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two results.

    Parameters
    ----------
    name
        What it is called on the pages.
    source
        Its picks.
    reference
        The truth and its score; None without.
    """

    name: str
    source: PointSource
    reference: Reference | None


def fill_comparison(request: ReportRequest, folder: Path) -> Record:
    """Write the pages of a comparison; return its part of `report.json`.

    Raises
    ------
    CryofindError
        If one of them is no result, or they share no run.
    """
    config = score_config(request)
    one, other, notes = _read_sides(request, config)
    shared = [run for run in one.source.runs if run in set(other.source.runs)]
    if not shared:
        has = ", ".join(other.source.runs[:5]) or "none"
        raise PicksError(
            one.source.path, f"shares no run with {other.source.path} (it has: {has})", "pick the same tomograms"
        )
    tasks = _plan(one, other, shared, config)
    jobs = choose_jobs(request.jobs, len(tasks))
    outcomes = make_pages([replace(task, sharers=jobs) for task in tasks], write_run_page, folder, jobs=jobs)
    runs = [outcome.document for outcome in outcomes]
    scores = {side.name: _score_shared(side, shared, config) for side in (one, other)}
    document: Record = {
        "kind": "comparison",
        "sources": {side.name: str(side.source.path) for side in (one, other)},
        "truth": None if one.reference is None else one.reference.origin,
        "warnings": [*notes, *_warn(one, other, shared)],
        "objects": _sum_objects(runs, tasks[0].specs, scores),
        "scores": {name: None if report is None else report.to_dict() for name, report in scores.items()},
        "runs": [_with_scores(run, scores) for run in runs],
        "differences": list_differences(one.source.record, other.source.record),
    }
    write_text(folder / INDEX_NAME, render_summary(_summarise(one, other, document)))
    return document


def _read_sides(request: ReportRequest, config: ScoreConfig) -> tuple[Side, Side, list[str]]:
    names = [path.resolve().name for path in request.paths]
    if names[0] == names[1]:
        names = [f"{path.resolve().parent.name}/{path.resolve().name}" for path in request.paths]
    if names[0] == names[1]:
        names = [str(path) for path in request.paths]
    sides: list[Side] = []
    notes: list[str] = []
    for path, name in zip(request.paths, names, strict=True):
        if find_result(path) is None:
            raise PicksError(
                path, "is no folder written by `cryofind pick`", "two paths are two results to be compared"
            )
        source = read_points(path, runs=request.selection.runs)
        reference = None
        if request.with_truth:
            reference, said = compare_with_truth(source, request.truth, config, truth_uri=request.truth_uri)
            notes += said
        sides.append(Side(name, source, reference))
    return sides[0], sides[1], list(dict.fromkeys(notes))


def _plan(one: Side, other: Side, shared: Sequence[str], config: ScoreConfig) -> list[RunTask]:
    """Return the tasks of the first result, with the candidates of the second in the place of a truth."""
    known = {spec.name for spec in one.source.objects}
    specs = (*one.source.objects, *(spec for spec in other.source.objects if spec.name not in known))
    words = Words("both", f"only {one.name}", f"only {other.name}")
    theirs = {task.run: task for task in plan_runs(other.source, None, config)}
    tasks = []
    for task in plan_runs(one.source, None, config):
        if task.run not in shared:
            continue
        tasks.append(
            replace(
                task,
                specs=specs,
                truth=theirs[task.run].picks,
                truth_thresholds=theirs[task.run].thresholds,
                words=words,
                results=(one.name, other.name),
                is_score=False,
                warnings=_compare_tomograms(task, theirs[task.run], other.name),
                provenance=(("circles of both", f"stand where {one.name} has its pick"),),
                extra_sections=_show_scores(task.run, one, other, config),
            )
        )
    return tasks


def _compare_tomograms(task: RunTask, other: RunTask, name: str) -> tuple[str, ...]:
    ours, theirs = (one.record.get("key", {}).get("volume_sha256") for one in (task, other))
    return () if ours == theirs else (f"{name} was picked from another tomogram of this run",)


def _score_shared(side: Side, runs: Sequence[str], config: ScoreConfig) -> ScoreReport | None:
    """Return the score on the runs that both results and the truth have."""
    reference = side.reference
    scored = [] if reference is None else [run for run in runs if run in reference.runs]
    if reference is None or not scored:
        return None
    # Of one run alone, of many: the scorer looks at every row for each.
    picks, truth = side.source.picks, reference.picks
    if len(scored) == 1:
        picks, truth = picks.of_run(scored[0]), truth.of_run(scored[0])
    return score(picks, truth, reference.specs, config=config, runs=scored)


def _show_scores(run: str, one: Side, other: Side, config: ScoreConfig) -> tuple[Section, ...]:
    """Return the scores of both on one run, side by side."""
    reports = [_score_shared(side, [run], config) for side in (one, other)]
    first, second = reports
    if first is None or second is None:
        return ()
    header = ["object"]
    for side in (one, other):
        header += [f"{title} {side.name}" for title in ("TP", "FP", "FN", f"F{config.beta:g}")]
    rows = []
    for name in first.objects:
        cells = [name]
        for report in (first, second):
            rated = report.objects[name]
            cells += [str(rated.tp), str(rated.fp), str(rated.fn), format_share(rated.f_beta)]
        rows.append(tuple(cells))
    sentence = (
        f"Weighted F{config.beta:g} against the truth: {one.name} {first.f_beta:.4f}, {other.name} {second.f_beta:.4f}."
    )
    table = Table(tuple(header), tuple(rows))
    return (Section("against-truth", "Against the truth", sentences=(sentence,), tables=(table,)),)


def _with_scores(run: Record, scores: Mapping[str, ScoreReport | None]) -> Record:
    known = {name: report.runs[run["run"]] for name, report in scores.items() if report and run["run"] in report.runs}
    if not known:
        return run
    return {
        **run,
        "scores": {name: {key: one.to_dict() for key, one in rated.items()} for name, rated in known.items()},
    }


def _sum_objects(
    runs: Sequence[Record], specs: Sequence[ParticleSpec], scores: Mapping[str, ScoreReport | None]
) -> dict[str, Record]:
    """Return counts by object over all runs, and F-beta of both results."""
    particles = [spec for spec in specs if spec.is_particle]
    colors = choose_colors(particles)
    objects = {}
    for spec in particles:
        counts = {key: sum(run["objects"][spec.name][key] for run in runs) for key in ("both", "only_a", "only_b")}
        rated = {name: report.objects.get(spec.name) for name, report in scores.items() if report is not None}
        objects[spec.name] = {
            "color": format_color(colors[spec.name]),
            **counts,
            "agreement": _agreement(counts),
            "f_beta": {name: None if one is None else one.f_beta for name, one in rated.items()},
        }
    return objects


def _agreement(counts: Mapping[str, int]) -> float | None:
    """Return the share of all picks that both have: both / (both + only A + only B); None without picks."""
    total = sum(counts[key] for key in ("both", "only_a", "only_b"))
    return counts["both"] / total if total else None


def _warn(one: Side, other: Side, shared: Sequence[str]) -> list[str]:
    lines = []
    for side in (one, other):
        seen = () if side.reference is None else side.reference.report.in_sample_runs
        lines += [f"{side.name}: {line}" for line in describe_in_sample(seen)]
        rest = [run for run in side.source.runs if run not in shared]
        if rest:
            lines.append(f"only {side.name} has {len(rest)} more tomograms, which are left out: {', '.join(rest[:5])}")
    return lines


def _summarise(one: Side, other: Side, document: Record) -> SummaryContent:
    objects, scores = document["objects"], document["scores"]
    pooled = {key: sum(numbers[key] for numbers in objects.values()) for key in ("both", "only_a", "only_b")}
    facts = [("tomograms", str(len(document["runs"]))), ("agreement", format_percent(_agreement(pooled)))]
    facts += [
        (f"weighted F{report['beta']:g}, {name}", format_share(report["f_beta"]))
        for name, report in scores.items()
        if report is not None
    ]
    counts = (Column("both", "both"), Column("only_a", f"only {one.name}"), Column("only_b", f"only {other.name}"))
    agreement = Column("agreement", "agreement")
    has_truth = all(report is not None for report in scores.values())
    f_columns = tuple(Column(f"f of {side.name}", f"F, {side.name}") for side in (one, other)) if has_truth else ()
    difference = document["differences"]
    rows = tuple(difference[:SHOWN_DIFFERENCES])
    more = f"and {len(difference) - len(rows)} more" if len(difference) > len(rows) else ""
    section = Section(
        "differences",
        "What differs between them",
        sentences=(more,) if more else () if rows else ("Model, recipe, thresholds and engine are the same.",),
        tables=(Table(("setting", one.name, other.name), rows),) if rows else (),
    )
    return SummaryContent(
        title=f"{one.name} and {other.name}",
        subtitle="two results on the same tomograms: which picks both have, within the match radius",
        facts=tuple(facts),
        warnings=tuple(document["warnings"]),
        object_columns=(*counts, agreement, *f_columns),
        object_rows=tuple(_object_row(name, numbers) for name, numbers in objects.items()),
        columns=(*counts, agreement),
        runs=tuple(_run_row(run) for run in document["runs"]),
        sections=(section,),
        provenance=_describe_sides(one, other),
    )


def _object_row(name: str, numbers: Record) -> Record:
    f_beta = {f"f of {side}": format_share(value) for side, value in numbers["f_beta"].items()}
    return {"name": name, **numbers, "agreement": format_percent(numbers["agreement"]), **f_beta}


def _run_row(run: Record) -> Record:
    counts = {key: sum(one[key] for one in run["objects"].values()) for key in ("both", "only_a", "only_b")}
    agreement = format_percent(_agreement(counts))
    return {"run": run["run"], "page": run["page"], "notes": tuple(run["warnings"]), **counts, "agreement": agreement}


def _describe_sides(one: Side, other: Side) -> Facts:
    return tuple(
        (f"{side.name}: {label}", value)
        for side in (one, other)
        for label, value in (("folder", str(side.source.path)), *describe_result(side.source.record)[:4])
    )
