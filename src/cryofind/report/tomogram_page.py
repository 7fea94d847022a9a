"""The page of one tomogram: slices with picks, their numbers, what stands out, where it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from cryofind.report.marks import ObjectMarks
from cryofind.report.rendering import render_page
from cryofind.report.slabs import PictureStack
from cryofind.types import VoxelGrid

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Words:
    """What the three kinds of marks are called, where a truth (or another result) is compared with.

    Parameters
    ----------
    matched, false, missed
        Picks that both have, that only the shown result has, and what only the other one has.
    """

    matched: str = "matched"
    false: str = "false"
    missed: str = "missed"


@dataclass(frozen=True)
class Rule:
    """How picks are counted against a truth.

    Parameters
    ----------
    mode
        `kaggle`, `one-to-one` or `octopi`.
    beta
        Weight of recall against precision.
    divisor
        What the weighted sum of F-beta is divided by.
    is_score
        Whether precision, recall and F-beta mean anything: not between two results.
    """

    mode: str
    beta: float
    divisor: float
    is_score: bool = True


@dataclass(frozen=True)
class Table:
    """A table: what stands in its head, and its rows; all but the first column are numbers.

    Parameters
    ----------
    header
        A title for every column.
    rows
        Cells, ready to be shown.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Cutout:
    """A particle or pick in a gallery.

    Parameters
    ----------
    title
        What it is.
    lines
        What is known of it.
    pictures
        `data:` URIs and what each shows: xy, xz, yz.
    color
        Of its object, `#rrggbb`.
    radius_share
        Its radius as a share of the picture's width, for the ring in the middle; 0 for none.
    kind
        `matched`, `false`, `missed` or empty: how the ring is drawn.
    zyx
        Its position in Angstrom, where the page shows slices there; empty else.
    rank
        How much it deserves to be seen among others of its kind; more is first.
    """

    title: str
    lines: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]
    color: str = "#ffffff"
    radius_share: float = 0.0
    kind: str = ""
    zyx: tuple[float, ...] = ()
    rank: float = 0.0


@dataclass(frozen=True)
class Section:
    """A part of a page below the slices.

    Parameters
    ----------
    anchor
        Its id on the page.
    title
        Its heading.
    sentences
        What stands out.
    figures
        Charts, escaped already.
    tables
        Numbers.
    galleries
        Rows of cut-outs, each with a heading.
    """

    anchor: str
    title: str
    sentences: tuple[str, ...] = ()
    figures: tuple[Markup, ...] = ()
    tables: tuple[Table, ...] = ()
    galleries: tuple[tuple[str, tuple[Cutout, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class TomogramContent:
    """What a tomogram's page shows.

    Parameters
    ----------
    run
        Its run.
    subtitle
        What it is, in a line.
    grid
        Its voxels.
    stacks
        Pictures along z, then along y; none if the tomogram cannot be read.
    objects
        Candidates and particles by object; none without picks.
    object_numbers
        By object: numbers that stand in the table, as in `report.json` (see `OBJECT_FIELDS`).
    rule
        How picks are compared with the truth; None without one.
    f_beta
        Weighted F-beta of the run; None without a truth.
    expected
        What to expect of the picks without a truth, in a line; empty where nothing is known.
    words
        Names of the three kinds of marks.
    results
        Names of the two results where two are compared, as sliders are labelled; empty else.
    warnings
        What to know before the numbers are believed.
    sections
        What follows below the slices.
    provenance
        Where it comes from: label and value.
    index_page
        Link to the summary; empty without one.
    """

    run: str
    subtitle: str
    grid: VoxelGrid
    stacks: tuple[PictureStack, ...]
    objects: tuple[ObjectMarks, ...] = ()
    object_numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    rule: Rule | None = None
    f_beta: float | None = None
    expected: str = ""
    words: Words = Words()
    results: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sections: Sequence[Section] = ()
    provenance: Facts = ()
    index_page: str = ""


def render_tomogram(content: TomogramContent) -> str:
    """Return the page of a tomogram."""
    left_out = sum(side.left_out for marks in content.objects for side in marks.sides)
    return render_page(
        "tomogram.html.j2", content=content, data=_build_data(content), left_out=left_out, stacks=_name_stacks(content)
    )


def _name_stacks(content: TomogramContent) -> list[dict[str, Any]]:
    names = {0: ("xy", "z"), 1: ("xz", "y")}
    return [
        {
            "name": names[stack.axis][0],
            "axis": names[stack.axis][1],
            "width": stack.width,
            "height": stack.height,
            "first": _first(stack),
            "last": len(stack.pictures) - 1,
            "picture": stack.pictures[_first(stack)].source,
        }
        for stack in content.stacks
    ]


def _first(stack: PictureStack) -> int:
    """Return the picture that is seen first: the middle one."""
    return len(stack.pictures) // 2


def _build_data(content: TomogramContent) -> dict[str, Any]:
    """Return what the script of the page works with, JSON-ready."""
    grid = content.grid
    return {
        "run": content.run,
        "shape": list(grid.shape_zyx),
        "spacing": list(grid.spacing_zyx_angstrom),
        "origin": list(grid.origin_zyx_angstrom),
        "rule": None if content.rule is None else vars(content.rule),
        "words": vars(content.words),
        "stacks": [
            {
                "axis": stack.axis,
                "centers": [round(picture.center_angstrom, 2) for picture in stack.pictures],
                # The first one to be seen stands in the page itself.
                "pictures": [
                    picture.source if number != _first(stack) else "" for number, picture in enumerate(stack.pictures)
                ],
            }
            for stack in content.stacks
        ],
        "objects": [marks.as_data() for marks in content.objects],
    }
