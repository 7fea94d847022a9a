"""The first page of a report: all runs in a table, what they add up to, what made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryofind.report.rendering import render_page
from cryofind.report.tomogram_page import Facts, Section


@dataclass(frozen=True)
class Column:
    """A column of the table of runs.

    Parameters
    ----------
    key
        Field of a row.
    title
        What stands above.
    color
        Swatch beside the title, `#rrggbb`; empty for none.
    """

    key: str
    title: str
    color: str = ""


@dataclass(frozen=True, eq=False)
class SummaryContent:
    """What the summary shows.

    Parameters
    ----------
    title
        Of the page.
    subtitle
        What it is about, in a line.
    facts
        Numbers worth seeing first.
    warnings
        What to know before the numbers are believed.
    object_columns, object_rows
        The table by object; rows are cells by key, `name` and `color` among them.
    columns
        Columns of the table of runs, after the run itself.
    runs
        A row for each run: cells by key, and `run`, `page` (empty without one) and `notes` (what to know).
    sections
        What follows.
    provenance
        Where it comes from.
    details
        Long texts to unfold: title and text.
    """

    title: str
    subtitle: str
    facts: Facts = ()
    warnings: tuple[str, ...] = ()
    object_columns: tuple[Column, ...] = ()
    object_rows: tuple[dict[str, Any], ...] = ()
    columns: tuple[Column, ...] = ()
    runs: tuple[dict[str, Any], ...] = ()
    sections: Sequence[Section] = ()
    provenance: Facts = ()
    details: tuple[tuple[str, str], ...] = ()


def render_summary(content: SummaryContent) -> str:
    """Return the summary as a page of HTML."""
    return render_page("summary.html.j2", content=content)
