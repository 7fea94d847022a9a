"""What all charts share: the frame with its axes, lines and marks, legend, table of numbers, figure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from cryofind.report.chart_axes import Axis, Floats, format_number, usable
from cryofind.report.colors import darken_for_white

# Small enough that 13 pixels stay readable when a phone of 390 pixels shrinks the chart.
WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 28, 44
FONT = 13
LETTER = 0.6 * FONT  # width of a letter, about
TABLE_ROWS = 200
LABEL_LETTERS = 44

INNER_LEFT, INNER_RIGHT, INNER_BOTTOM = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM

# Okabe and Ito, without the yellow that white swallows. Dashes repeat with another period than colours, so that up to
# 42 lines differ in one of them, and the first six in both.
LINE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2")


@dataclass(frozen=True)
class Stroke:
    """How a line is drawn."""

    color: str
    dash: str = ""
    width: float = 2.0
    opacity: float = 1.0

    def attributes(self) -> Markup:
        """Return its SVG attributes."""
        dash = Markup(' stroke-dasharray="{}"').format(self.dash) if self.dash else Markup()
        faint = Markup(' stroke-opacity="{}"').format(self.opacity) if self.opacity < 1 else Markup()
        return Markup('stroke="{}" stroke-width="{}"').format(self.color, self.width) + dash + faint


@dataclass(frozen=True)
class Mark:
    """A place on the chart that is pointed out: a point, or a line from top to bottom when y is None."""

    x: float
    y: float | None
    label: str

    @property
    def name(self) -> str:
        """What the table and a tooltip call it."""
        return self.label or "marked"


def stroke_of(number: int, color: str | None = None) -> Stroke:
    """Return the stroke of the line with this number; `color` instead of the palette's, darker if it is too light."""
    own = color and (darken_for_white(color) if color.startswith("#") else color)
    return Stroke(own or LINE_COLORS[number % len(LINE_COLORS)], DASHES[number % len(DASHES)])


def draw_frame(x: Axis, y: Axis, x_label: str, y_label: str, *, height: float = HEIGHT) -> Markup:
    """Return grid, ticks and labels of both axes; the y label lies above its axis."""
    parts = []
    y_ticks = y.ticks()
    for value, words in zip(y_ticks, y.words(y_ticks), strict=True):
        place = float(y.place(value))
        parts.append(
            Markup(
                '<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" stroke="currentColor" stroke-opacity="0.15"/>'
                '<text x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>'
            ).format(x.start, x.stop, place, x.start - 6, place + 4, words)
        )
    parts.append(_draw_x_ticks(x, y.start))
    parts.append(
        Markup('<path d="M{0} {1}V{2}H{3}" fill="none" stroke="currentColor" stroke-opacity="0.6"/>').format(
            x.start, y.stop, y.start, x.stop
        )
    )
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text><text x="4" y="13">{}</text>').format(
            (x.start + x.stop) / 2, height - 6, x_label, y_label
        )
    )
    return Markup().join(parts)


def _draw_x_ticks(x: Axis, bottom: float) -> Markup:
    ticks = x.ticks()
    words = x.words(ticks)
    # A label that would touch the one before it is left out.
    parts, free_from = [], -1e9
    for value, word in zip(ticks, words, strict=True):
        place, half = float(x.place(value)), LETTER * len(word) / 2
        centre = min(max(place, half), WIDTH - half)
        parts.append(
            Markup('<path d="M{:.1f} {}v4" stroke="currentColor" stroke-opacity="0.6"/>').format(place, bottom)
        )
        if centre - half >= free_from:
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(centre, bottom + 17, word)
            )
            free_from = centre + half + 6
    return Markup().join(parts)


def draw_line(x_pixels: Floats, y_pixels: Floats, stroke: Stroke) -> Markup:
    """Return the line through points in pixels, interrupted where one is NaN; a point alone is a short dash."""
    commands, is_open = [], False
    for x, y in zip(x_pixels, y_pixels, strict=True):
        if not (np.isfinite(x) and np.isfinite(y)):
            is_open = False
            continue
        commands.append(f"{'L' if is_open else 'M'}{x:.1f} {y:.1f}")
        is_open = True
    if not commands:
        return Markup()
    # A path of one point is visible by its round ends only.
    return Markup('<path d="{}" fill="none" stroke-linejoin="round" stroke-linecap="{}" {}/>').format(
        "".join(commands), "butt" if stroke.dash else "round", stroke.attributes()
    )


def draw_mark(mark: Mark, number: int, x: Axis, y: Axis) -> Markup:
    """Return a ring around a point or a dashed line from top to bottom, with its label; nothing if it is not finite."""
    if not np.isfinite(usable(np.array(mark.x), is_log=x.is_log)):
        return Markup()
    across = float(x.place(mark.x))
    if mark.y is None:
        # Labels of neighbouring lines stand at different heights.
        line = Markup(
            '<path d="M{:.1f} {}V{}" stroke="currentColor" stroke-dasharray="3 3" stroke-opacity="0.8"/>'
        ).format(across, y.stop, y.start)
        return line + draw_label(across, y.stop + 14 + 15 * (number % 5), mark.label)
    if not np.isfinite(usable(np.array(mark.y), is_log=y.is_log)):
        return Markup()
    down = float(y.place(mark.y))
    ring = Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="6" fill="none" stroke="currentColor" stroke-width="2"><title>{}</title>'
        "</circle>"
    ).format(across, down, f"{mark.name}: {format_number(mark.x)}, {format_number(mark.y)}")
    return ring + draw_label(across, max(down - 10, 12.0), mark.label)


def draw_label(x: float, y: float, words: str) -> Markup:
    """Return a label beside a place, on the side where there is room, with a halo."""
    is_left = x > WIDTH * 0.6
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="chart-mark">{}</text>').format(
        x + (-8 if is_left else 8), y, "end" if is_left else "start", shorten(words)
    )


def shorten(words: str, letters: int = LABEL_LETTERS) -> str:
    """Return words that fit; the full ones are in legend and table."""
    return words if len(words) <= letters else f"{words[: letters - 1]}…"


def draw_legend(entries: Iterable[tuple[str, Stroke]]) -> Markup:
    """Return the names of the lines, each with a piece of its line; as text, so that it wraps on a phone."""
    items = [
        Markup(
            '<li><svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">'
            '<path d="M1 5H33" fill="none" {}/></svg> {}</li>'
        ).format(stroke.attributes(), name)
        for name, stroke in entries
    ]
    return Markup('<ul class="chart-legend">{}</ul>').format(Markup().join(items)) if items else Markup()


def draw_table(header: Sequence[str], rows: Sequence[Sequence[str | float]], note: str = "") -> Markup:
    """Return a folded table of numbers; `note` stands above it."""
    head = Markup().join(Markup('<th scope="col">{}</th>').format(cell) for cell in header)
    # Cells are many: strings, each escaped, are joined ten times as fast as Markup is.
    body = Markup("".join(f"<tr>{''.join(f'<td>{escape(_in_words(cell))}</td>' for cell in row)}</tr>" for row in rows))
    told = Markup("<p>{}</p>").format(note) if note else Markup()
    return Markup(
        '<details class="chart-numbers"><summary>Numbers</summary>{}<div class="chart-table"><table><thead><tr>{}</tr>'
        "</thead><tbody>{}</tbody></table></div></details>"
    ).format(told, head, body)


def _in_words(cell: str | float) -> str:
    return cell if isinstance(cell, str) else format_number(cell)


def build_figure(
    drawing: Markup, *, title: str, description: str, legend: Markup, table: Markup, height: float = HEIGHT
) -> Markup:
    """Return the whole chart: caption, SVG, legend, numbers.

    Parameters
    ----------
    drawing
        What the SVG shows.
    title
        Caption.
    description
        What the chart shows in a sentence, for readers who do not see it.
    legend, table
        Put below.
    height
        Of the SVG, pixels at its natural width.
    """
    return Markup(
        '<figure class="chart"><figcaption>{title}</figcaption>'
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="img" '
        'aria-label="{description}" font-size="{font}" fill="currentColor"><title>{title}</title>{drawing}</svg>'
        "{legend}{table}</figure>"
    ).format(
        title=title,
        description=description,
        width=WIDTH,
        height=f"{height:g}",
        font=FONT,
        drawing=drawing,
        legend=legend,
        table=table,
    )


def draw_nothing(words: str) -> Markup:
    """Return words in the middle of an empty chart."""
    return Markup('<text x="{}" y="{}" text-anchor="middle" opacity="0.7">{}</text>').format(
        (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2, escape(words)
    )
