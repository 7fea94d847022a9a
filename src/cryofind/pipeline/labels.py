"""Segmentations of a project as the label volumes and masks of training."""

import numpy as np
from numpy.typing import NDArray

from cryofind.config import Config
from cryofind.errors import ProjectError
from cryofind.io import Project, TomogramEntry
from cryofind.types import LabelVolume, ParticleSpec, VoxelGrid


def labels_uri(config: Config) -> str:
    """Return the copick URI of the segmentations that are learnt from."""
    return config.targets.segmentation or "*?multilabel=true"


def labelled_objects(project: Project, entry: TomogramEntry, config: Config) -> set[str]:
    """Return the objects that occur in a run's segmentation.

    Raises
    ------
    ProjectError
        If there is not exactly one segmentation, or a label has no object.
    """
    volume = _read_segmentation(project, entry, labels_uri(config), "targets.segmentation")
    found = [label for label in np.unique(volume.labels_zyx).tolist() if label]
    for label in found:
        if label not in volume.names_by_label:
            where = f"{project.path}: segmentation of run {entry.run}"
            raise ProjectError(where, f"has label {label}, which no object has", "add the object to the project")
    return {volume.names_by_label[label] for label in found}


def read_labels(
    project: Project, entry: TomogramEntry, specs: tuple[ParticleSpec, ...], grid: VoxelGrid, config: Config
) -> NDArray[np.uint8] | None:
    """Return the run's label volume on a grid with label = channel + 1; None unless targets are labels.

    Raises
    ------
    ProjectError
        If there is not exactly one segmentation.
    """
    if config.targets.kind != "labels":
        return None
    volume = _read_segmentation(project, entry, labels_uri(config), "targets.segmentation")
    channels = np.zeros(256, dtype=np.uint8)
    for channel, spec in enumerate(specs):
        channels[spec.label] = channel + 1
    return channels[_labels_on_grid(volume, grid)]


def read_mask(project: Project, entry: TomogramEntry, grid: VoxelGrid, config: Config) -> NDArray[np.bool_] | None:
    """Return where a run's annotation is complete; None unless the annotated region is a mask.

    Raises
    ------
    ProjectError
        If there is not exactly one segmentation.
    """
    if config.targets.annotated_region != "mask":
        return None
    volume = _read_segmentation(project, entry, config.targets.annotated_mask or "annotated", "targets.annotated_mask")
    return _labels_on_grid(volume, grid) > 0


def _read_segmentation(project: Project, entry: TomogramEntry, uri: str, field: str) -> LabelVolume:
    found = project.select_segmentations(uri, runs=(entry.run,))
    if len(found) != 1:
        problem = f"has {len(found)} segmentations that match '{uri}'"
        raise ProjectError(f"{project.path}: run {entry.run}", problem, f"set {field} to exactly one")
    return found[0].read({spec.label: spec.name for spec in project.objects})


def _labels_on_grid(volume: LabelVolume, grid: VoxelGrid) -> NDArray[np.uint8]:
    """Return the label of the nearest voxel for every voxel of a grid, 0 outside."""
    if volume.grid == grid:
        return volume.labels_zyx.astype(np.uint8)
    corners = np.stack([np.arange(max(grid.shape_zyx))] * 3, axis=-1)
    nearest = volume.grid.nearest_indices_from_positions(grid.positions_from_indices(corners))
    planes, rows, columns = (nearest[:size, axis] for axis, size in enumerate(grid.shape_zyx))
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    inside = [
        (indices >= 0) & (indices < size)
        for indices, size in zip((planes, rows, columns), volume.labels_zyx.shape, strict=True)
    ]
    labels[np.ix_(*inside)] = volume.labels_zyx[
        np.ix_(*(indices[keep] for indices, keep in zip((planes, rows, columns), inside, strict=True)))
    ]
    return labels
