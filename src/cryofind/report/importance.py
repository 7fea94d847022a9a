"""What mattered in a search, as SVG text: a bar for each parameter, and the trials along it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEAD, ROW, FOOT = 900, 60, 84, 10
NAME_RIGHT, BAR_LEFT, BAR_RIGHT, PLOT_LEFT, PLOT_RIGHT = 270, 285, 450, 560, 880
PLOT_HEIGHT = 50
LABELS_CHARACTERS = 48  # of all labels of an axis together
BAR_COLOUR, DOT_COLOUR, BEST_COLOUR, GRID_COLOUR = "#0072b2", "#555", "#d55e00", "#ddd"


@dataclass(frozen=True)
class ParameterRow:
    """One parameter of a search.

    Parameters
    ----------
    name
        Its name.
    importance
        Share from 0 to 1; None if it cannot be told.
    places
        Where each trial lies along it, from 0 to 1.
    values
        What each trial reached; the same trials in all rows.
    labels
        Words below the axis, evenly from 0 to 1; at least two.
    """

    name: str
    importance: float | None
    places: Sequence[float]
    values: Sequence[float]
    labels: Sequence[str]


def draw_importance(rows: Sequence[ParameterRow], *, title: str, note: str) -> str:
    """Return an SVG with a row for each parameter: name, bar of its importance, and value against place.

    Parameters
    ----------
    rows
        From top to bottom.
    title, note
        Lines above them.
    """
    height = HEAD + ROW * len(rows) + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="20" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="20" y="42">{escape(note)}</text>',
    ]
    for number, row in enumerate(rows):
        parts += [f'<g transform="translate(0 {HEAD + ROW * number})">', *_draw_row(row), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _draw_row(row: ParameterRow) -> list[str]:
    middle = PLOT_HEIGHT / 2
    parts = [f'<text x="{NAME_RIGHT}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>']
    if row.importance is not None:
        length = (BAR_RIGHT - BAR_LEFT) * row.importance
        parts += [
            f'<rect x="{BAR_LEFT}" y="{middle - 9}" width="{length:.1f}" height="18" fill="{BAR_COLOUR}"/>',
            f'<text x="{BAR_LEFT + length + 6:.1f}" y="{middle + 4}">{row.importance:.0%}</text>',
        ]
    return [*parts, *_draw_trials(row)]


def _draw_trials(row: ParameterRow) -> list[str]:
    parts = [
        f'<rect x="{PLOT_LEFT - 6}" y="-6" width="{PLOT_RIGHT - PLOT_LEFT + 12}" height="{PLOT_HEIGHT + 12}" '
        f'fill="none" stroke="{GRID_COLOUR}"/>'
    ]
    room = max(LABELS_CHARACTERS // len(row.labels), 4)
    for number, label in enumerate(row.labels):
        share = number / (len(row.labels) - 1)
        x = PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * share
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        shown = label if len(label) <= room else f"{label[: room - 3]}..."
        parts.append(f'<text x="{x:.1f}" y="{PLOT_HEIGHT + 19}" text-anchor="{anchor}">{escape(shown)}</text>')
    if not row.values:
        return parts
    low, high = min(row.values), max(row.values)
    for baseline, value in ((4, high), (PLOT_HEIGHT + 4, low)):
        parts.append(f'<text x="{PLOT_LEFT - 12}" y="{baseline}" text-anchor="end">{value:.3f}</text>')
    for place, value in zip(row.places, row.values, strict=True):
        x = PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * place
        y = PLOT_HEIGHT * (1 - (value - low) / ((high - low) or 1.0))
        colour = BEST_COLOUR if value == high else DOT_COLOUR
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.7"/>')
    return parts
