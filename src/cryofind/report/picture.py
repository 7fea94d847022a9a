"""One picture of picks on slices of their tomogram."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from cryofind import czii
from cryofind.atomic import write_beside
from cryofind.report.colors import MISSED_COLOR, choose_colors
from cryofind.report.picture_legend import (
    FALSE,
    FONT_PIXELS,
    GAP_PIXELS,
    HIT,
    INK_COLOR,
    MISSED,
    LegendLine,
    draw_legend,
    load_font,
)
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid

Floats = NDArray[np.float64]

MAX_WIDTH_PIXELS = 1600
PANEL_PIXELS = 514  # width of one panel; three and their gaps fit in MAX_WIDTH_PIXELS
SLAB_PLANES = 3
SUPERSAMPLING = 2  # circles are drawn this much larger and shrunk, for smooth edges
GREY_PERCENTILES = (0.2, 99.8)
HALO_COLOR = (0, 0, 0)
PAPER_COLOR = (255, 255, 255)
ROUND_BARS_ANGSTROM = (50, 100, 200, 500, 1000, 2000, 5000)

_PATTERNS = {HIT: (), FALSE: (14.0, 9.0), MISSED: (4.0, 6.0)}  # dash and gap along the circle, in pixels


@dataclass(frozen=True)
class _Mark:
    """One particle to draw: centre zyx and radius in Angstrom, colour, and how it compares with the truth."""

    position_zyx_angstrom: Floats
    radius_angstrom: float
    color: tuple[int, int, int]
    verdict: str


@dataclass
class _Panel:
    """A slice ready to draw on: grey image, title, pixels and voxels by axis, and the axes it shows.

    `axes` are those that run down, across and into the depth; scale and corner (where the picture begins: half a voxel
    before the middle of the first one) are in the order down, across.
    """

    image: Image.Image
    title: str
    pixels_per_angstrom: tuple[float, float]
    corner_angstrom: tuple[float, float]
    axes: tuple[int, int, int]
    depth_angstrom: float
    draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.draw = ImageDraw.Draw(self.image)


def draw_slices(
    tomogram: Tomogram,
    picks: Picks,
    specs: Sequence[ParticleSpec],
    path_png: str | Path,
    *,
    truth: Picks | None = None,
    slices: int = 3,
) -> None:
    """Draw selected picks on xy slices (mean of 3 planes) and on one xz slice, and write a PNG.

    Each pick is the circle in which the slice cuts its sphere. With a truth, hits are solid, false picks dashed and
    missed particles dotted in red.

    Parameters
    ----------
    tomogram
        Where the picks lie.
    picks, truth
        Picks of any runs; those of the tomogram's run and of an object in `specs` are drawn.
    specs
        Colours and radii.
    path_png
        File to write.
    slices
        Number of xy slices, at the depths with most picks; at least 1.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if slices < 1:
        raise ValueError(f"slices must be at least 1, found {slices}")
    mine = picks.of_run(tomogram.run).only_selected()
    theirs = None if truth is None else truth.of_run(tomogram.run)
    marks = _compare(mine, theirs, specs)
    panels = _cut_panels(tomogram, marks, slices)
    for panel in panels:
        _draw_marks(panel, marks)
        _draw_scale_bar(panel)
    page = _lay_out(panels, _legend_lines(mine, theirs, marks, specs), f"{tomogram.run} {tomogram.flavour}".strip())
    with write_beside(Path(path_png)) as partial:
        page.save(partial, format="PNG", optimize=True)


def _compare(picks: Picks, truth: Picks | None, specs: Sequence[ParticleSpec]) -> list[_Mark]:
    """Return all marks; a pick within half a radius of a true centre is a hit."""
    marks: list[_Mark] = []
    colors = choose_colors(specs)
    for spec in specs:
        if spec.radius_angstrom is None:
            continue
        radius, color = spec.radius_angstrom, colors[spec.name]
        reach = czii.MATCH_RADIUS_FACTOR * radius
        found = picks.of_object(spec.name).positions_zyx_angstrom
        true = np.zeros((0, 3)) if truth is None else truth.of_object(spec.name).positions_zyx_angstrom
        hits = np.ones(len(found), bool) if truth is None else _has_neighbour(found, true, reach)
        marks += [_Mark(p, radius, color, HIT if hit else FALSE) for p, hit in zip(found, hits, strict=True)]
        missed = true[~_has_neighbour(true, found, reach)]
        marks += [_Mark(p, radius, MISSED_COLOR, MISSED) for p in missed]
    return marks


def _has_neighbour(points: Floats, others: Floats, distance: float) -> NDArray[np.bool_]:
    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    nearest, _ = cKDTree(others).query(points)
    return np.asarray(nearest <= distance)


def _cut_panels(tomogram: Tomogram, marks: Sequence[_Mark], slices: int) -> list[_Panel]:
    grid = tomogram.grid
    depths = _crowded_indices(marks, 0, grid, slices)
    panels = [_cut(tomogram, (1, 2, 0), depth) for depth in depths]
    row = _crowded_indices(marks, 1, grid, 1)
    return [*panels, _cut(tomogram, (0, 2, 1), row[0])]


def _crowded_indices(marks: Sequence[_Mark], axis: int, grid: VoxelGrid, count: int) -> list[int]:
    """Return up to `count` indices along an axis, sorted, that cut most marks and lie apart from each other."""
    size = grid.shape_zyx[axis]
    centers = grid.origin_zyx_angstrom[axis] + np.arange(size) * grid.spacing_zyx_angstrom[axis]
    crowd = np.zeros(size)
    for mark in marks:
        crowd += np.abs(centers - mark.position_zyx_angstrom[axis]) < 0.6 * mark.radius_angstrom
    crowd -= 1e-3 * np.abs(np.arange(size) - (size - 1) / 2) / size  # the middle, where all are equal
    apart = max(SLAB_PLANES, size // (2 * count))
    chosen: list[int] = []
    while len(chosen) < count and np.isfinite(crowd).any():
        best = int(np.argmax(crowd))
        chosen.append(best)
        crowd[max(0, best - apart + 1) : best + apart] = -np.inf
    return sorted(chosen)


def _cut(tomogram: Tomogram, axes: tuple[int, int, int], index: int) -> _Panel:
    """Return the mean of the planes around `index` along the depth axis, as a grey panel."""
    down, across, depth = axes
    grid = tomogram.grid
    low, high = max(0, index - SLAB_PLANES // 2), min(grid.shape_zyx[depth], index + SLAB_PLANES // 2 + 1)
    block = tuple(slice(low, high) if axis == depth else slice(None) for axis in range(3))
    plane = np.asarray(tomogram.volume_zyx[block], dtype=np.float32).mean(axis=depth)
    width = PANEL_PIXELS * SUPERSAMPLING
    height = max(1, round(width * grid.extent_zyx_angstrom[down] / grid.extent_zyx_angstrom[across]))
    grey = Image.fromarray(_stretch_grey(plane)).resize((width, height), Image.Resampling.BICUBIC)
    letters = "zyx"
    origin, spacing = grid.origin_zyx_angstrom, grid.spacing_zyx_angstrom
    depth_angstrom = origin[depth] + index * spacing[depth]
    corner = (origin[down] - spacing[down] / 2, origin[across] - spacing[across] / 2)
    title = f"{letters[across]}{letters[down]} slice, {letters[depth]} = {depth_angstrom:.0f} Angstrom"
    scale = (height / grid.extent_zyx_angstrom[down], width / grid.extent_zyx_angstrom[across])
    return _Panel(grey.convert("RGB"), title, scale, corner, axes, depth_angstrom)


def _stretch_grey(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, GREY_PERCENTILES) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(plane, nan=float(low)) - low) / max(float(high - low), 1e-12)
    return np.asarray(np.clip(scaled * 255, 0, 255), dtype=np.uint8)


def _draw_marks(panel: _Panel, marks: Sequence[_Mark]) -> None:
    down, across, depth = panel.axes
    for mark in marks:
        distance = abs(mark.position_zyx_angstrom[depth] - panel.depth_angstrom)
        if distance >= 0.9 * mark.radius_angstrom:  # a cap as small as that would only be a dot
            continue
        radius = float(np.sqrt(mark.radius_angstrom**2 - distance**2))
        y, x = (
            (mark.position_zyx_angstrom[axis] - corner) * scale
            for axis, corner, scale in zip(
                (down, across), panel.corner_angstrom, panel.pixels_per_angstrom, strict=True
            )
        )
        _draw_circle(panel.draw, (x, y), radius * panel.pixels_per_angstrom[1], mark.color, _PATTERNS[mark.verdict])


def _draw_circle(
    draw: ImageDraw.ImageDraw,
    center: tuple[float, float],
    radius: float,
    color: tuple[int, int, int],
    pattern: Sequence[float],
) -> None:
    x, y = center
    line = 2 * SUPERSAMPLING
    box, halo = ((x - r, y - r, x + r, y + r) for r in (radius + line / 2, radius + line / 2 + SUPERSAMPLING))
    if not pattern:
        draw.ellipse(halo, outline=HALO_COLOR, width=line + 2 * SUPERSAMPLING)
        draw.ellipse(box, outline=color, width=line)
        return
    dash, gap = (length * SUPERSAMPLING for length in pattern)
    turns = max(4, round(2 * np.pi * radius / (dash + gap)))
    step, share = 360 / turns, dash / (dash + gap)
    for outline, width, shade in ((halo, line + 2 * SUPERSAMPLING, HALO_COLOR), (box, line, color)):
        for turn in range(turns):
            draw.arc(outline, turn * step, (turn + share) * step, fill=shade, width=width)


def _draw_scale_bar(panel: _Panel) -> None:
    scale = panel.pixels_per_angstrom[1]
    bars = [bar for bar in ROUND_BARS_ANGSTROM if bar * scale <= 0.3 * panel.image.width]
    length = bars[-1] if bars else ROUND_BARS_ANGSTROM[0]
    pad, thick = 12 * SUPERSAMPLING, 5 * SUPERSAMPLING
    x, y = pad, panel.image.height - pad
    panel.draw.rectangle(
        (x - 2, y - thick - 2, x + length * scale + 2, y + 2), fill=PAPER_COLOR, outline=HALO_COLOR, width=2
    )
    font = load_font(FONT_PIXELS * SUPERSAMPLING)
    panel.draw.text(
        (x, y - thick - 6),
        f"{length} Angstrom",
        font=font,
        anchor="lb",
        fill=PAPER_COLOR,
        stroke_width=4,
        stroke_fill=HALO_COLOR,
    )


def _legend_lines(
    picks: Picks, truth: Picks | None, marks: Sequence[_Mark], specs: Sequence[ParticleSpec]
) -> list[LegendLine]:
    lines = []
    colors = choose_colors(specs)
    for spec in specs:
        if spec.radius_angstrom is None:
            continue
        count = len(picks.of_object(spec.name))
        text = f"{spec.name}: {count}" + ("" if truth is None else f" picks, {len(truth.of_object(spec.name))} true")
        lines.append(LegendLine(text, colors[spec.name], HIT))
    if truth is not None:
        counts = {verdict: sum(mark.verdict == verdict for mark in marks) for verdict in _PATTERNS}
        lines.append(LegendLine(f"matched: {counts[HIT]}", INK_COLOR, HIT))
        lines.append(LegendLine(f"false: {counts[FALSE]}", INK_COLOR, FALSE))
        lines.append(LegendLine(f"missed: {counts[MISSED]}", MISSED_COLOR, MISSED))
    return lines


def _lay_out(panels: Sequence[_Panel], legend: Sequence[LegendLine], heading: str) -> Image.Image:
    """Put the xy panels in a row (rows of three) with the xz panel and the legend under them."""
    shrunk = [(panel.image.reduce(SUPERSAMPLING), panel.title) for panel in panels]
    columns = min(3, max(1, len(shrunk) - 1))
    width = min(MAX_WIDTH_PIXELS, max(2, columns) * (PANEL_PIXELS + GAP_PIXELS) + GAP_PIXELS)
    step_x, title_height = PANEL_PIXELS + GAP_PIXELS, FONT_PIXELS + 10
    places: list[tuple[int, int]] = []
    top = GAP_PIXELS + title_height
    for start in range(0, len(shrunk) - 1, columns):
        row = shrunk[start : min(start + columns, len(shrunk) - 1)]
        places += [(GAP_PIXELS + column * step_x, top) for column in range(len(row))]
        top += title_height + max(image.height for image, _ in row) + GAP_PIXELS
    places.append((GAP_PIXELS, top))
    legend_height = (len(legend) + 1) // 2 * (FONT_PIXELS + 12)
    height = top + title_height + max(shrunk[-1][0].height, legend_height) + GAP_PIXELS
    page = Image.new("RGB", (width, height), PAPER_COLOR)
    draw = ImageDraw.Draw(page)
    draw.text((GAP_PIXELS, GAP_PIXELS), heading, font=load_font(FONT_PIXELS + 4), fill=INK_COLOR)
    for (image, title), (x, y) in zip(shrunk, places, strict=True):
        draw.text((x, y + 4), title, font=load_font(FONT_PIXELS), fill=INK_COLOR)
        page.paste(image, (x, y + title_height))
    draw_legend(draw, legend, (2 * GAP_PIXELS + PANEL_PIXELS, top + title_height), width)
    return page
