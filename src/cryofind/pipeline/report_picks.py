"""`cryofind report` of a result folder: every run's page, and the summary over all."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryofind.atomic import write_text
from cryofind.config import ScoreConfig
from cryofind.errors import NameRefused
from cryofind.pipeline.failures import FailureReport, explain_failures, find_membranes
from cryofind.pipeline.points import PointSource, grid_of_record, read_points, tomogram_of_record
from cryofind.pipeline.report import INDEX_NAME, PAGES_NAME, ReportRequest, choose_jobs, make_pages, score_config
from cryofind.pipeline.report_galleries import Gallery, show_worst
from cryofind.pipeline.report_rows import describe_result, object_columns, object_row, run_columns, run_row
from cryofind.pipeline.report_run import write_run_page
from cryofind.pipeline.report_sections import show_failures, show_residuals, show_scores, trace_thinned
from cryofind.pipeline.report_task import RunTask
from cryofind.pipeline.report_truth import Reference, compare_with_truth, describe_in_sample
from cryofind.report.colors import choose_colors, format_color
from cryofind.report.rendering import format_share
from cryofind.report.summary_page import SummaryContent, render_summary
from cryofind.report.tomogram_page import Section
from cryofind.scoring.curves import ScoreCurve
from cryofind.types import ParticleSpec, Picks, check_run_name

Record = dict[str, Any]

# Runs whose membranes are read, which takes a second each: of more, the rates hardly change.
MOST_MEMBRANES = 24


def fill_result(request: ReportRequest, folder: Path) -> Record:
    """Write the pages of a result folder; return its part of `report.json`.

    Raises
    ------
    CryofindError
        If the result is damaged, or a truth that was named cannot be used.
    """
    config = score_config(request)
    source = read_points(request.paths[0], runs=request.selection.runs)
    reference, notes = None, tuple[str, ...]()
    if request.with_truth:
        reference, notes = compare_with_truth(source, request.truth, config, truth_uri=request.truth_uri)
    pooled = None if reference is None else _pool(source, reference, config)
    tasks = plan_runs(source, reference, config)
    jobs = choose_jobs(request.jobs, len(tasks))
    tasks = [replace(task, sharers=jobs) for task in tasks]
    outcomes = make_pages(tasks, write_run_page, folder, jobs=jobs)
    runs = [outcome.document for outcome in outcomes]
    galleries = [(outcome.document["run"], outcome.gallery) for outcome in outcomes]
    document = {
        "kind": "picks",
        "source": str(source.path),
        "truth": None if reference is None else reference.origin,
        "warnings": [*notes, *_warn(source, reference)],
        "objects": _sum_objects(source, reference, runs),
        "score": None if reference is None else reference.report.to_dict(),
        **({} if pooled is None else pooled.to_dict()),
        "runs": runs,
        "failed": source.record.get("failed", []),
        "provenance": {key: source.record.get(key) for key in _PROVENANCE_KEYS},
    }
    sections = _build_sections(source.picks, _shown_specs(source, reference), pooled, galleries, config.beta)
    write_text(folder / INDEX_NAME, render_summary(_summarise(source, document, sections)))
    return document


_PROVENANCE_KEYS = ("recipe_sha256", "finished", "seconds", "environment", "models", "thresholds", "engine")


def _warn(source: PointSource, reference: Reference | None) -> list[str]:
    """Return what to know of the whole result before its numbers are believed."""
    lines = list(describe_in_sample(() if reference is None else reference.report.in_sample_runs))
    failed = source.record.get("failed", [])
    if failed:
        lines.append(f"{len(failed)} tomogram{'s' if len(failed) > 1 else ''} could not be picked: see the table")
    known = {spec.name for spec in source.objects}
    for name in source.picks.object_names:
        if name not in known:
            count = int((source.picks.objects == name).sum())
            lines.append(f"{count} picks of '{name}' are not shown: run.json does not know this object")
    return lines


def _sum_objects(source: PointSource, reference: Reference | None, runs: Sequence[Record]) -> dict[str, Record]:
    """Return numbers by object, over all runs."""
    specs = [spec for spec in _shown_specs(source, reference) if spec.is_particle]
    colors = choose_colors(specs)
    selected = source.picks.only_selected()
    objects = {}
    for spec in specs:
        expected = [run["objects"][spec.name]["expected"] for run in runs if spec.name in run["objects"]]
        # Of some runs alone they would be held against the picks of all.
        known = [one for one in expected if one is not None] if None not in expected else []
        objects[spec.name] = {
            "radius_angstrom": spec.radius_angstrom,
            "color": format_color(colors[spec.name]),
            "candidates": int((source.picks.objects == spec.name).sum()),
            "picks": int((selected.objects == spec.name).sum()),
            "threshold": source.record.get("thresholds", {}).get(spec.name),
            "expected": round(sum(one["expected"] for one in known), 2) if known else None,
            "expected_hits": round(sum(one["expected_hits"] for one in known), 2) if known else None,
        }
        if reference is not None:
            rated = reference.report.objects.get(spec.name)
            objects[spec.name]["true"] = int((reference.picks.objects == spec.name).sum())
            objects[spec.name]["score"] = None if rated is None else rated.to_dict()
    return objects


def _summarise(source: PointSource, document: Record, sections: Sequence[Section]) -> SummaryContent:
    """Return what the first page shows."""
    record, score = source.record, document["score"]
    models = ", ".join(model["name"] for model in record.get("models", [])) or "an unknown model"
    picked = sum(one["picks"] for one in document["objects"].values())
    facts = [("tomograms", str(len(document["runs"]))), ("picks", f"{picked:,}")]
    if score is not None:
        facts.append((f"weighted F{score['beta']:g}", format_share(score["f_beta"])))
    if "seconds" in record:
        facts.append(("time of picking", f"{record['seconds']:.0f} s"))
    return SummaryContent(
        title=source.path.resolve().name,
        subtitle=f"picked by {models}" + (f", compared with {document['truth']}" if document["truth"] else ""),
        facts=tuple(facts),
        warnings=tuple(document["warnings"]),
        object_columns=object_columns(document),
        object_rows=tuple(object_row(name, numbers) for name, numbers in document["objects"].items()),
        columns=run_columns(document),
        runs=tuple(run_row(run) for run in (*document["runs"], *document["failed"])),
        sections=sections,
        provenance=(("folder", str(source.path)), *describe_result(record)),
        details=(("recipe, as it was resolved", json.dumps(record.get("config", {}), indent=2)),),
    )


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the runs that have a truth show together.

    Parameters
    ----------
    explained
        What went wrong, and where; offsets of matched picks.
    curves
        What every threshold would score.
    """

    explained: FailureReport
    curves: Sequence[ScoreCurve]

    def to_dict(self) -> Record:
        """Return the numbers, JSON-ready."""
        curves = {curve.name: curve.to_dict() for curve in self.curves}
        return {"failures": self.explained.to_dict(), "curves": curves}


def _pool(source: PointSource, reference: Reference, config: ScoreConfig) -> Pooled:
    specs = [spec for spec in reference.specs if spec.is_particle]
    picks, truth, runs = source.picks, reference.picks, reference.runs
    membranes = find_membranes(Path(reference.origin), runs[:MOST_MEMBRANES])
    explained = explain_failures(picks, truth, specs, source.grids, config=config, runs=runs, membranes=membranes)
    return Pooled(explained, trace_thinned(picks, truth, specs, config, runs))


def _build_sections(
    picks: Picks,
    specs: Sequence[ParticleSpec],
    pooled: Pooled | None,
    galleries: Sequence[tuple[str, Gallery]],
    beta: float,
) -> tuple[Section, ...]:
    """Return what stands below the tables."""
    particles = [spec for spec in specs if spec.is_particle]
    if pooled is None:
        return (*show_scores(picks, particles), *show_worst(galleries, particles, with_failures=False))
    return (
        *show_scores(picks, particles, pooled.curves, beta=beta),
        show_failures(pooled.explained),
        *show_worst(galleries, particles, with_failures=True),
        *show_residuals(pooled.explained.residuals),
    )


def plan_runs(source: PointSource, reference: Reference | None, config: ScoreConfig) -> list[RunTask]:
    """Return what is to be done for every run of a result.

    Raises
    ------
    OutputError
        If `run.json` is damaged.
    """
    specs = _shown_specs(source, reference)
    provenance = describe_result(source.record)
    tasks = []
    records = source.record.get("runs", [])
    entries = [tomogram_of_record(source.path, record) for record in records]
    for record, entry, name in zip(records, entries, name_pages([entry.run for entry in entries]), strict=True):
        run = entry.run
        if run not in source.runs:
            continue  # not asked for
        has_truth = reference is not None and run in reference.runs
        tasks.append(
            RunTask(
                run=run,
                page=f"{PAGES_NAME}/{name}.html",
                entry=replace(entry, run=name),  # a name that is safe in files
                grid=grid_of_record(source.path, record),
                picks=source.picks.of_run(run),
                specs=specs,
                thresholds=_thresholds_of(source.record),
                record=record,
                truth=reference.picks.of_run(run) if reference is not None and has_truth else None,
                config=config,
                warnings=() if reference is None or has_truth else ("the truth says nothing about this run",),
                provenance=provenance,
            )
        )
    return tasks


def name_pages(names: Sequence[str]) -> list[str]:
    """Return a file's name for each run: its own where that is safe, and no two that any disk takes for the same."""
    pages: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names, start=1):
        page = name if _is_safe(name) and _fold(name) not in taken else f"run-{number}"
        while _fold(page) in taken:
            page += f"-{number}"
        taken.add(_fold(page))
        pages.append(page)
    return pages


def _is_safe(name: str) -> bool:
    try:
        check_run_name(name)
    except NameRefused:
        return False
    return True


def _fold(name: str) -> str:
    """Return what is the same for all names that disks of macOS or Windows take for one file."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _shown_specs(source: PointSource, reference: Reference | None) -> tuple[ParticleSpec, ...]:
    """Return the objects of the truth, if any, whose weights and radii count, with the colours of the result's."""
    if reference is None:
        return source.objects
    colors = {spec.name: spec.color for spec in source.objects}
    return tuple(replace(spec, color=colors.get(spec.name, spec.color)) for spec in reference.specs)


def _thresholds_of(record: Record) -> dict[str, float]:
    expected = record.get("config", {}).get("locate", {}).get("thresholds") == "expected"
    return {} if expected else dict(record.get("thresholds", {}))
