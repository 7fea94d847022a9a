"""The legend of the picture of picks."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont

from cryofind.report.colors import Rgb

GAP_PIXELS = 14
FONT_PIXELS = 17
INK_COLOR = (25, 25, 25)

HIT, FALSE, MISSED = "matched", "false", "missed"


@dataclass(frozen=True)
class LegendLine:
    """Words, their colour, and the verdict in whose stroke the ring beside them is drawn."""

    text: str
    color: Rgb
    verdict: str


def draw_legend(
    draw: ImageDraw.ImageDraw, legend: Sequence[LegendLine], corner: tuple[int, int], page_width: int
) -> None:
    """Draw the lines in two columns from a corner (x, y) on, each with a ring in the stroke of its verdict."""
    rows = (len(legend) + 1) // 2
    column_width = (page_width - corner[0] - GAP_PIXELS) // 2
    for number, line in enumerate(legend):
        x = corner[0] + number // rows * column_width + 12
        y = corner[1] + number % rows * (FONT_PIXELS + 12) + 12
        box = (x - 9, y - 9, x + 9, y + 9)
        if line.verdict == HIT:
            draw.ellipse(box, outline=line.color, width=4)
        else:
            dash, gap = (32, 28) if line.verdict == FALSE else (16, 24)
            for start in range(0, 360, dash + gap):
                draw.arc(box, start, start + dash, fill=line.color, width=4)
        draw.text((x + 20, y), line.text, font=load_font(FONT_PIXELS), fill=INK_COLOR, anchor="lm")


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, so many pixels high."""
    return ImageFont.load_default(size)
