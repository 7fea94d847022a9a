"""The membranes of a sample: vesicles and open sheets, with protein in them and within."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryofind.simulate.bilayer import MembranePainter
from cryofind.simulate.layout import place_until_full
from cryofind.simulate.occupancy import Occupancy
from cryofind.simulate.recipe import SurroundingsRecipe
from cryofind.simulate.scene import Scene
from cryofind.simulate.slab import Slab
from cryofind.simulate.surfaces import HALF_THICKNESS_ANGSTROM, Sheet, Surface, Vesicle
from cryofind.simulate.waves import Waves, draw_directions

Floats = NDArray[np.float64]

# Places looked at for a membrane that shall not run into another or into carbon, points on it that are looked at, and
# the share of them that may.
TRIES = 40
PROBES = 300
GREATEST_SHARE_WITHIN = 0.03

# How vesicles of a cell's lysate differ; judgement, to look like tomograms of them.
SHARE_WITHIN_ANOTHER = 0.25  # vesicles that hold a second one, ...
SHARE_DOUBLE = 0.4  # ... of which these follow the outer membrane at a small distance
SHARE_BROKEN = 0.25
SHARE_CUT = 0.3  # of vesicles that the ice would hold: their place is not kept clear of its faces


def add_membranes(
    scene: Scene, recipe: SurroundingsRecipe, count_factor: float, random: np.random.Generator, *, label: int
) -> list[str]:
    """Add vesicles and sheets to a sample, in place.

    Parameters
    ----------
    scene
        What is added to.
    recipe
        Drawn.
    count_factor
        On the counts, which are those of a challenge tomogram.
    random
        Source of all randomness.
    label
        Of membranes; 0: none is written.

    Returns
    -------
    list of str
        What did not fit, a line each.
    """
    painter = MembranePainter(scene, recipe.membrane_contrast.value, label)
    wanted = int(recipe.vesicle_count.value * count_factor + random.random())
    vesicles = _draw_vesicles(wanted, scene, recipe, random)
    within = [_draw_vesicle_within(outer, random) for outer in vesicles if random.random() < SHARE_WITHIN_ANOTHER]
    sheets_wanted = int(recipe.membrane_sheet_count.value * count_factor + random.random())
    sheets = _draw_sheets(sheets_wanted, vesicles, scene, random)
    surfaces: list[Surface] = [*vesicles, *within, *sheets]
    for surface in surfaces:
        painter.paint(surface)
    for surface in surfaces:
        painter.add_protein(surface, recipe.membrane_protein_share.value * random.uniform(0.3, 1.0), random)
    for vesicle in vesicles:
        painter.fill(vesicle, recipe.vesicle_content_milligram_per_millilitre.value * random.random() ** 2, random)
    counts = [(len(vesicles), wanted, "vesicles"), (len(sheets), sheets_wanted, "membrane sheets")]
    return [f"room for {placed} of {asked} {what}" for placed, asked, what in counts if placed < asked]


def _draw_vesicles(wanted: int, scene: Scene, recipe: SurroundingsRecipe, random: np.random.Generator) -> list[Vesicle]:
    """Return vesicles that do not run into each other or into what is there."""
    vesicles: list[Vesicle] = []

    def place(_: int) -> bool:
        radius = recipe.vesicle_radius_angstrom.draw(random)
        for _ in range(TRIES):
            candidate = _draw_vesicle(radius, scene.slab, random)
            is_apart = all(_are_apart(candidate, other) for other in vesicles)
            if is_apart and _is_free(candidate, scene.occupancy, random):
                vesicles.append(candidate)
                return True
        return False

    place_until_full(range(wanted), place)
    return vesicles


def _draw_sheets(wanted: int, vesicles: list[Vesicle], scene: Scene, random: np.random.Generator) -> list[Sheet]:
    """Return sheets that run neither into vesicles, nor into each other or what is there."""
    sheets: list[Sheet] = []

    def place(_: int) -> bool:
        for _ in range(TRIES):
            candidate = _draw_sheet(scene.slab, random)
            points = candidate.draw_points(PROBES, random)[0]
            within = sum(int(_lies_within(points, vesicle).sum()) for vesicle in vesicles)
            is_apart = within <= GREATEST_SHARE_WITHIN * PROBES and not any(_crosses(points, other) for other in sheets)
            if is_apart and _is_free(candidate, scene.occupancy, random):
                sheets.append(candidate)
                return True
        return False

    place_until_full(range(wanted), place)
    return sheets


def _lies_within(points: Floats, vesicle: Vesicle) -> NDArray[np.bool_]:
    """Return which points (N, 3) lie within a vesicle or its bilayer's reach."""
    return np.asarray(vesicle.level(points) < 2 * HALF_THICKNESS_ANGSTROM / vesicle.axes_angstrom.min())


def _crosses(points: Floats, sheet: Sheet) -> bool:
    """Return whether any of the points (N, 3) lies in or beside a sheet."""
    is_near = np.abs(sheet.level(points)) < 3 * HALF_THICKNESS_ANGSTROM
    return bool(np.any(is_near & (sheet.presence(points) > 0)))


def _is_free(surface: Surface, occupancy: Occupancy, random: np.random.Generator) -> bool:
    points, _ = surface.draw_points(PROBES, random)
    cells = occupancy.grid.nearest_indices_from_positions(points)
    cells = cells[np.all((cells >= 0) & (cells < occupancy.grid.shape_zyx), axis=1)]
    return int(occupancy.taken_zyx[tuple(cells.T)].sum()) <= GREATEST_SHARE_WITHIN * PROBES


def _are_apart(one: Vesicle, other: Vesicle) -> bool:
    reach = one.axes_angstrom.max() + other.axes_angstrom.max() + 2 * HALF_THICKNESS_ANGSTROM
    return bool(np.linalg.norm(one.center_zyx_angstrom - other.center_zyx_angstrom) > reach)


def _draw_vesicle(radius_angstrom: float, slab: Slab, random: np.random.Generator) -> Vesicle:
    """Return a vesicle anywhere in or across the sides of the box; one taller than the ice is flattened or cut."""
    _, depth, width = slab.grid.extent_zyx_angstrom
    axes = radius_angstrom * random.uniform(0.8, 1.2, 3)
    half_thickness = slab.thickness_angstrom / 2
    room = max(half_thickness - HALF_THICKNESS_ANGSTROM, 2 * HALF_THICKNESS_ANGSTROM)
    if axes[0] > room and random.random() < 0.5:
        axes[0] = random.uniform(0.7, 1.0) * room
    y, x = random.uniform(-0.3, 1.3, 2) * radius_angstrom + random.random(2) * (depth, width) - 0.5 * radius_angstrom
    spread = half_thickness if random.random() < SHARE_CUT else max(0.0, room - axes[0])
    z = float(slab.middle_angstrom(y, x)) + random.uniform(-1, 1) * spread
    turn = Rotation.from_rotvec([random.uniform(0, np.pi), 0, 0])
    tilt = Rotation.from_rotvec([0, *np.radians(random.normal(0, 5, 2))])
    undulation = Waves.draw((1.2, 4.0), random.uniform(0.02, 0.07), random, axes=3, count=6)
    gaps = Waves.draw((300, 1200), 1.0, random, axes=3, count=8) if random.random() < SHARE_BROKEN else None
    return Vesicle(np.array([z, y, x]), axes, (tilt * turn).as_matrix(), undulation, gaps)


def _draw_vesicle_within(outer: Vesicle, random: np.random.Generator) -> Vesicle:
    """Return the inner membrane of a double vesicle, or a smaller vesicle in a larger one."""
    if random.random() < SHARE_DOUBLE:
        gap = np.minimum(random.uniform(90, 160), outer.axes_angstrom / 2)
        return Vesicle(
            outer.center_zyx_angstrom, outer.axes_angstrom - gap, outer.rotation_zyx, outer.undulation, outer.gaps
        )
    share = random.uniform(0.35, 0.6)
    offset = draw_directions(1, random)[0] * (0.75 - share) * outer.axes_angstrom
    undulation = Waves.draw((1.2, 4.0), 0.04, random, axes=3, count=6)
    return Vesicle(
        outer.center_zyx_angstrom + outer.rotation_zyx @ offset,
        outer.axes_angstrom * share,
        outer.rotation_zyx,
        undulation,
    )


def _draw_sheet(slab: Slab, random: np.random.Generator) -> Sheet:
    """Return a patch of membrane, upright more often than flat."""
    normal = np.array([0.5, 1.0, 1.0]) * draw_directions(1, random)[0]
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, [1.0, 0.0, 0.0])
    across /= max(float(np.linalg.norm(across)), 1e-9)
    rotation = np.stack([normal, across, np.cross(normal, across)], axis=1)
    lengths = np.array([random.uniform(400, 2200), random.uniform(200, 700)])
    relief = Waves.draw((700, 3000), random.uniform(20, 90), random, axes=2, count=6)
    outline = Waves.draw((1.0, 4.0), 0.12, random, axes=2, count=5)
    return Sheet(slab.draw_positions(1, random)[0], rotation, lengths, relief, outline)
