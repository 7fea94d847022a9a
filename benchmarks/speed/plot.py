"""Panels of lines as SVG text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 380, 300, 56
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
TICKS = 5


@dataclass(frozen=True)
class Series:
    """A named line through points."""

    name: str
    along: Sequence[float]
    values: Sequence[float]


def draw_panels(panels: Mapping[str, Sequence[Series]], *, along: str, title: str) -> str:
    """Return an SVG of panels side by side, axes from 0, so that what is proportional runs through the corner."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{MARGIN}" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, series) in enumerate(panels.items()):
        parts += [f'<g transform="translate({number * WIDTH} 0)">', *draw_panel(name, series, along), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def draw_panel(name: str, series: Sequence[Series], along: str) -> list[str]:
    right, bottom = WIDTH - 20, HEIGHT - MARGIN
    x_ticks = ticks_up_to(max(max(line.along) for line in series))
    y_ticks = ticks_up_to(max(max(line.values) for line in series))

    def place(x: float, y: float) -> tuple[float, float]:
        return MARGIN + (right - MARGIN) * x / x_ticks[-1], bottom - (bottom - MARGIN) * y / y_ticks[-1]

    parts = [f'<text x="{MARGIN}" y="{MARGIN - 18}">{escape(name)}</text>']
    parts.append(f'<text x="{(MARGIN + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(along)}</text>')
    for tick in x_ticks:
        x, _ = place(tick, 0)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        _, y = place(0, tick)
        parts.append(f'<line x1="{MARGIN}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, line in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(x, y) for x, y in zip(line.along, line.values, strict=True)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<text x="{MARGIN + 8}" y="{MARGIN + 14 + 16 * number}" fill="{colour}">{escape(line.name)}</text>'
        )
    return parts


def ticks_up_to(largest: float) -> list[float]:
    """Return round numbers from 0 to at least `largest`."""
    rough = max(largest, 1e-9) / TICKS
    power = 10.0 ** int(f"{rough:e}".partition("e")[2])
    step = next(power * factor for factor in STEPS if power * factor >= rough)
    count = int(-(-largest // step))
    return [step * number for number in range(max(count, 1) + 1)]
