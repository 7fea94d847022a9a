"""Pictures of example crops: the slice, and target and prediction in the colours of the objects over it."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cryofind.report.colors import Rgb
from cryofind.report.slabs import find_grey_range, stretch_grey
from cryofind.report.training_facts import ExampleCrop, Float32s

SIDE_PIXELS = 220  # of the longer side of a picture, about
DIMMED = 0.55  # how bright the slice is under colours
OPAQUE = 0.85  # how much of the slice a colour hides where an object is certain
JPEG_QUALITY = 82
CELL = 2  # pixels of the slice along a cell


class CropPictures(NamedTuple):
    """The three pictures of a crop as `data:` URIs, and their size in pixels."""

    grey: str
    target: str
    prediction: str
    width: int
    height: int


def draw_crop(crop: ExampleCrop, objects: Sequence[str], colors: Mapping[str, Rgb]) -> CropPictures:
    """Return the pictures of a crop.

    Parameters
    ----------
    crop
        The crop.
    objects
        Names of the rows of its target and prediction.
    colors
        By object.
    """
    low, high = find_grey_range([crop.grey])
    grey = np.repeat(stretch_grey(crop.grey, low, high)[..., None], 3, axis=-1)
    factor = max(1, round(SIDE_PIXELS / max(crop.grey.shape)))
    palette = np.array([colors[name] for name in objects], dtype=np.float64)
    drawn = [_enlarge(grey, factor)]
    drawn += [_enlarge(_tint(grey, values, palette), factor) for values in (crop.target, crop.prediction)]
    for image in drawn:
        _draw_circle(image, crop, factor, colors[crop.object_name])
    pictures = [_encode(image) for image in drawn]
    return CropPictures(pictures[0], pictures[1], pictures[2], *drawn[0].size)


def _tint(grey: NDArray[np.uint8], values: Float32s, palette: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the slice, dimmed, with every object in its colour as strongly as it is asked for or predicted."""
    shares = values.astype(np.float64).repeat(CELL, axis=1).repeat(CELL, axis=2)
    total = shares.sum(axis=0)[..., None]
    # Of objects that overlap the colours are mixed.
    mixed = np.einsum("kyx,kc->yxc", shares, palette) / np.maximum(total, 1e-6)
    cover = OPAQUE * np.minimum(total, 1.0)
    return np.asarray(np.clip(DIMMED * grey * (1 - cover) + mixed * cover, 0, 255), dtype=np.uint8)


def _enlarge(pixels: NDArray[np.uint8], factor: int) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.fromarray(pixels).resize((width * factor, height * factor), Image.Resampling.BILINEAR)


def _draw_circle(image: Image.Image, crop: ExampleCrop, factor: int, color: Rgb) -> None:
    if crop.radius_pixels is None:
        return
    row, column = ((place + 0.5) * factor for place in crop.center)
    radius = crop.radius_pixels * factor
    draw = ImageDraw.Draw(image)
    # A dark line around the coloured one stands out on light and on the object's own colour.
    for reach, ink, width in ((radius + 1, (0, 0, 0), 4), (radius, color, 2)):
        draw.ellipse((column - reach, row - reach, column + reach, row + reach), outline=ink, width=width)


def _encode(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
