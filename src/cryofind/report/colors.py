"""Colours of objects: the project's where it has one, else Okabe and Ito's, which colour-blind people tell apart."""

from collections.abc import Sequence

from cryofind.types import ParticleSpec
from cryofind.types.particles import PALETTE

Rgb = tuple[int, int, int]

MISSED_COLOR: Rgb = (255, 40, 40)
# What a spec says that was made without a colour.
_NO_COLOR = (100, 100, 100)


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
