"""Label volumes from what the network said."""

import numpy as np

from cryofind.predict import segment_probabilities
from cryofind.types import ParticleSpec, ProbabilityVolume, VoxelGrid

SPECS = (ParticleSpec("a", 50.0, 7), ParticleSpec("b", 50.0, 3))


def test_segmentation_labels_the_most_probable_object_above_the_threshold() -> None:
    grid = VoxelGrid.isotropic((8, 9, 10), 10.0)
    values = np.zeros((2, 4, 5, 5), np.float16)
    values[0, :, :2] = 0.9
    values[1, :, 3:] = 0.8
    values[1, 0, 0, 0] = 0.95
    labels = segment_probabilities(
        ProbabilityVolume("r", values, grid.coarsened(2), ("a", "b")), SPECS, threshold=0.5, grid=grid
    )
    assert labels.labels_zyx.dtype == np.uint8
    assert labels.grid == grid
    assert labels.names_by_label == {7: "a", 3: "b"}
    assert set(np.unique(labels.labels_zyx[3, :3])) == {7}
    assert set(np.unique(labels.labels_zyx[:, 7:])) == {3}
    assert set(np.unique(labels.labels_zyx[:, 4:6])) == {0}
    assert labels.labels_zyx[0, 0, 0] == 3


def test_segmentation_below_the_threshold_is_empty() -> None:
    grid = VoxelGrid.isotropic((4, 4, 4), 10.0)
    empty = ProbabilityVolume("r", np.full((2, 2, 2, 2), 0.4, np.float32), grid.coarsened(2), ("a", "b"))
    assert not segment_probabilities(empty, SPECS, threshold=0.5, grid=grid).labels_zyx.any()
    one = empty.probabilities.copy()
    one[1, :, 0] = 0.6
    mixed = ProbabilityVolume("r", one, grid.coarsened(2), ("a", "b"))
    assert set(np.unique(segment_probabilities(mixed, SPECS, threshold=0.5, grid=grid).labels_zyx)) == {0, 3}


def test_segmentation_without_objects_is_empty() -> None:
    grid = VoxelGrid.isotropic((4, 4, 4), 10.0)
    none = ProbabilityVolume("r", np.zeros((0, 2, 2, 2), np.float32), grid.coarsened(2), ())
    assert not segment_probabilities(none, SPECS, threshold=0.5, grid=grid).labels_zyx.any()
