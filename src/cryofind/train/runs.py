"""Annotated tomograms, and where in them crops are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryofind.errors import PicksError
from cryofind.train.crop_map import Floats
from cryofind.types import VoxelGrid

_LABEL_VOXELS_PER_OBJECT = 4096  # places remembered per run and object without picks


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """One annotated tomogram, ready for training.

    Parameters
    ----------
    run
        Name of the run; several flavours of a run may share it.
    volume_zyx
        Preprocessed grey values, float32 or float16, possibly memory-mapped.
    grid
        Grid of the volume.
    positions_zyx_angstrom
        Annotated centres, shape (N, 3), zyx, Angstrom.
    channels
        Channel (row of the list of objects) of each, shape (N,).
    labels_zyx
        Label volume of the volume's shape, 0 for background and channel + 1 for an object; for targets `labels`.
    annotated_mask_zyx
        Booleans of the volume's shape, where annotation is complete; for the annotated region `mask`.
    project
        Number, from 0, of the project that it comes from: its place in `TrainConfig.project_weights`.

    Raises
    ------
    ValueError
        If shapes disagree.
    """

    run: str
    volume_zyx: NDArray[np.floating]
    grid: VoxelGrid
    positions_zyx_angstrom: Floats
    channels: NDArray[np.int64]
    labels_zyx: NDArray[np.integer] | None = None
    annotated_mask_zyx: NDArray[np.bool_] | None = None
    project: int = 0

    def __post_init__(self) -> None:
        for name in ("volume_zyx", "labels_zyx", "annotated_mask_zyx"):
            array = getattr(self, name)
            if array is not None and array.shape != self.grid.shape_zyx:
                raise ValueError(f"{name} of run {self.run} has shape {array.shape}, its grid {self.grid.shape_zyx}")
        if self.positions_zyx_angstrom.shape != (len(self.channels), 3):
            shape = self.positions_zyx_angstrom.shape
            raise ValueError(f"positions of run {self.run} have shape {shape}, expected {(len(self.channels), 3)}")


class Places(NamedTuple):
    """Where an object occurs: the row of the run and the fractional voxel index (M, 3)."""

    rows: NDArray[np.int64]
    indices_zyx: Floats


@dataclass(frozen=True, eq=False)
class RunPool:
    """Runs that crops are drawn from together.

    Parameters
    ----------
    rows
        Rows of the runs in the list of all.
    shares
        Their shares of the crops that are drawn anywhere, by volume; sum 1.
    places
        For every object that occurs in them, where.
    """

    rows: NDArray[np.int64]
    shares: Floats
    places: tuple[Places, ...]

    def choose_run(self, random: Generator) -> int:
        """Return the row of a run, every voxel being equally likely."""
        return int(self.rows[random.choice(len(self.rows), p=self.shares)])

    def choose_place(self, random: Generator) -> tuple[int, Floats]:
        """Return the row of a run and a fractional voxel index of a random particle of a random object."""
        places = self.places[random.integers(len(self.places))]
        chosen = random.integers(len(places.rows))
        return int(places.rows[chosen]), places.indices_zyx[chosen]


def gather_pools(
    runs: Sequence[TrainingRun], object_count: int, *, by_project: bool, from_labels: bool
) -> dict[int, RunPool]:
    """Return the pool of every project by its number, or one pool of all runs under 0.

    Parameters
    ----------
    runs
        All runs, at least one.
    object_count
        Number of channels.
    by_project
        Whether projects are kept apart.
    from_labels
        Whether label voxels stand for the objects that have no picks in a pool.

    Raises
    ------
    PicksError
        If a pool has no particle of any object.
    """
    rows: dict[int, list[int]] = {}
    for row, run in enumerate(runs):
        rows.setdefault(run.project if by_project else 0, []).append(row)
    pools = {number: _gather_pool(runs, chosen, object_count, from_labels) for number, chosen in rows.items()}
    for number, pool in pools.items():
        if not pool.places:
            subject = f"training runs of project {number + 1}" if by_project else "training runs"
            raise PicksError(subject, "hold no particle of any object", "give runs with picks")
    return pools


def _gather_pool(runs: Sequence[TrainingRun], rows: list[int], object_count: int, from_labels: bool) -> RunPool:
    pool = [runs[row] for row in rows]
    indices = [run.grid.indices_from_positions(run.positions_zyx_angstrom) for run in pool]
    sizes = np.array([run.volume_zyx.size for run in pool], dtype=np.float64)
    places = []
    for channel in range(object_count):
        found = [one[run.channels == channel] for run, one in zip(pool, indices, strict=True)]
        if from_labels and not any(map(len, found)):
            found = [_find_label_voxels(run, channel) for run in pool]
        if any(map(len, found)):
            places.append(Places(np.repeat(rows, [len(one) for one in found]), np.concatenate(found)))
    return RunPool(np.asarray(rows), sizes / sizes.sum(), tuple(places))


def _find_label_voxels(run: TrainingRun, channel: int) -> Floats:
    if run.labels_zyx is None:
        return np.empty((0, 3), dtype=np.float64)
    flat = np.flatnonzero(run.labels_zyx == channel + 1)
    kept = flat[:: -(-len(flat) // _LABEL_VOXELS_PER_OBJECT) or 1]
    return np.stack(np.unravel_index(kept, run.labels_zyx.shape), axis=-1).astype(np.float64)
