"""Charts of lines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from cryofind.report.chart_axes import Axis, Floats, axis_of, format_number, thin, usable
from cryofind.report.chart_parts import (
    INNER_BOTTOM,
    INNER_LEFT,
    INNER_RIGHT,
    TABLE_ROWS,
    TOP,
    Mark,
    Stroke,
    build_figure,
    draw_frame,
    draw_legend,
    draw_line,
    draw_mark,
    draw_nothing,
    draw_table,
    stroke_of,
)

LINE_POINTS = 600  # of a line; more than the chart has pixels across are not seen
DOTS_UNTIL = 40  # a line of at most so many points has a dot at each


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a chart.

    Parameters
    ----------
    name
        Its name in the legend; "" leaves it out of legend and table.
    x, y
        Shape (n,) each; the points are joined in their order. What is not finite interrupts the line.
    color
        `#rrggbb`; None for the next one of a colour-blind safe palette.
    low, high
        Ends of a band around the line, shape (n,); both or none.
    is_faint
        Whether it is drawn thin and pale, as what lies behind another line.
    is_dots
        Whether only points are drawn, no line.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    color: str | None = None
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    is_faint: bool = False
    is_dots: bool = False


@dataclass(frozen=True, eq=False)
class _Line:
    """A series made ready: arrays of the same length, thinned, and how it is drawn."""

    series: Series
    x: Floats
    y: Floats
    stroke: Stroke
    total: int
    band: tuple[Floats, Floats] | None = field(default=None)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    log_x: bool = False,
    marks: Sequence[Mark] = (),
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Markup:
    """Return lines over x, such as losses over steps or precision over recall.

    Parameters
    ----------
    series
        The lines, those behind first. Long ones are thinned, with the smallest and largest values kept.
    title, x_label, y_label
        Words; units in brackets.
    log_y, log_x
        Whether an axis is logarithmic: what is not positive is left out.
    marks
        What is pointed out.
    x_limits, y_limits
        Ends of the axes; None for those of the data. What lies outside is drawn at the edge.

    Raises
    ------
    ValueError
        If arrays of a series differ in length.
    """
    lines = [_prepare(one, _number(series, i), log_x=log_x, log_y=log_y) for i, one in enumerate(series)]
    x_all = np.concatenate([np.zeros(0), *(line.x[np.isfinite(line.y)] for line in lines), _places(marks, "x")])
    y_all = np.concatenate([np.zeros(0), *_heights(lines), _places(marks, "y")])
    x = axis_of(x_all, INNER_LEFT, INNER_RIGHT, is_log=log_x, limits=x_limits)
    y = axis_of(y_all, INNER_BOTTOM, TOP, is_log=log_y, limits=y_limits)
    parts = [draw_frame(x, y, x_label, y_label)]
    parts += [_draw_series(line, x, y) for line in lines]
    parts += [draw_mark(mark, number, x, y) for number, mark in enumerate(marks)]
    if not any(np.isfinite(line.y).any() for line in lines):
        parts.append(draw_nothing("no values"))
    named = [line for line in lines if line.series.name]
    return build_figure(
        Markup().join(parts),
        title=title,
        description=f"{title}: {y_label} over {x_label}. {_describe(named)}",
        legend=draw_legend((line.series.name, line.stroke) for line in named) if len(named) > 1 else Markup(),
        table=_tabulate_lines(named, marks, x_label, y_label),
    )


def _number(series: Sequence[Series], place: int) -> int:
    """Return the number that decides on colour and dash; a faint line has that of the line which lies on it."""
    return sum(not one.is_faint for one in series[:place])


def _prepare(series: Series, number: int, *, log_x: bool, log_y: bool) -> _Line:
    x, y = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (series.x, series.y))
    if len(x) != len(y):
        raise ValueError(f"series {series.name!r} has {len(x)} x and {len(y)} y")
    x, y = usable(x, is_log=log_x), usable(y, is_log=log_y)
    kept = thin(y, LINE_POINTS)
    stroke = stroke_of(number, series.color)
    if series.is_faint:
        stroke = replace(stroke, dash="", width=1.0, opacity=0.35)
    band = None
    if series.low is not None and series.high is not None:
        low, high = (
            usable(np.asarray(end, dtype=np.float64).reshape(-1), is_log=log_y) for end in (series.low, series.high)
        )
        if not len(low) == len(high) == len(y):
            raise ValueError(f"series {series.name!r} has {len(y)} y and a band of {len(low)} and {len(high)}")
        band = low[kept], high[kept]
    return _Line(series, x[kept], y[kept], stroke, len(y), band)


def _places(marks: Sequence[Mark], axis: str) -> Floats:
    found = [mark.x if axis == "x" else mark.y for mark in marks]
    return np.array([value for value in found if value is not None], dtype=np.float64)


def _heights(lines: Sequence[_Line]) -> list[Floats]:
    ends = [end for line in lines if line.band is not None for end in line.band]
    return [line.y[np.isfinite(line.x)] for line in lines] + ends


def _draw_series(line: _Line, x: Axis, y: Axis) -> Markup:
    x_pixels, y_pixels = x.place(line.x), y.place(line.y)
    parts = []
    if line.band is not None:
        parts.append(_draw_band(x_pixels, y.place(line.band[0]), y.place(line.band[1]), line.stroke))
    if not line.series.is_dots:
        parts.append(draw_line(x_pixels, y_pixels, line.stroke))
    is_shown = np.isfinite(x_pixels) & np.isfinite(y_pixels)
    if line.series.is_dots or (len(line.y) <= DOTS_UNTIL and not line.series.is_faint):
        parts += [
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"><title>{}</title></circle>').format(
                x_pixels[i],
                y_pixels[i],
                line.stroke.color,
                f"{line.series.name}: {format_number(line.x[i])}, {format_number(line.y[i])}",
            )
            for i in np.flatnonzero(is_shown)
        ]
    return Markup().join(parts)


def _draw_band(x_pixels: Floats, low: Floats, high: Floats, stroke: Stroke) -> Markup:
    known = np.isfinite(x_pixels) & np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return Markup()
    along = np.concatenate([x_pixels[known], x_pixels[known][::-1]])
    around = np.concatenate([high[known], low[known][::-1]])
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(along, around, strict=True))
    return Markup('<polygon points="{}" fill="{}" fill-opacity="0.15"/>').format(points, stroke.color)


def _describe(lines: Sequence[_Line]) -> str:
    told = []
    for line in lines:
        known = line.y[np.isfinite(line.y)]
        if len(known):
            span = f"from {format_number(known.min())} to {format_number(known.max())}"
            told.append(f"{line.series.name}: {span}, last {format_number(known[-1])}")
    return "; ".join(told) or "no values"


def _tabulate_lines(lines: Sequence[_Line], marks: Sequence[Mark], x_label: str, y_label: str) -> Markup:
    pointed = [[mark.name, mark.x, np.nan if mark.y is None else mark.y] for mark in marks]
    if lines and all(np.array_equal(line.x, lines[0].x, equal_nan=True) for line in lines) and not pointed:
        header = [x_label, *(line.series.name for line in lines)]
        rows = [list(row) for row in zip(lines[0].x, *(line.y for line in lines), strict=True)]
        kept = thin(lines[0].y, TABLE_ROWS)
        return draw_table(header, [rows[i] for i in kept], _note_left_out(len(kept), lines[0].total))
    room = max(TABLE_ROWS // max(len(lines), 1), 4)
    rows, shown = list(pointed), 0
    for line in lines:
        kept = thin(line.y, room)
        shown += len(kept)
        rows += [[line.series.name, line.x[i], line.y[i]] for i in kept]
    return draw_table(["", x_label, y_label], rows, _note_left_out(shown, sum(line.total for line in lines)))


def _note_left_out(shown: int, total: int) -> str:
    return f"{shown:,} of {total:,} points, highest and lowest ones kept" if shown < total else ""
