"""Local maxima of probabilities on the device where they lie: only what candidates need comes to the host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# What one step may take on the device beside the probabilities, however many candidates there are.
WORKING_BYTES = 256 * 2**20
# Per cell of a slab: a copy, two volumes of maxima, two masks, and an index should every cell be a crest.
SLAB_BYTES_PER_CELL = 32
# Per cell of a gathered cube: its index (8), the value as it is and as float32, products and masks.
CUBE_BYTES_PER_CELL = 28

Triple = tuple[int, int, int]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crests:
    """Cells that none of their 26 neighbours exceeds, on the host: by channel, then in the order of the cells.

    Parameters
    ----------
    channels
        Shape (N,).
    cells_zyx
        Indices, shape (N, 3).
    scores
        Their probabilities, shape (N,).
    equal_neighbours
        How many of the neighbours have the same value, shape (N,): 0 for an ordinary maximum.
    """

    channels: Ints
    cells_zyx: Ints
    scores: NDArray[np.float32]
    equal_neighbours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Crests":
        """Return the crests of a mask or of row numbers, in their order."""
        return Crests(self.channels[rows], self.cells_zyx[rows], self.scores[rows], self.equal_neighbours[rows])


def count_damaged(probabilities: Tensor, channels: Sequence[int]) -> dict[int, int]:
    """Return how many cells are NaN or infinite, by channel, of those channels (of K, z, y, x) that have any."""
    with torch.inference_mode():
        # NaN and infinity survive as extremes, which take one pass and no memory; counting is for the rare case.
        extremes = torch.stack([probabilities.amin(dim=(1, 2, 3)), probabilities.amax(dim=(1, 2, 3))])
        is_sound = torch.isfinite(extremes).all(dim=0).tolist()
        damaged = [channel for channel in channels if not is_sound[channel]]
        return {channel: int((~torch.isfinite(probabilities[channel])).sum()) for channel in damaged}


def find_crests(probabilities: Tensor, channels: Sequence[int], *, floors: Sequence[float]) -> Crests:
    """Find the cells of at least their channel's floor that no cell of their 3 x 3 x 3 neighbourhood exceeds.

    Parameters
    ----------
    probabilities
        Shape (K, z, y, x), float32, float16 or bfloat16, finite, on any device.
    channels
        The channels to search, ascending.
    floors
        Least probability of each of these channels, above 0.

    Returns
    -------
    Crests
        Cells of a plateau are crests one by one, also where the plateau leads up to something higher.
    """
    parts = [_no_crests()]
    with torch.inference_mode():
        rows = torch.tensor(channels, dtype=torch.int64, device=probabilities.device)
        least = torch.tensor(floors, dtype=torch.float32, device=probabilities.device)
        for start, stop in _plan_slabs(probabilities, len(channels)):
            parts.extend(_find_crests_in_slab(probabilities, rows, start, stop, least))
    together = Crests(
        np.concatenate([part.channels for part in parts]),
        np.concatenate([part.cells_zyx for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.equal_neighbours for part in parts]),
    )
    # The floors were rounded to the type of the probabilities, and slabs go through all channels.
    floor_of_channel = np.zeros(len(probabilities), np.float32)
    floor_of_channel[list(channels)] = floors
    together = together.where(together.scores >= floor_of_channel[together.channels])
    return together.where(np.argsort(together.channels, kind="stable"))


def gather_neighbourhoods(
    probabilities: Tensor, channels: Ints, cells_zyx: Ints
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield the 3 x 3 x 3 cells around each of N cells, block by block: the rows and their values (M, 3, 3, 3).

    Beyond a face the cell at the face is repeated.
    """
    with torch.inference_mode():
        rows_kzyx = _to_device(np.column_stack([channels, cells_zyx]), probabilities)
        for block in _blocks(len(cells_zyx), 27):
            values, _ = _gather_cubes(probabilities, rows_kzyx[block], (1, 1, 1))
            yield block, values.float().cpu().numpy()


def centre_on_mass(
    probabilities: Tensor,
    indices_zyx: Sequence[Floats],
    kernels_zyx: Sequence[NDArray[np.floating]],
    *,
    channels: Sequence[int],
    steps: int,
) -> list[Floats]:
    """Move positions to the centre of mass of the squared probability around them, a few times over.

    Parameters
    ----------
    probabilities
        Shape (K, z, y, x); nothing is beyond its faces.
    indices_zyx
        Fractional indices, an array (N, 3) for each of the channels.
    kernels_zyx
        Weights around the cell nearest to the position, for each of the channels; all sides odd.
    channels
        Which channel each array belongs to.
    steps
        How often.

    Returns
    -------
    list of ndarray of shape (N, 3)
        The moved indices, zyx, of each of the channels.
    """
    moved = []
    with torch.inference_mode():
        for indices, kernel, channel in zip(indices_zyx, kernels_zyx, channels, strict=True):
            start = _to_device(indices, probabilities)
            weights = _to_device(kernel.astype(np.float32), probabilities)
            blocks = [start[block] for block in _blocks(len(indices), kernel.size)]
            moved += [_centre_block(probabilities, channel, block, weights, steps) for block in blocks]
        # Only here does the host wait for the device.
        everything = torch.cat(moved).cpu().numpy() if moved else np.zeros((0, 3))
    ends = np.cumsum([len(indices) for indices in indices_zyx])
    return [everything[end - len(indices) : end] for indices, end in zip(indices_zyx, ends, strict=True)]


def _no_crests() -> Crests:
    return Crests(np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros(0, np.float32), np.zeros(0, np.uint8))


def _to_device(array: NDArray[np.generic], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)


def _plan_slabs(probabilities: Tensor, channel_count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last plane of slabs that fit into the working memory, none if there are no channels."""
    depth, height, width = probabilities.shape[1:]
    bytes_per_plane = channel_count * height * width * SLAB_BYTES_PER_CELL
    planes = max(1, WORKING_BYTES // max(bytes_per_plane, 1) - 2)
    for start in range(0, depth if channel_count else 0, planes):
        yield start, min(start + planes, depth)


def _blocks(count: int, cells_each: int) -> Iterator[slice]:
    """Yield blocks of as many candidates as may be gathered at once."""
    size = max(1, WORKING_BYTES // (cells_each * CUBE_BYTES_PER_CELL))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _find_crests_in_slab(
    probabilities: Tensor, channels: Tensor, start: int, stop: int, floors: Tensor
) -> Iterator[Crests]:
    is_crest = _mark_crests(probabilities, channels, start, stop, floors)
    crests = is_crest.flatten().nonzero().squeeze(1)
    for block in _blocks(len(crests), 27):
        row, z, y, x = torch.unravel_index(crests[block], is_crest.shape)
        rows_kzyx = torch.stack([channels[row], z + start, y, x], dim=1)
        values, is_inside = _gather_cubes(probabilities, rows_kzyx, (1, 1, 1))
        # A copy: on a CPU the result would be a view that keeps the cubes alive.
        middle = values[:, 1, 1, 1].clone()
        is_equal = is_inside.logical_and_(values == middle[:, None, None, None])
        equal_neighbours = is_equal.sum(dim=(1, 2, 3)).sub_(1).to(torch.uint8)
        rows = rows_kzyx.cpu().numpy()
        yield Crests(rows[:, 0], rows[:, 1:], middle.float().cpu().numpy(), equal_neighbours.cpu().numpy())


def _mark_crests(probabilities: Tensor, channels: Tensor, start: int, stop: int, floors: Tensor) -> Tensor:
    """Return the mask (K, stop - start, y, x) of the crests; the planes next to the slab are looked at too."""
    first, last = max(start - 1, 0), min(stop + 1, probabilities.shape[1])
    values = probabilities[:, first:last].index_select(0, channels)
    # No number of this type lies between a floor and what it is rounded to, so no crest is lost by rounding.
    is_crest = values >= floors.to(values.dtype)[:, None, None, None]
    is_crest.logical_and_(values >= _highest_around(values))
    return is_crest[:, start - first : stop - first]


def _highest_around(values: Tensor) -> Tensor:
    """Return the maximum of every 3 x 3 x 3 neighbourhood of volumes (K, z, y, x)."""
    for dim in (3, 2, 1):
        reach = values.shape[dim] - 1
        highest = values.clone()
        for own, neighbour in ((0, 1), (1, 0)):
            part = highest.narrow(dim, own, reach)
            torch.maximum(part, values.narrow(dim, neighbour, reach), out=part)
        values = highest
    return values


def _gather_cubes(probabilities: Tensor, rows_kzyx: Tensor, reach_zyx: Triple) -> tuple[Tensor, Tensor]:
    """Return the values around N cells, shape (N, 2 rz + 1, 2 ry + 1, 2 rx + 1), and whether they lie inside.

    Beyond a face the value is that of the cell at the face.
    """
    depth, height, width = probabilities.shape[1:]
    z, y, x = (
        rows_kzyx[:, axis + 1, None] + torch.arange(-reach, reach + 1, device=rows_kzyx.device)
        for axis, reach in enumerate(reach_zyx)
    )
    planes = rows_kzyx[:, :1] * depth + z.clamp(0, depth - 1)
    lines = planes[:, :, None] * height + y.clamp(0, height - 1)[:, None, :]
    # `take` reads any memory layout by one index a cell, where indexing by several would store each of them.
    values = torch.take(probabilities, lines[:, :, :, None] * width + x.clamp(0, width - 1)[:, None, None, :])
    inside_z, inside_y, inside_x = ((axis >= 0) & (axis < size) for axis, size in ((z, depth), (y, height), (x, width)))
    inside = inside_z[:, :, None, None] & inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return values, inside


def _centre_block(probabilities: Tensor, channel: int, indices_zyx: Tensor, weights_zyx: Tensor, steps: int) -> Tensor:
    # Positions that stay or have no mass are computed again, with the same result: telling the host would cost more.
    moved = indices_zyx
    for _ in range(steps):
        cells = moved.round().long()
        masses, means = _mean_around(probabilities, channel, cells, weights_zyx)
        moved = torch.where(masses[:, None] > 0, cells + means, moved)
    return moved


def _mean_around(probabilities: Tensor, channel: int, cells_zyx: Tensor, weights_zyx: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum (N,) of the squares around each cell (N, 3) and their mean offset (N, 3), float64."""
    reach_z, reach_y, reach_x = (size // 2 for size in weights_zyx.shape)
    rows_kzyx = torch.nn.functional.pad(cells_zyx, (1, 0), value=channel)
    values, is_inside = _gather_cubes(probabilities, rows_kzyx, (reach_z, reach_y, reach_x))
    masses = values.float().square_().mul_(weights_zyx).mul_(is_inside)
    in_lines = masses.sum(dim=3)
    profiles = in_lines.sum(dim=2), in_lines.sum(dim=1), masses.sum(dim=(1, 2))
    totals = profiles[0].double().sum(dim=1)
    moments = [
        profile.double() @ torch.arange(-reach, reach + 1, dtype=torch.float64, device=masses.device)
        for profile, reach in zip(profiles, (reach_z, reach_y, reach_x), strict=True)
    ]
    return totals, torch.stack(moments, dim=1) / totals.clamp(min=1e-12)[:, None]
