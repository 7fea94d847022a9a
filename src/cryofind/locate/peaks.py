"""Local maxima of a probability volume, looked for only where something was found."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cryofind.errors import ModelError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# The 26 neighbours, face neighbours first: they rule out most cells, so later rounds compare few.
NEIGHBOUR_OFFSETS_ZYX = sorted(
    (offset for offset in product((-1, 0, 1), repeat=3) if any(offset)),
    key=lambda offset: (sum(map(abs, offset)), abs(offset[0]), abs(offset[1])),
)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Local maxima of one channel, in the order of their cells.

    Parameters
    ----------
    cells_zyx
        Index of the winning cell of each maximum, shape (N, 3).
    centres_zyx
        Mean index of the cells that share the maximum, shape (N, 3): the cell itself unless it is a plateau.
    is_plateau
        Shape (N,), whether several touching cells share the maximum.
    scores
        Probability at the maximum, float32, shape (N,).
    """

    cells_zyx: Ints
    centres_zyx: Floats
    is_plateau: NDArray[np.bool_]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


def find_peaks(probability_zyx: NDArray[np.floating], *, floor: float, subject: str = "probabilities") -> Peaks:
    """Find the local maxima of at least `floor` in their 3 x 3 x 3 neighbourhood.

    Touching cells of equal value count as one maximum, if no cell beside any of them is higher; the cell nearest to
    their mean wins (of equally near ones the first in array order).

    Parameters
    ----------
    probability_zyx
        Floating array (z, y, x), values 0 to 1; float16 and float32 are compared without a copy.
    floor
        Least probability of a maximum, above 0.
    subject
        What the volume is, for the error.

    Returns
    -------
    Peaks

    Raises
    ------
    ModelError
        If a probability is NaN or infinite.
    """
    probability = np.ascontiguousarray(probability_zyx)
    candidates = find_candidate_cells(probability, floor=floor, subject=subject)
    keys = _comparable(probability)
    survivors_zyx = _drop_dominated(keys, candidates)
    plateau_of_survivor, is_maximum = _group_plateaus(keys, survivors_zyx)
    return _choose_winners(probability, survivors_zyx, plateau_of_survivor, is_maximum)


def find_candidate_cells(
    probability_zyx: NDArray[np.floating], *, floor: float, subject: str = "probabilities"
) -> NDArray[np.intp]:
    """Return the flat indices, ascending, of the cells of a C-contiguous volume with at least `floor`.

    Raises
    ------
    ModelError
        If a value among the cells is NaN or infinite.
    """
    flat = probability_zyx.reshape(-1)
    if flat.dtype == np.float16:
        # Bit patterns of floats >= 0 are ordered like the floats, and integers compare ten times faster.
        # Negative values and NaN of either sign come out on top here and are looked at below.
        indices = np.flatnonzero(flat.view(np.uint16) >= np.float16(floor).view(np.uint16))
    else:
        indices = np.flatnonzero(~(flat < floor))
    values = flat[indices].astype(np.float32, copy=False)
    damaged = int(np.count_nonzero(~np.isfinite(values)))
    if damaged:
        problem = f"{damaged} of {flat.size} probabilities are not finite numbers"
        raise ModelError(subject, problem, "predict again with --set predict.precision=float32")
    return indices[values >= np.float32(floor)]


def _comparable(probability_zyx: NDArray[np.floating]) -> NDArray[np.generic]:
    """Return a view that compares in the same order (for finite values >= 0), as integers for float16."""
    return probability_zyx.view(np.int16) if probability_zyx.dtype == np.float16 else probability_zyx


def _neighbours(cells_zyx: Ints, offset_zyx: tuple[int, ...], shape_zyx: tuple[int, ...]) -> tuple[Ints, ...]:
    """Return the neighbours of cells (3, N); at a face the index is clipped, to the cell itself or a neighbour."""
    return tuple(
        axis_cells if step == 0 else np.clip(axis_cells + step, 0, size - 1)
        for axis_cells, step, size in zip(cells_zyx, offset_zyx, shape_zyx, strict=True)
    )


def _drop_dominated(keys: NDArray[np.generic], cells: NDArray[np.intp]) -> Ints:
    """Return, as indices (3, M), the cells that no neighbour exceeds, of flat indices (N,) in ascending order."""
    _, rows, columns = keys.shape
    flat = keys.reshape(-1)
    at_face = _lies_at_face(cells, keys.shape)
    inner = cells[~at_face]
    for z, y, x in NEIGHBOUR_OFFSETS_ZYX:
        # Away from the faces a neighbour is a fixed step away in memory, which is much the fastest look-up.
        inner = inner[flat[inner] >= flat[inner + ((z * rows + y) * columns + x)]]
    outer_zyx = _unravel(cells[at_face], keys.shape)
    for offset in NEIGHBOUR_OFFSETS_ZYX:
        neighbours = _neighbours(outer_zyx, offset, keys.shape)
        outer_zyx = outer_zyx[:, keys[tuple(outer_zyx)] >= keys[neighbours]]
    outer = np.ravel_multi_index(tuple(outer_zyx), keys.shape)
    return _unravel(np.sort(np.concatenate([inner, outer])), keys.shape)


def _lies_at_face(cells: NDArray[np.intp], shape_zyx: tuple[int, ...]) -> NDArray[np.bool_]:
    is_face = np.ones(shape_zyx, bool)
    is_face[1:-1, 1:-1, 1:-1] = False
    return np.asarray(is_face.reshape(-1)[cells])


def _unravel(cells: NDArray[np.intp], shape_zyx: tuple[int, ...]) -> Ints:
    return np.stack(np.unravel_index(cells, shape_zyx)).astype(np.int64, copy=False)


def _group_plateaus(keys: NDArray[np.generic], survivors_zyx: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the plateau of every survivor (M,) and whether each plateau is a maximum.

    A plateau that touches an equal cell which is no survivor leads up to something higher: no maximum.
    """
    count = survivors_zyx.shape[1]
    survivors = np.ravel_multi_index(tuple(survivors_zyx), keys.shape)
    values = keys[tuple(survivors_zyx)]
    sources, targets, leads_up = [], [], np.zeros(count, bool)
    for offset in NEIGHBOUR_OFFSETS_ZYX:
        neighbours_zyx = _neighbours(survivors_zyx, offset, keys.shape)
        neighbours = np.ravel_multi_index(neighbours_zyx, keys.shape)
        equal = np.flatnonzero((keys[neighbours_zyx] == values) & (neighbours != survivors))
        places = np.minimum(np.searchsorted(survivors, neighbours[equal]), max(count - 1, 0))
        found = survivors[places] == neighbours[equal]
        leads_up[equal[~found]] = True
        sources.append(equal[found])
        targets.append(places[found])
    rows, columns = np.concatenate(sources), np.concatenate(targets)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    plateau_count, plateau_of_survivor = connected_components(graph, directed=False)
    is_maximum = np.bincount(plateau_of_survivor, weights=leads_up, minlength=plateau_count) == 0
    return plateau_of_survivor.astype(np.int64), is_maximum


def _choose_winners(
    probability: NDArray[np.floating], survivors_zyx: Ints, plateau_of_survivor: Ints, is_maximum: NDArray[np.bool_]
) -> Peaks:
    """Return one cell of each plateau that is a maximum: the nearest to its mean, then the first in array order."""
    plateau_count = len(is_maximum)
    sizes = np.bincount(plateau_of_survivor, minlength=plateau_count)
    sums = [np.bincount(plateau_of_survivor, weights=axis, minlength=plateau_count) for axis in survivors_zyx]
    centres = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
    distances = np.sum((survivors_zyx.T - centres[plateau_of_survivor]) ** 2, axis=1)
    order = np.lexsort((np.arange(len(distances)), distances, plateau_of_survivor))
    _, first = np.unique(plateau_of_survivor[order], return_index=True)
    winners = np.sort(order[first[is_maximum]])
    plateaus = plateau_of_survivor[winners]
    cells = survivors_zyx[:, winners]
    scores = probability[tuple(cells)].astype(np.float32)
    return Peaks(np.ascontiguousarray(cells.T), centres[plateaus], sizes[plateaus] > 1, scores)
