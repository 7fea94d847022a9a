"""Scripts of the published recipes, and a run for tests of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from cryofind import czii
from cryofind.types import Picks, VoxelGrid

MODULES = (
    *("task", "crops", "augmentations", "targets", "losses", "networks", "inference", "decoding", "schedules"),
    *("peers", "validation", "loop", "train", "pick", "curves"),
)

SHAPE = (40, 60, 60)


def make_run(code: SimpleNamespace) -> Any:
    """Return a run whose particles are bright Gaussian blobs on nothing: one of every object."""
    random = np.random.default_rng(0)
    indices = random.uniform(12, np.array(SHAPE) - 12, (6, 3))
    distances = [((np.moveaxis(np.indices(SHAPE), 0, -1) - index) ** 2).sum(axis=-1) for index in indices]
    volume = np.exp(-np.array(distances) / (2 * 3.0**2)).max(axis=0).astype(np.float16)
    labels = np.arange(1, 7)
    grid = VoxelGrid.isotropic(SHAPE, 10.0)
    picks = Picks.build("R", list(czii.OBJECT_NAMES), grid.positions_from_indices(indices))
    return code.task.Run("R", volume, grid, picks, indices, labels)
