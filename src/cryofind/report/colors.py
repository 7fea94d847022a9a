"""Colours of objects: the project's where it has one, else Okabe and Ito's, which colour-blind people tell apart."""

from collections.abc import Sequence

from cryofind.types import ParticleSpec
from cryofind.types.particles import PALETTE

Rgb = tuple[int, int, int]

MISSED_COLOR: Rgb = (255, 40, 40)
# What a spec says that was made without a colour.
_NO_COLOR = (100, 100, 100)
# Relative luminance, 0 black to 1 white, of the lightest line that white does not swallow: Okabe and Ito's orange.
_LIGHTEST_ON_WHITE = 0.43


def choose_colors(specs: Sequence[ParticleSpec]) -> dict[str, Rgb]:
    """Return a colour for every object: its own, or the next of the palette that no other object has."""
    own = {spec.name: spec.color[:3] for spec in specs if spec.color[:3] != _NO_COLOR}
    free = [color for color in PALETTE if color not in own.values()] or list(PALETTE)
    without = [spec.name for spec in specs if spec.name not in own]
    given = {name: free[number % len(free)] for number, name in enumerate(without)}
    return {spec.name: own.get(spec.name) or given[spec.name] for spec in specs}


def format_color(color: Rgb) -> str:
    """Return a colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def darken_for_white(color: str) -> str:
    """Return a colour `#rrggbb`, darker if a thin line of it could not be seen on white: yellow becomes olive.

    Lightness is the relative luminance of WCAG 2.
    """
    shares = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    if luminance <= _LIGHTEST_ON_WHITE:
        return color
    factor = (_LIGHTEST_ON_WHITE / luminance) ** (1 / 2.4)
    red, green, blue = (round(255 * share * factor) for share in shares)
    return format_color((red, green, blue))
