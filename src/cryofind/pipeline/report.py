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
from cryofind.errors import OutputError, ProcessError, ProjectError
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.points import find_result
from cryofind.pipeline.processes import start_processes
from cryofind.pipeline.records import read_record, timestamp
from cryofind.progress import report_progress

logger = logging.getLogger("cryofind")

REPORT_NAME = "report.json"
INDEX_NAME = "index.html"
MADE_BY = "cryofind report"
# Below so many tomograms a second process costs more than it saves.
LEAST_FOR_PROCESSES = 4

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
        If a path holds nothing to report, a named truth cannot be used, or the folder is something else's.
    """
    started = time.perf_counter()
    fill, default_out = _choose_kind(request)
    out = request.out or default_out
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


def _choose_kind(request: ReportRequest) -> tuple[Callable[[ReportRequest, Path], Document], Path]:
    """Return what fills the folder, and where that is unless the user says."""
    from cryofind.pipeline.report_compare import fill_comparison
    from cryofind.pipeline.report_input import fill_input
    from cryofind.pipeline.report_picks import fill_result

    here = Path("cryofind-report")
    if len(request.paths) == 2:
        return fill_comparison, here
    (path,) = request.paths
    result = find_result(path)
    if result is not None:
        return fill_result, result / "report"
    if _may_be_model(path):
        from cryofind.pipeline.report_model import is_model  # loads torch

        if is_model(path):
            return _fill_model, path / "report" if path.is_dir() else here
    if not path.exists():
        advice = "give a folder of `cryofind pick`, a model, a project or a tomogram"
        raise ProjectError(path, "does not exist", advice)
    return fill_input, here


def _may_be_model(path: Path) -> bool:
    """Say whether a path may be a model, one in training, or the name of a shipped one."""
    if not path.is_dir():
        return not path.exists()
    if any((path / name).is_file() for name in ("model.json", "ensemble.json")):
        return True
    try:
        made_by = (read_record(path) or {}).get("made_by", "")
    except OutputError:
        return True
    return bool(made_by == "cryofind train")


def _fill_model(request: ReportRequest, folder: Path) -> Document:
    from cryofind.pipeline.report_model import report_model

    return report_model(request.paths[0], folder)


def _refuse_foreign_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(out, "is a file, expected a folder", "choose another --out")
    is_ours = (_read_document(out) or {}).get("made_by") == MADE_BY
    if out.is_dir() and any(out.iterdir()) and not is_ours:
        raise OutputError(out, f"holds other files than those of `{MADE_BY}`", "choose an empty or new folder")


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
