"""`cryofind report`: what was picked as pages to look at, and their numbers as `report.json`."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cryofind
from cryofind.atomic import write_folder_beside, write_json
from cryofind.config import ScoreConfig, load_config
from cryofind.errors import ConfigError, OutputError, ProcessError, ProjectError
from cryofind.pipeline.ensembles import is_model
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.points import find_result
from cryofind.pipeline.processes import start_processes
from cryofind.pipeline.records import timestamp
from cryofind.progress import report_progress

logger = logging.getLogger("cryofind")

REPORT_NAME = "report.json"
INDEX_NAME = "index.html"
PAGES_NAME = "runs"
INDEX_LINK = f"../{INDEX_NAME}"  # from a page to the summary
MADE_BY = "cryofind report"
# Below so many tomograms a second process costs more than it saves.
LEAST_FOR_PROCESSES = 4

# What is reported, and which options say something about it; the others are for all.
_OPTIONS_OF = {
    "a result of `cryofind pick`": {"--truth", "--truth-uri", "--set", "--run"},
    "tomograms": {"--picks", "--tomogram", "--voxel-size", "--run"},
    "a model": set[str](),
}

Task = TypeVar("Task")
Document = dict[str, Any]
Outcome = TypeVar("Outcome")
MakePage = Callable[[Task, Path], Outcome]


@dataclass(frozen=True)
class ReportRequest:
    """What to report, and where to.

    Parameters
    ----------
    paths
        A result folder, a model folder or an input; or two results.
    out
        Folder for the pages; None for `report` in a result or model folder, `cryofind-report` here for an input.
    truth
        What the picks are compared with; None for the annotations of the project that was picked.
    with_truth
        Whether to compare at all.
    truth_uri
        Whose picks of the truth: `object:user/session`.
    selection
        Of an input: which tomograms, how to read them, whose picks are drawn. Of a result: which runs.
    settings
        Changes of the recipe: `score.mode=one-to-one`.
    jobs
        Tomograms side by side; None for as many as there are cores.
    """

    paths: tuple[Path, ...]
    out: Path | None = None
    truth: Path | None = None
    with_truth: bool = True
    truth_uri: str = ""
    selection: InputSelection = InputSelection()
    settings: tuple[str, ...] = ()
    jobs: int | None = None


@dataclass(frozen=True)
class ReportSummary:
    """What was written.

    Parameters
    ----------
    index
        The first page.
    document
        Content of `report.json`.
    lines
        What to tell.
    """

    index: Path
    document: Document
    lines: tuple[str, ...]


def write_report(request: ReportRequest) -> ReportSummary:
    """Write the pages of a result, a model, an input or a comparison; an earlier report there is replaced.

    Several tomograms are worked on by several processes. A script that calls this must then be guarded by
    `if __name__ == "__main__"`, since every process imports it.

    Raises
    ------
    CryofindError
        If a path holds nothing to report, a named truth cannot be used, an option says nothing about what is
        reported, or the folder is something else's.
    """
    started = time.perf_counter()
    kind, fill, default_out = _choose_kind(request)
    _refuse_unused(request, kind)
    out = (request.out or default_out).resolve()
    _refuse_foreign_folder(out)
    with write_folder_beside(out) as folder:
        document = {
            "cryofind": cryofind.__version__,
            "written": timestamp(),
            **fill(request, folder),
            "made_by": MADE_BY,
        }
        document["seconds"] = round(time.perf_counter() - started, 3)
        write_json(folder / REPORT_NAME, document)
    return ReportSummary(out / INDEX_NAME, document, tuple(_tell(document, out / INDEX_NAME)))


def _choose_kind(request: ReportRequest) -> tuple[str, Callable[[ReportRequest, Path], Document], Path]:
    """Return what is reported, what fills the folder, and where that is unless the user says."""
    from cryofind.pipeline.report_compare import fill_comparison
    from cryofind.pipeline.report_input import fill_input
    from cryofind.pipeline.report_picks import fill_result

    here = Path("cryofind-report")
    if len(request.paths) == 2:
        return "a result of `cryofind pick`", fill_comparison, here
    (path,) = request.paths
    result = find_result(path)
    if result is not None:
        return "a result of `cryofind pick`", fill_result, result / "report"
    if is_model(path):
        return "a model", _fill_model, path / "report" if path.is_dir() else here
    if not path.exists():
        advice = "give a folder of `cryofind pick`, a model, a project or a tomogram"
        raise ProjectError(path, "does not exist", advice)
    return "tomograms", fill_input, here


def _fill_model(request: ReportRequest, folder: Path) -> Document:
    from cryofind.pipeline.report_model import report_model  # loads torch

    return report_model(request.paths[0], folder)


def _refuse_unused(request: ReportRequest, kind: str) -> None:
    """Refuse what was asked for and would be passed over in silence."""
    selection = request.selection
    given = {
        "--truth": request.truth is not None,
        "--truth-uri": bool(request.truth_uri),
        "--set": bool(request.settings),
        "--picks": bool(selection.picks_uri),
        "--tomogram": bool(selection.tomogram_uri),
        "--voxel-size": selection.voxel_spacing_angstrom is not None,
        "--run": bool(selection.runs),
    }
    unused = [option for option, is_given in given.items() if is_given and option not in _OPTIONS_OF[kind]]
    if unused:
        problem = f"is taken for {kind}, about which {unused[0]} says nothing"
        raise ConfigError(request.paths[0], problem, "leave that out, or name another path")


def _refuse_foreign_folder(out: Path) -> None:
    """Refuse a folder that, replaced as a whole, would take anything with it that is not a report's."""
    if out.exists() and not out.is_dir():
        raise OutputError(out, "is a file, expected a folder", "choose another --out")
    if Path.cwd().is_relative_to(out):
        raise OutputError(out, "is the folder that you are in, or above it", "choose a new folder for --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    is_ours = (_read_document(out) or {}).get("made_by") == MADE_BY
    strangers = [path.name for path in _list_strangers(out)] if is_ours else []
    if strangers or not is_ours:
        named = f" ({', '.join(strangers[:3])})" if strangers else ""
        raise OutputError(out, f"holds other files than those of `{MADE_BY}`{named}", "choose an empty or new folder")


def _list_strangers(out: Path) -> list[Path]:
    """Return what lies in the folder of a report and is no part of it; hidden files are of the desktop."""
    pages = out / PAGES_NAME
    found = [path for path in sorted(out.iterdir()) if path.name not in {INDEX_NAME, REPORT_NAME, PAGES_NAME}]
    if pages.is_dir():
        found += [path for path in sorted(pages.iterdir()) if path.suffix != ".html"]
    return [path for path in found if path.is_dir() or not path.name.startswith(".")]


def _read_document(folder: Path) -> Document | None:
    try:
        document = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _tell(document: Document, index: Path) -> list[str]:
    for line in document.get("warnings", []):
        logger.warning("%s", line)
    size = sum(path.stat().st_size for path in index.parent.rglob("*") if path.is_file())
    return [f"{index} ({size / 1e6:.1f} MB, {document['seconds']:.1f} s)"]


def choose_jobs(asked: int | None, count: int) -> int:
    """Return how many processes make the pages of so many tomograms."""
    if asked is not None:
        return max(1, min(asked, count))
    return 1 if count < LEAST_FOR_PROCESSES else min(os.cpu_count() or 1, count)


def make_pages(tasks: Sequence[Task], make: MakePage[Task, Outcome], folder: Path, *, jobs: int) -> list[Outcome]:
    """Make the page of every tomogram, with progress; return what came of them, in the order of the tasks.

    Parameters
    ----------
    tasks
        What to make; can be sent to other processes.
    make
        Writes one page below a folder and returns what came of it: a function of a module.
    folder
        Where.
    jobs
        Processes; 1 for none beside this one.
    """
    outcomes: dict[int, Outcome] = {}
    with report_progress("pages", len(tasks)) as progress, _calling(jobs) as call:
        for index, outcome in call(tasks, make, folder):
            outcomes[index] = outcome
            progress.advance()
    return [outcomes[index] for index in range(len(tasks))]


@contextmanager
def _calling(jobs: int) -> Iterator[Callable[..., Iterator[tuple[int, Any]]]]:
    if jobs == 1:
        yield lambda tasks, make, folder: ((index, make(task, folder)) for index, task in enumerate(tasks))
        return
    with start_processes(jobs) as pool:

        def call(tasks: Sequence[Task], make: MakePage[Task, Outcome], folder: Path) -> Iterator[tuple[int, Outcome]]:
            waiting = {pool.submit(make, task, folder): index for index, task in enumerate(tasks)}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            except BrokenProcessPool as error:
                problem = "a process that made a page was killed; the memory may be full"
                raise ProcessError("cryofind report", problem, "try --jobs 1") from error

        yield call


def score_config(request: ReportRequest) -> ScoreConfig:
    """Return how picks are compared."""
    return load_config(settings=request.settings).score
