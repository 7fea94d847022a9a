"""The picture: the real slice, two of ours and the external simulation, at one scale and one grey mapping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measures import SLICE_SPACING_ANGSTROM, Floats, background
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PANEL_PIXELS = 634  # the real slice's 423 pixels, 1.5 times
DETAIL_SLICE_PIXELS = 150
GAP_PIXELS = 16
TITLE_PIXELS = 20
BAR_ANGSTROM = {"field": 1000, "detail": 500}
# Black and white, in robust standard deviations from the median: the same for every slice, and the real one's range.
BLACK, WHITE = -8.0, 4.0
PAPER, INK, EMPTY = 255, 20, 235


@dataclass(frozen=True, eq=False)
class Panel:
    """A slice on the real one's grid, a title, and the places of its particles, (N, 2), yx in slice pixels."""

    title: str
    slice_yx: Floats
    particles_yx: Floats


def draw_panels(panels: Sequence[Panel], path_png: Path) -> None:
    """Write whole fields in the upper row and, below, the part of each that holds most particles, enlarged."""
    step = PANEL_PIXELS + GAP_PIXELS
    top_field = GAP_PIXELS + TITLE_PIXELS + 8
    top_detail = top_field + PANEL_PIXELS + GAP_PIXELS
    page = Image.new("L", (GAP_PIXELS + step * len(panels), top_detail + PANEL_PIXELS + GAP_PIXELS), PAPER)
    draw = ImageDraw.Draw(page)
    field_pixels = max(423, *(max(panel.slice_yx.shape) for panel in panels))
    for number, panel in enumerate(panels):
        left = GAP_PIXELS + number * step
        draw.text((left, GAP_PIXELS), panel.title, fill=INK, font=ImageFont.load_default(TITLE_PIXELS))
        grey = _map_grey(panel.slice_yx)
        y, x = _busiest_corner(panel)
        detail = grey[y : y + DETAIL_SLICE_PIXELS, x : x + DETAIL_SLICE_PIXELS]
        _paste(page, grey, (left, top_field), field_pixels, BAR_ANGSTROM["field"])
        _paste(page, detail, (left, top_detail), DETAIL_SLICE_PIXELS, BAR_ANGSTROM["detail"])
    path_png.parent.mkdir(parents=True, exist_ok=True)
    page.save(path_png, optimize=True)


def _map_grey(slice_yx: Floats) -> NDArray[np.uint8]:
    median, deviation = background(slice_yx)
    scaled = ((slice_yx - median) / deviation - BLACK) / (WHITE - BLACK)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), dtype=np.uint8)


def _busiest_corner(panel: Panel) -> tuple[int, int]:
    """Return the upper left corner of the window that holds most particles, among corners 10 pixels apart."""
    size = DETAIL_SLICE_PIXELS
    height, width = panel.slice_yx.shape
    corners = [(y, x) for y in range(0, max(1, height - size + 1), 10) for x in range(0, max(1, width - size + 1), 10)]
    counts = [
        np.count_nonzero(np.all(np.abs(panel.particles_yx - corner - size / 2) < size / 2, axis=1))
        for corner in corners
    ]
    return corners[int(np.argmax(counts))]


def _paste(page: Image.Image, grey: NDArray[np.uint8], corner: tuple[int, int], full_pixels: int, bar: int) -> None:
    """Paste a slice whose full-sized neighbours have `full_pixels` pixels a side, with a scale bar."""
    scale = PANEL_PIXELS / full_pixels
    left, top = corner
    size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
    draw = ImageDraw.Draw(page)
    draw.rectangle((left, top, left + PANEL_PIXELS - 1, top + PANEL_PIXELS - 1), fill=EMPTY)
    page.paste(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC), corner)
    length = bar / SLICE_SPACING_ANGSTROM * scale
    x, y = left + 12, top + size[1] - 14
    draw.rectangle((x - 2, y - 2, x + length + 2, y + 6), fill=PAPER)
    draw.rectangle((x, y, x + length, y + 4), fill=0)
    font = ImageFont.load_default(TITLE_PIXELS)
    draw.text((x, y - 6), f"{bar} A", fill=PAPER, stroke_width=2, stroke_fill=0, font=font, anchor="lb")
