"""Drawing of bilayers: the profile along the normal, painted from the distance to the middle surface."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.globules import count_globules, draw_globule_masses, render_globules
from cryofind.simulate.scene import Scene
from cryofind.simulate.surfaces import HALF_THICKNESS_ANGSTROM, Surface, Vesicle
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Box = tuple[slice, ...]

# Distance of the phosphates from the middle: fluid phosphatidylcholine has 36 to 38 Angstrom from head group to head
# group (Nagle and Tristram-Nagle, Biochimica et Biophysica Acta 1469, 159, 2000), bilayers with cholesterol more.
HEAD_DISTANCE_ANGSTROM = 19.0
HEAD_SIGMA_ANGSTROM = 6.5
# Height of the head groups, and depth of the tails, above ice and relative to solid protein. Their sum is fixed by
# chemistry: two POPC molecules (C42 H82 N O8 P; 172 Angstrom of elastic forward scattering each, sum of the atoms'
# Doyle-Turner factors, times 47.88 V A^2) on 65 A^2 make 253 V A; the 38 A of ice (4.53 V) that they displace leave
# 81 V A, as much as 22.6 A of solid protein (`PROTEIN_VOLTS_ABOVE_ICE`). The profile below sums up to 22.7 A.
HEAD_HEIGHT = 0.74
TAIL_DEPTH = 0.07
TAIL_SIGMA_ANGSTROM = 8.0
REACH_ANGSTROM = HEAD_DISTANCE_ANGSTROM + 3.5 * HEAD_SIGMA_ANGSTROM

# The distance is computed on a lattice this wide and interpolated: the error, at most lattice^2 / (4 radius of
# curvature), is 1.5 Angstrom for the smallest vesicles. A chunk has this many lattice cells along each axis.
LATTICE_ANGSTROM = 30.0
CHUNK_CELLS = 10

# A level rises by at least this share of its usual slope; less is taken for this much.
LEAST_SLOPE = 0.3


def bilayer_profile(distance_angstrom: Floats32, *, blur_angstrom: float = 0.0) -> Floats32:
    """Return the density of a bilayer above ice, relative to solid protein, along its normal.

    Parameters
    ----------
    distance_angstrom
        From the middle, either sign, any shape.
    blur_angstrom
        Standard deviation of a Gaussian that the profile is blurred with; areas are kept.
    """
    heads, tails = (float(np.hypot(sigma, blur_angstrom)) for sigma in (HEAD_SIGMA_ANGSTROM, TAIL_SIGMA_ANGSTROM))
    from_head = np.square(np.abs(distance_angstrom) - np.float32(HEAD_DISTANCE_ANGSTROM))
    density = np.float32(HEAD_HEIGHT * HEAD_SIGMA_ANGSTROM / heads) * np.exp(from_head * np.float32(-0.5 / heads**2))
    # The other leaflet's head groups reach over the middle, too.
    from_other = np.square(np.abs(distance_angstrom) + np.float32(HEAD_DISTANCE_ANGSTROM))
    density += np.float32(HEAD_HEIGHT * HEAD_SIGMA_ANGSTROM / heads) * np.exp(from_other * np.float32(-0.5 / heads**2))
    squares = np.square(distance_angstrom)
    density -= np.float32(TAIL_DEPTH * TAIL_SIGMA_ANGSTROM / tails) * np.exp(squares * np.float32(-0.5 / tails**2))
    return np.asarray(density, np.float32)


@dataclass(frozen=True, eq=False)
class MembranePainter:
    """Draws membranes into the volumes of a sample.

    Parameters
    ----------
    scene
        What is drawn into; its ice cuts the membranes off.
    contrast
        Factor on the profile.
    label
        Of membranes; 0: none is written.
    """

    scene: Scene
    contrast: float
    label: int

    def paint(self, surface: Surface) -> None:
        """Draw a bilayer."""
        spacing = self.scene.grid.spacing_angstrom
        blur = spacing / np.sqrt(12)  # a voxel is the mean over its width
        for box, distance, presence in _Lattice.around(surface, self.scene.grid).find_near(
            surface, REACH_ANGSTROM + 2 * blur
        ):
            presence *= self._lies_in_ice(box)
            profile = bilayer_profile(distance, blur_angstrom=float(blur))
            profile *= presence * np.float32(self.contrast)
            self.scene.density_zyx[box] += profile
            is_membrane = (np.abs(distance) <= HALF_THICKNESS_ANGSTROM) & (presence > 0.5)
            self.scene.occupancy.taken_zyx[box] |= is_membrane
            if self.label:
                labels = self.scene.labels_zyx[box]
                labels[is_membrane & (labels == 0)] = self.label

    def add_protein(self, surface: Surface, share_of_area: float, random: np.random.Generator) -> None:
        """Put proteins into a membrane that cover a share of its area, on either side of it."""
        # A globule of the median mass, 45 kDa, has a radius of 24 Angstrom.
        count = int(share_of_area * surface.area_square_angstrom / (np.pi * 24.0**2))
        points, normals = surface.draw_points(count, random)
        masses = draw_globule_masses(count, random)
        heights = random.choice([-1.0, 1.0], count) * random.uniform(10.0, 60.0, count)
        points = points + normals * heights[:, None]
        is_there = surface.presence(points) > 0.5
        self._add_globules(points[is_there], masses[is_there])

    def fill(self, vesicle: Vesicle, milligram_per_millilitre: float, random: np.random.Generator) -> None:
        """Fill a vesicle with soluble protein."""
        count = int(count_globules(milligram_per_millilitre, vesicle.volume_cubic_angstrom))
        self._add_globules(vesicle.draw_points_within(count, random), draw_globule_masses(count, random))

    def _add_globules(self, points: Floats, masses: Floats) -> None:
        is_inside = self.scene.slab.contains(points)
        points, masses = points[is_inside], masses[is_inside]
        grid = self.scene.grid
        render_globules(self.scene.density_zyx, grid, points, masses)
        cells = np.clip(grid.nearest_indices_from_positions(points), 0, np.asarray(grid.shape_zyx) - 1)
        self.scene.occupancy.taken_zyx[tuple(cells.T)] = True

    def _lies_in_ice(self, box: Box) -> NDArray[np.bool_]:
        z, y, x = (
            np.arange(part.start, part.stop) * spacing
            for part, spacing in zip(box, self.scene.grid.spacing_zyx_angstrom, strict=True)
        )
        low, high = self.scene.slab.faces_angstrom(y[:, None], x)
        return np.asarray((low <= z[:, None, None]) & (z[:, None, None] <= high))


@dataclass(frozen=True, eq=False)
class _Lattice:
    """Nodes that are several voxels apart, in chunks that cover a surface's part of a box.

    Parameters
    ----------
    grid
        Of the voxels.
    starts
        Voxel of the first node, shape (3,).
    strides
        Voxels from node to node, shape (3,).
    counts
        Number of chunks along each axis, shape (3,).
    """

    grid: VoxelGrid
    starts: Ints
    strides: Ints
    counts: Ints

    @classmethod
    def around(cls, surface: Surface, grid: VoxelGrid) -> "_Lattice":
        strides = np.maximum(1, np.rint(LATTICE_ANGSTROM / np.asarray(grid.spacing_zyx_angstrom))).astype(np.int64)
        corners = grid.indices_from_positions(np.stack(surface.bounds_zyx_angstrom))
        low = np.clip(np.floor(corners[0]).astype(np.int64), 0, grid.shape_zyx)
        high = np.clip(np.ceil(corners[1]).astype(np.int64) + 1, 0, grid.shape_zyx)
        return cls(grid, low, strides, -(-(high - low) // (strides * CHUNK_CELLS)))

    def find_near(self, surface: Surface, reach_angstrom: float) -> Iterator[tuple[Box, Floats32, Floats32]]:
        """Yield the boxes of voxels that a surface passes, with the signed distance to it and its presence."""
        weights = [_interpolation(stride) for stride in self.strides.tolist()]
        planes, rows, columns = self.counts.tolist()
        # A row of chunks at a time, which keeps the memory small. One more node on each side is for the slope.
        for row in range(rows if planes and columns else 0):
            nodes = self._nodes_of_row(row)
            inner = nodes[1:-1, 1:-1, 1:-1]
            distance = _measure_distance(surface, nodes, self.strides * np.asarray(self.grid.spacing_zyx_angstrom))
            presence = surface.presence(inner)
            for plane, column in product(range(planes), range(columns)):
                part = tuple(slice(i * CHUNK_CELLS, (i + 1) * CHUNK_CELLS + 1) for i in (plane, 0, column))
                # Interpolated values never leave the range of the nodes'.
                is_far = distance[part].min() > reach_angstrom or distance[part].max() < -reach_angstrom
                if not is_far and presence[part].max() > 0:
                    box, cut = self._voxels_of((plane, row, column))
                    yield box, _interpolate(distance[part], weights)[cut], _interpolate(presence[part], weights)[cut]

    def _nodes_of_row(self, row: int) -> Floats:
        z, y, x = (np.arange(-1, count * CHUNK_CELLS + 2) for count in (self.counts[0], 1, self.counts[2]))
        steps = np.stack(np.meshgrid(z, y + row * CHUNK_CELLS, x, indexing="ij"), axis=-1)
        return self.grid.positions_from_indices(self.starts + steps * self.strides)

    def _voxels_of(self, chunk: tuple[int, int, int]) -> tuple[Box, Box]:
        """Return the voxels of a chunk in the box, and the same counted from the chunk's first."""
        first = self.starts + np.array(chunk) * self.strides * CHUNK_CELLS
        last = np.minimum(first + self.strides * CHUNK_CELLS, self.grid.shape_zyx)
        box = tuple(slice(*ends) for ends in zip(first.tolist(), last.tolist(), strict=True))
        return box, tuple(slice(0, size) for size in (last - first).tolist())


def _measure_distance(surface: Surface, nodes: Floats, spacings: Floats) -> Floats32:
    """Return the signed distance at the inner nodes to first order: the level over its gradient."""
    level = surface.level(nodes)
    squares = np.zeros_like(level)
    for axis, spacing in enumerate(spacings.tolist()):
        squares += np.square(np.gradient(level, np.float32(spacing), axis=axis))
    # Only at the middle of a vesicle, far from the membrane, is there no slope.
    steepness = np.maximum(np.sqrt(squares), np.float32(LEAST_SLOPE * surface.slope))
    return np.asarray((level / steepness)[1:-1, 1:-1, 1:-1])


def _interpolation(stride: int) -> Floats32:
    """Return the linear weights of the nodes of a chunk (columns) in its voxels (rows)."""
    places = np.arange(CHUNK_CELLS * stride) / stride
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(CHUNK_CELLS + 1))), np.float32)


def _interpolate(nodes: Floats32, weights: list[Floats32]) -> Floats32:
    along_z = np.tensordot(weights[0], nodes, axes=(1, 0))
    along_y = np.tensordot(weights[1], along_z, axes=(1, 1))  # y, z, x
    return np.asarray(np.tensordot(along_y, weights[2], axes=(2, 1)).transpose(1, 0, 2))
