"""Histograms and bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from cryofind.report.chart_axes import Axis, Floats, axis_of, format_number, usable
from cryofind.report.chart_parts import (
    INNER_BOTTOM,
    INNER_LEFT,
    INNER_RIGHT,
    LETTER,
    TOP,
    WIDTH,
    Mark,
    Stroke,
    build_figure,
    draw_frame,
    draw_legend,
    draw_mark,
    draw_nothing,
    draw_table,
    shorten,
    stroke_of,
)

MOST_BINS = 60
LOWEST_LOG_COUNT = 0.7  # foot of a logarithmic count axis, so that one is seen
BAR_ROW, BAR_HEIGHT = 40, 14
LEAST_NUMBER_ROOM, NUMBER_LETTERS = 70.0, 24  # right of the bars: pixels, and letters that have room at most


@dataclass(frozen=True)
class Bar:
    """One bar: a value and, if known, its interval, and words that follow the number."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    color: str | None = None


def histogram(
    values: Mapping[str, ArrayLike],
    *,
    title: str,
    x_label: str,
    y_label: str = "count",
    bins: int | ArrayLike | None = None,
    log_counts: bool = False,
    marks: Sequence[Mark] = (),
    colors: Mapping[str, str] | None = None,
) -> Markup:
    """Return outlines of the counts of one or several sets of values, over the same bins.

    Parameters
    ----------
    values
        By name of the set, any shape; what is not finite is left out, and the table says how many.
    title, x_label, y_label
        Words; units in brackets.
    bins
        Number of bins, or their rising edges (shape (n + 1,)); None for as many as the values ask for.
    log_counts
        Whether the axis of counts is logarithmic.
    marks
        What is pointed out, such as a threshold.
    colors
        `#rrggbb` by name; the palette's where left out.

    Raises
    ------
    ValueError
        If edges are given that do not rise.
    """
    sets = {name: _finite(found) for name, found in values.items()}
    edges = _edges(np.concatenate([np.zeros(0), *sets.values()]), bins)
    counts = {name: np.histogram(found, edges)[0].astype(np.float64) for name, found in sets.items()}
    x = axis_of(edges, INNER_LEFT, INNER_RIGHT, limits=(float(edges[0]), float(edges[-1])))
    most = max((float(found.max()) for found in counts.values()), default=0.0) or 1.0
    y = Axis(LOWEST_LOG_COUNT if log_counts else 0.0, most * 1.05, INNER_BOTTOM, TOP, log_counts)
    strokes = {name: stroke_of(number, (colors or {}).get(name)) for number, name in enumerate(counts)}
    parts = [draw_frame(x, y, x_label, y_label)]
    parts += [_draw_outline(edges, found, strokes[name], x, y) for name, found in counts.items()]
    parts += [draw_mark(mark, number, x, y) for number, mark in enumerate(marks)]
    if not any(len(found) for found in sets.values()):
        parts.append(draw_nothing("no values"))
    told = "; ".join(f"{name}: {len(found):,} values" for name, found in sets.items()) or "no values"
    return build_figure(
        Markup().join(parts),
        title=title,
        description=f"{title}: {y_label} over {x_label}. {told}",
        legend=draw_legend(strokes.items()) if len(counts) > 1 else Markup(),
        table=_tabulate_counts(edges, counts, _describe_rest(values, counts)),
    )


def _finite(values: ArrayLike) -> Floats:
    found = usable(np.asarray(values, dtype=np.float64).reshape(-1), is_log=False)
    return found[np.isfinite(found)]


def _edges(values: Floats, bins: int | ArrayLike | None) -> Floats:
    if bins is not None and not isinstance(bins, int):
        given = np.asarray(bins, dtype=np.float64)
        if given.ndim != 1 or len(given) < 2 or not (np.diff(given) > 0).all():
            raise ValueError("edges of bins must rise")
        return given
    # The axis knows what to do with no values, with one and with values that hardly differ.
    span = axis_of(values, 0.0, 1.0)
    return np.linspace(span.low, span.high, (bins if isinstance(bins, int) else _count_bins(values)) + 1)


def _count_bins(values: Floats) -> int:
    """Return how many bins suit: twice the rule of Rice, 2 n^(1/3), at most MOST_BINS."""
    return int(min(max(2 * np.ceil(2 * np.cbrt(max(len(values), 1))), 4), MOST_BINS))


def _draw_outline(edges: Floats, counts: Floats, stroke: Stroke, x: Axis, y: Axis) -> Markup:
    across, up = x.place(edges), y.place(np.maximum(counts, y.low))
    path = [f"M{across[0]:.1f} {y.start}"]
    path += [f"V{height:.1f}H{right:.1f}" for height, right in zip(up, across[1:], strict=True)]
    return Markup('<path d="{}V{}" fill="{}" fill-opacity="0.15" {}/>').format(
        "".join(path), y.start, stroke.color, stroke.attributes()
    )


def _tabulate_counts(edges: Floats, counts: Mapping[str, Floats], note: str) -> Markup:
    rows = [[edges[i], edges[i + 1], *(found[i] for found in counts.values())] for i in range(len(edges) - 1)]
    return draw_table(["from", "to", *counts], rows, note)


def _describe_rest(values: Mapping[str, ArrayLike], counts: Mapping[str, Floats]) -> str:
    left = {name: np.asarray(found).size - int(counts[name].sum()) for name, found in values.items()}
    told = [f"{name}: {count:,} outside of the bins or not finite" for name, count in left.items() if count]
    return "; ".join(told)


def bars(entries: Sequence[Bar], *, title: str, value_label: str, limits: tuple[float, float] | None = None) -> Markup:
    """Return lying bars from zero, each with its name above, its number behind and a whisker for its interval.

    Parameters
    ----------
    entries
        From top to bottom. A value that is not finite has no bar, and `-` for a number.
    title, value_label
        Words; units in brackets.
    limits
        Ends of the axis; None for zero and the data.
    """
    letters = max((min(len(_bar_in_words(bar)), NUMBER_LETTERS) for bar in entries), default=0)
    right = WIDTH - max(LEAST_NUMBER_ROOM, letters * LETTER + 20)
    numbers = [number for bar in entries for number in (bar.value, bar.low, bar.high) if number is not None]
    axis = axis_of(np.array([0.0, *numbers]), 10.0, right, limits=limits)
    bottom = BAR_ROW * max(len(entries), 1) + 6.0
    is_whole = limits is None and all(float(number).is_integer() for number in numbers)
    parts = [_draw_value_axis(axis, bottom, value_label, is_whole=is_whole)]
    parts += [_draw_bar(bar, number, axis) for number, bar in enumerate(entries)]
    known = [bar for bar in entries if np.isfinite(bar.value)]
    told = "; ".join(f"{bar.name}: {_bar_in_words(bar)}" for bar in known) or "no values"
    rows: list[list[str | float]] = [
        [bar.name, bar.value, *(np.nan if end is None else end for end in (bar.low, bar.high)), bar.note]
        for bar in entries
    ]
    return build_figure(
        Markup().join(parts),
        title=title,
        description=f"{title}: {value_label}. {told}",
        legend=Markup(),
        table=draw_table(["", value_label, "low", "high", ""], rows),
        height=bottom + 40,
    )


def _draw_value_axis(axis: Axis, bottom: float, label: str, *, is_whole: bool) -> Markup:
    ticks = [tick for tick in axis.ticks() if not is_whole or tick.is_integer()]
    parts, free_from = [], -1e9
    for value, words in zip(ticks, axis.words(ticks), strict=True):
        place, half = float(axis.place(value)), LETTER * len(words) / 2
        parts.append(
            Markup('<path d="M{:.1f} 0V{}" stroke="currentColor" stroke-opacity="{}"/>').format(
                place, bottom, 0.6 if value == 0 else 0.15
            )
        )
        centre = max(place, half)
        if centre - half >= free_from:
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(centre, bottom + 15, words)
            )
            free_from = centre + half + 6
    middle = (axis.start + axis.stop) / 2
    parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, bottom + 33, label))
    return Markup().join(parts)


def _draw_bar(bar: Bar, number: int, axis: Axis) -> Markup:
    top = BAR_ROW * number
    parts = [Markup('<text x="10" y="{}">{}</text>').format(top + 15, shorten(bar.name))]
    middle = top + 21 + BAR_HEIGHT / 2
    end = axis.start
    if np.isfinite(bar.value):
        zero = float(axis.place(min(max(0.0, axis.low), axis.high)))
        end = float(axis.place(usable(np.array(bar.value), is_log=False)))
        left, length = min(zero, end), abs(end - zero)
        parts.append(
            Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="{}" fill-opacity="0.8"/>').format(
                left, top + 21, length, BAR_HEIGHT, stroke_of(0, bar.color).color
            )
        )
    if bar.low is not None and bar.high is not None and np.isfinite([bar.low, bar.high]).all():
        low, high = float(axis.place(bar.low)), float(axis.place(bar.high))
        parts.append(
            Markup(
                '<path d="M{0:.1f} {2}v10M{0:.1f} {3}H{1:.1f}M{1:.1f} {2}v10" stroke="currentColor" '
                'stroke-width="2" fill="none"/>'
            ).format(low, high, middle - 5, middle)
        )
    # All numbers stand in one column, where no bar nor whisker can hide them.
    parts.append(
        Markup('<text x="{}" y="{}">{}</text>').format(
            axis.stop + 10, middle + 4, shorten(_bar_in_words(bar), NUMBER_LETTERS)
        )
    )
    return Markup().join(parts)


def _bar_in_words(bar: Bar) -> str:
    return f"{format_number(bar.value)} {bar.note}".strip()
