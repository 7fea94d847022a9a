"""Gold beads and the carbon film: denser than anything that lives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import PROTEIN_VOLTS_ABOVE_ICE
from cryofind.simulate.layout import place_until_full
from cryofind.simulate.recipe import SurroundingsRecipe
from cryofind.simulate.scene import Scene
from cryofind.simulate.slab import Slab
from cryofind.simulate.waves import Waves, draw_directions

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Mean inner potentials, volts: vitreous ice from its isolated atoms (Vulovic et al., J. Struct. Biol. 183, 19, 2013),
# amorphous carbon measured (Wanner et al., Ultramicroscopy 106, 341, 2006), gold from its isolated atoms (Doyle-Turner
# factor 10.6 A times 47.88 V A^2 on 17.0 A^3).
ICE_VOLTS = 4.53
CARBON_VOLTS = 9.09
GOLD_VOLTS = 29.8
CARBON_DENSITY = (CARBON_VOLTS - ICE_VOLTS) / PROTEIN_VOLTS_ABOVE_ICE
GOLD_DENSITY = (GOLD_VOLTS - ICE_VOLTS) / PROTEIN_VOLTS_ABOVE_ICE

# Sd of the film's density in a cube of 10 Angstrom, as a share. It holds 88 atoms, which would make 11 % if they lay
# at random; the order among neighbours takes some of it.
CARBON_GRAIN = 0.08
CARBON_GRAIN_ANGSTROM = 10.0

# Holes of the common support films, radius.
HOLE_RADIUS_ANGSTROM = (5_000.0, 10_000.0)

TRIES = 30


def add_gold(scene: Scene, recipe: SurroundingsRecipe, count_factor: float, random: np.random.Generator) -> list[str]:
    """Add gold beads, solid balls, where nothing else is.

    Parameters
    ----------
    scene
        What is added to.
    recipe
        Drawn.
    count_factor
        On the number of beads, which is that of a challenge tomogram.
    random
        Source of all randomness.

    Returns
    -------
    list of str
        What did not fit, a line each.
    """
    wanted = int(recipe.gold_count.value * count_factor + random.random())
    placed = place_until_full(
        range(wanted), lambda _: _add_bead(scene, recipe.gold_radius_angstrom.draw(random), random)
    )
    return [] if placed == wanted else [f"room for {placed} of {wanted} gold beads"]


def _add_bead(scene: Scene, radius_angstrom: float, random: np.random.Generator) -> bool:
    grid, taken = scene.grid, scene.occupancy.taken_zyx
    spacings = np.asarray(grid.spacing_zyx_angstrom)
    reach = np.ceil(radius_angstrom / spacings).astype(np.int64) + 1
    for position in scene.slab.draw_positions(TRIES, random, margin_z_angstrom=radius_angstrom):
        cell = grid.nearest_indices_from_positions(position)
        low, high = np.maximum(cell - reach, 0), np.minimum(cell + reach + 1, grid.shape_zyx)
        box = tuple(slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))
        axes = [
            np.square(np.arange(part.start, part.stop) * spacing - middle)
            for part, spacing, middle in zip(box, spacings, position, strict=True)
        ]
        distance = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
        is_bead = distance <= radius_angstrom
        if not taken[box][is_bead].any():
            cover = np.clip((radius_angstrom - distance) / grid.spacing_angstrom + 0.5, 0, 1)
            scene.density_zyx[box] += (GOLD_DENSITY * cover).astype(np.float32)
            taken[box] |= is_bead
            return True
    return False


@dataclass(frozen=True, eq=False)
class CarbonFilm:
    """A film with a round hole whose edge crosses the field.

    Parameters
    ----------
    slab
        The ice that the film lies in.
    thickness_angstrom
        Of the film, far from its edge.
    center_yx_angstrom, hole_radius_angstrom
        The hole.
    roughness
        Deviation of the edge's radius, Angstrom, over places y, x in Angstrom.
    side
        -1 for the lower face of the ice, +1 for the upper one.
    depth_angstrom
        Distance of the film's middle from that face.
    bend
        Rise of the film into the ice per Angstrom from the edge; it is flat after 1,000 Angstrom.
    rim_share, rim_length_angstrom
        How much thicker the film is at its edge, as a share, and over what length.
    """

    slab: Slab
    thickness_angstrom: float
    center_yx_angstrom: Floats
    hole_radius_angstrom: float
    roughness: Waves
    side: float
    depth_angstrom: float
    bend: float
    rim_share: float
    rim_length_angstrom: float

    @classmethod
    def draw(cls, slab: Slab, thickness_angstrom: float, random: np.random.Generator) -> "CarbonFilm":
        """Return a film that leaves the greater part of the field free."""
        _, depth, width = slab.grid.extent_zyx_angstrom
        middle = np.array([depth, width]) / 2
        edge_point = middle + random.uniform(0.25, 0.9) * middle * draw_directions(1, random, axes=2)[0]
        inwards = (middle - edge_point) / max(float(np.linalg.norm(middle - edge_point)), 1e-9)
        angle = np.radians(random.uniform(-40, 40))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        radius = random.uniform(*HOLE_RADIUS_ANGSTROM)
        return cls(
            slab=slab,
            thickness_angstrom=thickness_angstrom,
            center_yx_angstrom=edge_point + radius * turn @ inwards,
            hole_radius_angstrom=radius,
            roughness=Waves.draw((150, 2500), random.uniform(5, 30), random, axes=2, count=8),
            side=float(random.choice([-1.0, 1.0])),
            depth_angstrom=thickness_angstrom / 2 + random.uniform(0, 0.35) * slab.thickness_angstrom,
            bend=random.uniform(-0.15, 0.15),
            rim_share=3.5 * random.random() ** 2,
            rim_length_angstrom=random.uniform(40, 150),
        )

    def distance_from_edge(self, y: NDArray[np.floating], x: NDArray[np.floating]) -> Floats32:
        """Return how far places (rows y, columns x) lie within the film, Angstrom, shape (y, x); negative: the hole."""
        from_center = np.hypot(y[:, None] - self.center_yx_angstrom[0], x - self.center_yx_angstrom[1])
        return np.asarray(from_center - self.hole_radius_angstrom + self.roughness.over(y, x), np.float32)

    def faces(self, y: NDArray[np.floating], x: NDArray[np.floating], from_edge: Floats32) -> tuple[Floats32, Floats32]:
        """Return the heights of the film's lower and upper face, Angstrom, shape (y, x), within the ice."""
        middle = self.slab.middle_angstrom(y[:, None], x) + self.side * (
            self.slab.thickness_angstrom / 2 - self.depth_angstrom - self.bend * np.clip(from_edge, 0, 1000)
        )
        half = (
            self.thickness_angstrom
            / 2
            * (1 + self.rim_share * np.exp(-np.maximum(from_edge, 0) / self.rim_length_angstrom))
        )
        low, high = self.slab.faces_angstrom(y[:, None], x)
        return np.clip(middle - half, low, high).astype(np.float32), np.clip(middle + half, low, high).astype(
            np.float32
        )


def add_carbon(scene: Scene, recipe: SurroundingsRecipe, random: np.random.Generator) -> None:
    """Add the edge of the carbon film, with the recipe's probability.

    Parameters
    ----------
    scene
        What is added to.
    recipe
        Drawn.
    random
        Source of all randomness.
    """
    if random.random() >= recipe.carbon_probability.value:
        return
    grid = scene.grid
    film = CarbonFilm.draw(scene.slab, recipe.carbon_thickness_angstrom.value, random)
    spacing_z = grid.spacing_zyx_angstrom[0]
    y, x = (np.arange(n) * s for n, s in zip(grid.shape_zyx[1:], grid.spacing_zyx_angstrom[1:], strict=True))
    from_edge = film.distance_from_edge(y, x)
    low, high = (face / np.float32(spacing_z) for face in film.faces(y, x, from_edge))
    cover = np.clip(from_edge / np.float32(grid.spacing_angstrom) + np.float32(0.5), 0, 1)
    rows, columns = np.nonzero((cover > 0) & (high > low))
    low, high, cover = low[rows, columns], high[rows, columns], cover[rows, columns]
    # Voxel i reaches from i - 0.5 to i + 0.5; the film fills a part of the first and last voxel of a column.
    first = np.rint(low).astype(np.int64)
    # A larger voxel averages more grains.
    grain = CARBON_GRAIN * (CARBON_GRAIN_ANGSTROM / grid.spacing_angstrom) ** 1.5
    for step in range(int(np.ceil((high - low).max(initial=0))) + 1):
        layer = first + step
        share = np.minimum(high, layer + np.float32(0.5)) - np.maximum(low, layer - np.float32(0.5))
        is_film = (share > 0) & (layer >= 0) & (layer < grid.shape_zyx[0])
        cells = layer[is_film], rows[is_film], columns[is_film]
        texture = 1 + np.float32(grain) * random.standard_normal(len(cells[0]), dtype=np.float32)
        scene.density_zyx[cells] += np.float32(CARBON_DENSITY) * texture * (share * cover)[is_film].astype(np.float32)
        scene.occupancy.taken_zyx[cells] |= (share * cover)[is_film] > 0.3
