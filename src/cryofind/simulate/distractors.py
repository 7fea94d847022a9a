"""Generic bodies: what fills a cell beside the particles that are sought.

Shapes of balls and ellipsoids ("lumps") that share a class of outline with real complexes (globules, dimers, rods,
rings, barrels, cages, discs, arches, threads) and copy none. A shape is scaled so that its volume fits its mass.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.densities import fit_body

Floats = NDArray[np.float64]

# Share of its outline that a complex fills with protein.
SOLID_FRACTION = 0.7
# Side chains and loops soften what the beads of a solid would show; as in a map of 10 Angstrom resolution.
BLUR_ANGSTROM = 7.0
KILODALTON_PER_BEAD = 12.0
MIN_BEADS, MAX_BEADS = 8, 96
POINTS_PER_BEAD = 16

# Evenly spread points without random numbers: the additive recurrence of the plastic numbers of 1 to 3 dimensions
# (Roberts, 2018, "The unreasonable effectiveness of quasirandom sequences").
_STEPS = 1 / 1.2207440846057596 ** np.arange(1, 4)


class Lumps:
    """Ellipsoids, in any unit of length.

    Parameters
    ----------
    centers
        Shape (N, 3).
    semi_axes
        Shape (N, 3) along z, y, x, or anything that broadcasts to it.
    """

    def __init__(self, centers: Floats, semi_axes: Floats | float = 1.0) -> None:
        self.centers = np.asarray(centers, dtype=np.float64).reshape(-1, 3)
        self.semi_axes = np.broadcast_to(np.asarray(semi_axes, dtype=np.float64), self.centers.shape)

    def __add__(self, other: "Lumps") -> "Lumps":
        return Lumps(np.concatenate([self.centers, other.centers]), np.concatenate([self.semi_axes, other.semi_axes]))

    def fill(self, count: int) -> tuple[Floats, float]:
        """Return about `count` points (N, 3) that fill the union evenly, and the union's volume."""
        low = (self.centers - self.semi_axes).min(axis=0)
        size = (self.centers + self.semi_axes).max(axis=0) - low
        # Twice: the first filling tells which share of the box is inside.
        share = _contains(self, low + size * spread_evenly(4 * count)).mean()
        points = low + size * spread_evenly(int(count / share))
        return points[_contains(self, points)], float(share * np.prod(size))


def generic_bodies() -> tuple[Body, ...]:
    """Return the generic bodies, from 55 to 2,400 kDa; the same in every call."""
    return _make_bodies()


def spread_evenly(count: int) -> Floats:
    """Return points that fill the unit cube evenly, shape (count, 3)."""
    return np.asarray((0.5 + np.outer(np.arange(1, count + 1), _STEPS)) % 1.0)


@functools.cache
def _make_bodies() -> tuple[Body, ...]:
    return tuple(make_body(name, mass, draw()) for name, (mass, draw) in SHAPES.items())


def make_body(name: str, mass_kilodalton: float, lumps: Lumps) -> Body:
    """Return a body of a mass, kilodalton, in the outline of lumps, scaled so that protein fills it by 0.7."""
    count = int(np.clip(round(mass_kilodalton / KILODALTON_PER_BEAD), MIN_BEADS, MAX_BEADS))
    points, volume = lumps.fill(POINTS_PER_BEAD * count)
    wanted = mass_kilodalton * CUBIC_ANGSTROM_PER_KILODALTON / SOLID_FRACTION
    points = points * (wanted / volume) ** (1 / 3)
    body = fit_body(name, points, np.ones(len(points)), mass_kilodalton=mass_kilodalton, bead_count=count)
    return replace(body, sigma_angstrom=float(np.hypot(body.sigma_angstrom, BLUR_ANGSTROM)))


def _contains(lumps: Lumps, points: Floats) -> NDArray[np.bool_]:
    is_inside = np.zeros(len(points), dtype=np.bool_)
    for center, semi_axes in zip(lumps.centers, lumps.semi_axes, strict=True):
        is_inside |= (np.square((points - center) / semi_axes)).sum(axis=1) <= 1
    return is_inside


def _ring(count: int, *, radius: float, height: float = 0.0, turn: float = 0.0, share: float = 1.0) -> Floats:
    # Centres on a circle about z, or on the first share of it.
    angles = 2 * np.pi * (share * np.arange(count) / count + turn)
    return np.stack([np.full(count, height), radius * np.sin(angles), radius * np.cos(angles)], axis=1)


def _line(count: int, *, step: float, direction: tuple[float, float, float]) -> Floats:
    unit = np.array(direction) / np.linalg.norm(direction)
    return np.asarray(np.arange(count)[:, None] * step * unit)


def _draw_globule() -> Lumps:
    return Lumps(np.zeros((1, 3)), np.array([0.8, 1.0, 1.3]))


def _draw_lobes() -> Lumps:
    # Three domains of different sizes in a bent row.
    return Lumps(np.array([[0, 0, 0], [0.3, 0.4, 1.5], [1.2, -0.3, 2.5]]), np.array([[1.0], [0.8], [0.65]]))


def _draw_dimer() -> Lumps:
    return Lumps(np.array([[0, 0, -0.85], [0.3, 0, 0.85]]), np.array([[1.2, 0.9, 1.0], [0.9, 1.2, 1.0]]))


def _draw_rod() -> Lumps:
    return Lumps(_line(7, step=1.2, direction=(0, 0.1, 1)))


def _draw_y() -> Lumps:
    arms = [_line(4, step=1.3, direction=direction) for direction in ((1, 0.2, 0), (-0.6, 0.8, 0.3), (-0.5, -0.9, 0.2))]
    return Lumps(np.concatenate(arms))


def _draw_arch() -> Lumps:
    return Lumps(_ring(9, radius=3.6, share=0.62))


def _draw_trefoil() -> Lumps:
    return Lumps(_ring(3, radius=1.25), np.array([2.6, 1.0, 1.0]))


def _draw_disc() -> Lumps:
    return Lumps(np.zeros((1, 3)), np.array([0.3, 1.0, 1.1]))


def _draw_ring() -> Lumps:
    return Lumps(_ring(7, radius=2.2), np.array([1.2, 1.0, 1.0]))


def _draw_club() -> Lumps:
    return Lumps(np.zeros((1, 3)), 2.0) + Lumps(_line(6, step=1.1, direction=(0.2, 0, 1)) + np.array([0, 0, 2.0]), 0.8)


def _draw_pinwheel() -> Lumps:
    spokes = [_line(3, step=1.4, direction=tuple(_ring(1, radius=1, turn=turn / 5)[0])) for turn in range(5)]
    return Lumps(np.concatenate(spokes), np.array([0.8, 0.9, 0.9]))


def _draw_barrel() -> Lumps:
    return Lumps(np.concatenate([_ring(6, radius=1.9, height=1.7 * n, turn=n / 12) for n in range(3)]))


def _draw_double_ring() -> Lumps:
    return Lumps(np.concatenate([_ring(9, radius=3.0, height=2.4 * n, turn=n / 18) for n in range(2)]), 1.15)


def _draw_thread() -> Lumps:
    # Two strands wound about each other.
    strands = []
    for turn in (0.0, 0.5):
        turns = [_ring(1, radius=1.0, height=0.9 * n, turn=turn + n / 13) for n in range(18)]
        strands.append(np.concatenate(turns))
    return Lumps(np.concatenate(strands), 0.95)


def _draw_cage() -> Lumps:
    # A thin hollow shell: a spiral of lumps over the sphere.
    heights = 1 - (2 * np.arange(26) + 1) / 26
    angles = np.pi * (1 + np.sqrt(5)) * np.arange(26)
    across = np.sqrt(1 - heights**2)
    return Lumps(2.6 * np.stack([heights, across * np.sin(angles), across * np.cos(angles)], axis=1), 0.85)


def _draw_stalks() -> Lumps:
    # A flat base with three stalks that end in knobs.
    base = Lumps(np.zeros((1, 3)), np.array([0.9, 2.6, 2.2]))
    feet = _ring(3, radius=1.4, height=0.8)
    stalks = np.concatenate([feet + np.array([1.0 * n, 0, 0]) for n in range(4)])
    return base + Lumps(stalks, 0.6) + Lumps(feet * np.array([1, 1.4, 1.4]) + np.array([4.2, 0, 0]), 1.1)


def _draw_cluster(count: int) -> Lumps:
    # Lumps are added one by one where they touch one that is there, and keep off the others.
    centers = np.zeros((1, 3))
    for draw in spread_evenly(50 * count):
        angle, height = 2 * np.pi * draw[0], 2 * draw[1] - 1
        across = np.sqrt(1 - height**2)
        to_next = 1.7 * np.array([height, across * np.sin(angle), across * np.cos(angle)])
        place = centers[int(draw[2] * len(centers))] + to_next
        if np.linalg.norm(centers - place, axis=1).min() > 1.65:
            centers = np.concatenate([centers, place[None]])
        if len(centers) == count:
            break
    return Lumps(centers, np.array([0.9, 1.0, 1.15]))


# Mass in kilodalton, outline. Masses and outlines near to those of the challenge's species are left out.
SHAPES: dict[str, tuple[float, Callable[[], Lumps]]] = {
    "globule": (55.0, _draw_globule),
    "lobes": (90.0, _draw_lobes),
    "dimer": (125.0, _draw_dimer),
    "rod": (150.0, _draw_rod),
    "y": (170.0, _draw_y),
    "arch": (260.0, _draw_arch),
    "trefoil": (320.0, _draw_trefoil),
    "club": (400.0, _draw_club),
    "ring": (430.0, _draw_ring),
    "pinwheel": (600.0, _draw_pinwheel),
    "barrel": (780.0, _draw_barrel),
    "cluster-9": (900.0, lambda: _draw_cluster(9)),
    "disc": (1000.0, _draw_disc),
    "double-ring": (1150.0, _draw_double_ring),
    "thread": (1300.0, _draw_thread),
    "cage": (1600.0, _draw_cage),
    "stalks": (1900.0, _draw_stalks),
    "cluster-24": (2400.0, lambda: _draw_cluster(24)),
}
