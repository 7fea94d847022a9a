"""`cryofind report` of tomograms that nobody has picked yet: slices, grey values, spectrum, and what is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cryofind import czii
from cryofind.atomic import write_text
from cryofind.errors import CryofindError, PicksError, ProjectError
from cryofind.io import Project, TomogramEntry, describe_path, format_description, open_project
from cryofind.pipeline.examine import examine_voxels
from cryofind.pipeline.report import INDEX_LINK, INDEX_NAME, PAGES_NAME, ReportRequest, choose_jobs, make_pages
from cryofind.pipeline.report_picks import name_pages
from cryofind.pipeline.report_task import RunTask, build_marks, describe_grid, number_objects
from cryofind.pipeline.report_voxels import Voxels, draw_pictures, open_voxels
from cryofind.preprocess import place_blocks
from cryofind.report.charts import Series, histogram, line_chart
from cryofind.report.marks import limit_marks
from cryofind.report.spectrum import measure_spectrum
from cryofind.report.summary_page import Column, SummaryContent, render_summary
from cryofind.report.tomogram_page import Facts, Section, TomogramContent, render_tomogram
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid

Record = dict[str, Any]

SAMPLED_VOXELS = 200_000
GREY_BINS = 80


@dataclass(frozen=True, eq=False)
class InputTask:
    """What is needed for the page of a tomogram of an input.

    Parameters
    ----------
    name, page
        What the page is called, and its file relative to the report.
    entry
        The tomogram.
    project
        What it belongs to, without other runs.
    specs
        Objects of the picks.
    picks_uri
        Whose picks are drawn; empty where there is only one annotator.
    voxel_spacing_angstrom
        Instead of what the file says.
    sharers
        Processes that read tomograms at the same time.
    """

    name: str
    page: str
    entry: TomogramEntry
    project: Project
    specs: tuple[ParticleSpec, ...]
    picks_uri: str
    voxel_spacing_angstrom: float | None
    sharers: int


def fill_input(request: ReportRequest, folder: Path) -> Record:
    """Write the pages of a project, folder or tomogram; return its part of `report.json`.

    Raises
    ------
    CryofindError
        If there is no tomogram.
    """
    path = request.paths[0]
    project = open_project(path)
    tasks = plan_inputs(project, request)
    tomograms = make_pages(tasks, write_input_page, folder, jobs=choose_jobs(request.jobs, len(tasks)))
    description = describe_path(path)
    document = {
        "kind": "input",
        "source": str(path),
        "warnings": list(description["problems"]),
        "description": format_description(description),
        "runs": tomograms,
    }
    write_text(folder / INDEX_NAME, render_summary(_summarise(project, document)))
    return document


def plan_inputs(project: Project, request: ReportRequest) -> list[InputTask]:
    """Return what is to be done for every tomogram of an input; several of one run have a page each.

    Raises
    ------
    ProjectError
        If there is none.
    """
    selection = request.selection
    entries = project.select_tomograms(selection.tomogram_uri, runs=selection.runs)
    if not entries:
        raise ProjectError(project.path, "holds neither tomograms nor a result", "name a result, a model or an input")
    count_of = Counter(entry.run for entry in entries)
    jobs = choose_jobs(request.jobs, len(entries))
    names = [entry.run if count_of[entry.run] == 1 else f"{entry.run} {entry.uri}" for entry in entries]
    tasks = []
    for entry, name, page in zip(entries, names, name_pages(names), strict=True):
        tasks.append(
            InputTask(
                name=name,
                page=f"{PAGES_NAME}/{page}.html",
                entry=entry,
                project=_of_run(project, entry),
                specs=project.objects or czii.OBJECTS,
                picks_uri=selection.picks_uri,
                voxel_spacing_angstrom=selection.voxel_spacing_angstrom,
                sharers=jobs,
            )
        )
    return tasks


def _of_run(project: Project, entry: TomogramEntry) -> Project:
    picks = tuple(one for one in project.picks_entries if one.run == entry.run)
    return replace(project, runs=(entry.run,), tomograms=(entry,), picks_entries=picks, segmentations=())


def write_input_page(task: InputTask, out: Path) -> Record:
    """Write the page of a tomogram below `out`; return its numbers, as `report.json` has them.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    entry = task.entry
    try:
        voxels = open_voxels(entry, spacing_angstrom=task.voxel_spacing_angstrom, sharers=task.sharers)
        # A damaged part may show only when its box is read.
        stacks, (greys, numbers) = draw_pictures(voxels), _show_greys(voxels)
    except CryofindError as error:
        return {"run": task.name, "page": "", "flavour": entry.flavour, "findings": [], "warnings": [str(error)]}
    findings = _examine(task, voxels)
    picks, warnings = _read_picks(task)
    warnings += [finding.removeprefix("problem: ") for finding in findings if finding.startswith("problem")]
    run_task = RunTask(task.name, task.page, entry, voxels.grid, picks, task.specs, {}, {})
    marks = [one for one in build_marks(run_task, None) if len(one.scores)]
    counts = number_objects(run_task, marks, None)
    content = TomogramContent(
        run=task.name,
        subtitle=describe_grid(entry.flavour, voxels.grid),
        grid=voxels.grid,
        stacks=stacks,
        objects=limit_marks(marks),
        object_numbers=counts,
        warnings=tuple(warnings),
        sections=(Section("findings", "What is found in it", sentences=tuple(findings)), greys),
        provenance=_describe(entry, voxels),
        index_page=INDEX_LINK,
    )
    write_text(out / task.page, render_tomogram(content))
    return {
        "run": task.name,
        "page": task.page,
        "flavour": entry.flavour,
        "path": str(entry.path),
        "shape_zyx": list(voxels.grid.shape_zyx),
        "spacing_zyx_angstrom": list(voxels.grid.spacing_zyx_angstrom),
        "objects": counts,
        "findings": findings,
        "warnings": warnings,
        **numbers,
    }


def _examine(task: InputTask, voxels: Voxels) -> list[str]:
    """Return what `cryofind doctor` finds."""
    if voxels.volume_zyx is None:
        return [*voxels.notes, "too large to be examined as a whole here: `cryofind doctor` does"]
    tomogram = Tomogram(task.entry.run, voxels.volume_zyx, voxels.grid, task.entry.flavour, voxels.notes)
    try:
        return list(dict.fromkeys(examine_voxels(task.project, tomogram)))
    except CryofindError as error:
        return [f"problem: {error}"]


def _read_picks(task: InputTask) -> tuple[Picks, list[str]]:
    """Return the picks to draw, and why there are none."""
    run = task.entry.run
    try:
        return task.project.read_picks(task.picks_uri, runs=(run,)), []
    except PicksError as error:
        return Picks.empty(), [f"no picks are drawn (--picks chooses some): {error}"]
    except CryofindError as error:
        return Picks.empty(), [str(error)]


def _show_greys(voxels: Voxels) -> tuple[Section, Record]:
    """Return the charts of grey values and spectrum, and their numbers."""
    blocks = [_read_block(voxels, block) for block in place_blocks(voxels.grid.shape_zyx)]
    values = np.concatenate([block.ravel() for block in blocks])
    values = values[np.isfinite(values)][:: max(1, values.size // SAMPLED_VOXELS)]
    low, high = np.percentile(values, (0.05, 99.95)) if values.size else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6 * max(abs(low), 1.0)), GREY_BINS + 1)
    spectrum = measure_spectrum(blocks, voxels.grid.spacing_zyx_angstrom)
    figures = (
        histogram({"voxels": values}, title="Grey values", x_label="grey value", y_label="voxels", bins=edges),
        line_chart(
            [Series("", spectrum.frequency_per_angstrom, spectrum.power)],
            title="Radial power spectrum",
            x_label="spatial frequency (1/Å)",
            y_label="power (white noise: 1)",
            log_y=True,
        ),
    )
    sentences = (f"Measured in {len(blocks)} blocks of {' x '.join(map(str, blocks[0].shape))} voxels.",)
    numbers = {
        "grey_values": {"edges": edges.tolist(), "counts": np.histogram(values, edges)[0].tolist()},
        "spectrum": {
            "frequency_per_angstrom": spectrum.frequency_per_angstrom.tolist(),
            "power": spectrum.power.tolist(),
        },
    }
    return Section("greys", "Grey values and spectrum", sentences=sentences, figures=figures), numbers


def _read_block(voxels: Voxels, block: Sequence[slice]) -> Any:
    z, y, x = block
    return np.asarray(voxels.read_box((z.start, y.start, x.start), (z.stop, y.stop, x.stop)), dtype=np.float32)


def _describe(entry: TomogramEntry, voxels: Voxels) -> Facts:
    facts = [("file", str(entry.path)), ("voxel spacing", _describe_spacing(voxels.grid))]
    return tuple([*facts, *(("note", note) for note in voxels.notes)])


def _describe_spacing(grid: VoxelGrid) -> str:
    return " x ".join(f"{spacing:.6g}" for spacing in grid.spacing_zyx_angstrom) + " Å (z, y, x)"


def _summarise(project: Project, document: Record) -> SummaryContent:
    tomograms = document["runs"]
    with_picks = any(one.get("objects") for one in tomograms)
    columns = [Column("flavour", "kind"), Column("size", "voxels (z, y, x)"), Column("spacing", "Å per voxel")]
    return SummaryContent(
        title=project.name,
        subtitle=f"{project.kind}, before picking" if not with_picks else f"{project.kind}, with its picks",
        facts=(("tomograms", str(len(tomograms))), ("runs", str(len(project.runs)))),
        warnings=tuple(document["warnings"]),
        columns=(*columns, *([Column("picks", "picks")] if with_picks else [])),
        runs=tuple(_row(one) for one in tomograms),
        provenance=(("input", document["source"]),),
        details=(("what is there", "\n".join(document["description"])),),
    )


def _row(tomogram: Record) -> Record:
    shape, spacing = tomogram.get("shape_zyx"), tomogram.get("spacing_zyx_angstrom")
    return {
        "run": tomogram["run"],
        "page": tomogram["page"],
        "flavour": tomogram["flavour"] or "-",
        "size": " x ".join(map(str, shape)) if shape else "-",
        "spacing": f"{np.mean(spacing):.3f}" if spacing else "-",
        "picks": sum(one["picks"] for one in tomogram.get("objects", {}).values()),
        "notes": tuple(tomogram["warnings"]),
    }
