"""From probabilities to candidates with scores, in the ways of the recipes."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from inference import Probabilities
from numpy.typing import NDArray
from scipy import ndimage
from task import Task
from torch.nn import functional

from cryofind.types import Picks, VoxelGrid

Floats = NDArray[np.float64]
# Of probabilities, the task and the run's name: candidates by the name of the decoding.
Decode = Callable[[Probabilities, Task, str], Mapping[str, Picks]]

TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours
LEAST_CELLS = 3  # smaller components are noise in every recipe
FLOOR = 0.02  # peaks below this never pay in F4
# Best candidates of an object that a run keeps, and its largest components that are looked at for splitting: ten times
# as many as the commonest has particles.
MOST = 1000
# Cells of an object that are looked at, the highest: a network that knows nothing yet answers everywhere.
MOST_CELLS = 2_000_000
# Components are split whose boxes have a longest edge between these, in radii: others hold one particle, or nothing.
SPLIT_EDGES = (1.2, 10.0)


def components(threshold: float, ball_factor: float, *, split: bool = False) -> Decode:
    """Return connected components above a threshold at their centroids, with three kinds of score.

    `max` and `mean` of the probability, and `mass`: its sum in units of the target's ball, at most 1, which orders
    blobs by size as the recipes' least volumes do. `split`: by watershed of the distance to the border, from maxima at
    least a radius apart.
    """
    stem = "watershed" if split else "components"

    def decode(found: Probabilities, task: Task, run: str) -> Mapping[str, Picks]:
        tables: dict[str, list[Picks]] = {f"{stem}-{kind}": [] for kind in ("max", "mean", "mass")}
        for number, spec in enumerate(task.objects):
            radius_cells = task.radii_voxels[number] / found.stride
            labels = label_cells(found.values[number], threshold, radius_cells if split else None)
            centroids, *scores = measure_components(labels, found.values[number], ball_factor * radius_cells)
            for table, column in zip(tables.values(), scores, strict=True):
                table.append(place(run, spec.name, found.grid, centroids, column))
        return {name: Picks.concatenate(parts) for name, parts in tables.items()}

    return decode


def label_cells(
    probability: NDArray[np.float16], threshold: float, split_radius_cells: float | None
) -> NDArray[np.int32]:
    """Return the component of every cell above a threshold, from 1; 0 elsewhere."""
    labels, count = ndimage.label(above(probability, threshold), TOUCHING)
    if split_radius_cells is None:
        return np.asarray(labels)
    boxes, sizes = ndimage.find_objects(labels), np.bincount(labels[labels > 0], minlength=count + 1)
    for label in np.argsort(-sizes, kind="stable")[: min(MOST, count)]:
        box = boxes[label - 1]
        if SPLIT_EDGES[0] < max(part.stop - part.start for part in box) / split_radius_cells < SPLIT_EDGES[1]:
            basins, parts = split_component(labels[box] == label, split_radius_cells)
            labels[box][basins > 1] = basins[basins > 1] - 1 + count
            count += parts - 1
    return np.asarray(labels)


def above(probability: NDArray[np.float16], threshold: float) -> NDArray[np.bool_]:
    """Return which cells are above a threshold, the highest `MOST_CELLS` at most; of equal ones all or none."""
    mask = probability > np.float16(threshold)
    if np.count_nonzero(mask) > MOST_CELLS:
        mask = probability > np.partition(probability[mask], -MOST_CELLS)[-MOST_CELLS]
    return np.asarray(mask)


def split_component(mask: NDArray[np.bool_], radius_cells: float) -> tuple[NDArray[np.int32], int]:
    """Return the basin of every cell, from 1, and their number.

    They are of the distance to the border, from its maxima that are more than `radius_cells` apart.
    """
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(padded)
    highest = ndimage.maximum_filter(distance, 2 * int(radius_cells) + 1)
    markers, count = ndimage.label((distance == highest) & padded, TOUCHING)
    return np.asarray(watershed(-distance, markers, mask=padded)[1:-1, 1:-1, 1:-1]), count


def measure_components(
    labels: NDArray[np.int32], probability: NDArray[np.float16], ball_radius_cells: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return centroids (N, 3); greatest, mean and summed probability, the last in balls of so many cells' radius."""
    cells = np.flatnonzero(labels)
    of_cell, values = labels.reshape(-1)[cells], probability.reshape(-1)[cells].astype(np.float64)
    counts = np.bincount(of_cell)
    kept = np.flatnonzero(counts >= LEAST_CELLS)
    axes = np.unravel_index(cells, labels.shape)
    centroids = np.stack([np.bincount(of_cell, axis)[kept] for axis in axes], axis=1) / counts[kept, None]
    highest = np.zeros(len(counts))
    np.maximum.at(highest, of_cell, values)
    summed = np.bincount(of_cell, values)[kept]
    mass = np.minimum(1, summed / (4 / 3 * np.pi * ball_radius_cells**3))
    return centroids, highest[kept], summed / counts[kept], mass


def smooth_peaks(ball_factor: float) -> Decode:
    """Return maxima of the probability averaged over about the target's ball, on cells of two voxels."""

    def decode(found: Probabilities, task: Task, run: str) -> Mapping[str, Picks]:
        pooling = max(1, 2 // found.stride)
        tables = []
        for number, spec in enumerate(task.objects):
            values = torch.from_numpy(found.values[number].astype(np.float32))[None, None]
            coarse = functional.avg_pool3d(values, pooling, ceil_mode=True, count_include_pad=False)[0, 0].numpy()
            radius_cells = task.radii_voxels[number] / (found.stride * pooling)
            smooth = ndimage.gaussian_filter(coarse, ball_factor * radius_cells / 2, mode="constant", truncate=2.0)
            cells = find_maxima(smooth, max(1, int(0.5 * radius_cells)), FLOOR)
            grid = found.grid.coarsened(pooling)
            tables.append(place(run, spec.name, grid, centre_of_mass(smooth, cells), smooth[tuple(cells.T)]))
        return {"smooth-peaks": Picks.concatenate(tables)}

    return decode


def peaks(found: Probabilities, task: Task, run: str) -> Mapping[str, Picks]:
    """Return cells that are the greatest within half a radius (int(0.5 r / 10) voxels, as cells), as the winners do."""
    tables = []
    for number, spec in enumerate(task.objects):
        values = found.values[number].astype(np.float32)
        cells = find_maxima(values, int(0.5 * task.radii_voxels[number]), FLOOR)
        tables.append(place(run, spec.name, found.grid, cells.astype(np.float64), values[tuple(cells.T)]))
    return {"peaks": Picks.concatenate(tables)}


def find_maxima(values: NDArray[np.float32], radius_cells: int, floor: float) -> NDArray[np.int64]:
    """Return the cells (N, 3) that nothing within a cube of `radius_cells` exceeds, at least `floor`."""
    highest = torch.from_numpy(values)[None, None]
    for axis in range(3):
        size = [2 * radius_cells + 1 if axis == other else 1 for other in range(3)]
        highest = functional.max_pool3d(highest, size, 1, [n // 2 for n in size])
    return np.argwhere((values >= floor) & (values == highest[0, 0].numpy()))


def centre_of_mass(values: NDArray[np.float32], cells: NDArray[np.int64]) -> Floats:
    """Return cells (N, 3) moved to the centre of mass of what rises above the least of their 27 neighbours."""
    padded = np.pad(values, 1)
    offsets = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = padded[tuple((cells[:, None] + offsets).transpose(2, 0, 1))].astype(np.float64)
    weights -= weights.min(axis=1, keepdims=True)
    return np.asarray(cells + weights @ (offsets - 1.0) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9))


def place(run: str, name: str, grid: VoxelGrid, cells_zyx: Floats, scores: NDArray[np.floating]) -> Picks:
    """Return picks at fractional cells, the best `MOST` of them."""
    best = np.argsort(-scores, kind="stable")[:MOST]
    positions = grid.positions_from_indices(cells_zyx[best])
    return Picks.build(run, name, positions, scores=np.clip(scores[best], 0, 1))
