"""Reports, written and read back."""

import json
from pathlib import Path
from typing import Any

from cryofind.pipeline.picked_runs import Record
from cryofind.pipeline.report import ReportRequest, write_report
from tests.unit.test_report_pages import Page


def report(*paths: Path, **options: Any) -> tuple[Path, Record]:
    """Write a report; return its folder and `report.json`."""
    summary = write_report(ReportRequest(paths, jobs=1, **options))
    document = json.loads((summary.index.parent / "report.json").read_text("utf-8"))
    return summary.index.parent, document


def open_page(folder: Path, document: Record, run: str) -> tuple[Page, Record]:
    """Return the page of a run, and its numbers."""
    numbers = next(one for one in document["runs"] if one["run"] == run)
    return Page((folder / numbers["page"]).read_text("utf-8")), numbers
