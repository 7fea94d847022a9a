"""The volumes that `cryofind view` shows, as whole numbers of 8 bits (labels of 32 where there are many)."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import MemoryLimitError, TomogramError
from cryofind.io import SegmentationEntry, TomogramSource, open_source, read_probability_zarr
from cryofind.io.ome_zarr import open_ome_zarr
from cryofind.memory import read_free_bytes
from cryofind.pipeline.view_subject import Subject
from cryofind.progress import report_progress
from cryofind.report.colors import choose_colors
from cryofind.types import ParticleSpec, VoxelGrid
from cryofind.types.particles import PALETTE
from cryofind.view import GreyVolume, Labels, Probability, choose_grey_scale

logger = logging.getLogger("cryofind")

# Of the free memory.
MEMORY_SHARE = 0.8
# Of a label beyond 255; that there are none shows only when a segmentation of wider numbers is read.
WIDE_LABEL_BYTES = 4
# Greys are chosen from so many pieces of the tomogram, spread over it, and from every few voxels of those.
SAMPLED_PIECES = 24
SAMPLED_VOXELS = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
_WHITE = (255, 255, 255)


def read_grey(subject: Subject) -> GreyVolume:
    """Read a tomogram piece by piece as greys, so that its own numbers are never all in memory.

    Raises
    ------
    TomogramError
        If it cannot be read, or does not fit into memory together with the volumes that are shown over it.
    """
    selection = subject.selection
    source = open_source(
        subject.tomogram,
        voxel_spacing_angstrom=selection.voxel_spacing_angstrom,
        allow_missing_chunks=selection.allow_missing_chunks,
    )
    for note in source.notes:
        logger.info("%s: %s", subject.run, note)
    _refuse_too_large(subject, source.grid)
    boxes = list(source.cut_pieces())
    scale = choose_grey_scale(_sample(source, boxes))
    values = np.empty(source.grid.shape_zyx, np.uint8)
    with report_progress("reading", len(boxes)) as progress:
        for start, stop in boxes:
            box = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
            values[box] = scale.to_grey(source.read_box(start, stop))
            progress.advance()
    return GreyVolume(values, source.grid, scale.shown)


def _refuse_too_large(subject: Subject, grid: VoxelGrid) -> None:
    """Refuse what would end the memory: a tomogram, or it together with the volumes over it."""
    path, free = subject.tomogram.path, MEMORY_SHARE * read_free_bytes()
    greys, others = math.prod(grid.shape_zyx), _count_bytes_over(subject)
    if greys > free:
        problem = f"takes {greys / 1e9:.1f} GB of memory to look at, {free / 1e9:.1f} GB are free"
        raise MemoryLimitError(path, problem, "look at a binned copy")
    if greys + others > free:
        takes = f"takes {(greys + others) / 1e9:.1f} GB of memory with its probabilities and segmentations"
        picks = ", and whose picks with --picks"
        if subject.result is not None:
            picks = f", with --picks {subject.result.path} --run {subject.run}"
        raise MemoryLimitError(path, f"{takes}, {free / 1e9:.1f} GB are free", f"give the tomogram alone{picks}")


def _count_bytes_over(subject: Subject) -> int:
    """Return the memory of probabilities and segmentations: all of them as they are shown, one as its file holds it."""
    shown, largest = 0, 0
    for path in filter(None, (_find_probabilities(subject), *(one.path for one in _find_segmentations(subject)))):
        try:
            stored = open_ome_zarr(path).stored
        except TomogramError:
            continue  # left out, with a warning, where it is read
        count, width = math.prod(stored.shape), stored.dtype.itemsize
        shown += count * (1 if stored.dtype.kind == "f" or width == 1 else WIDE_LABEL_BYTES)
        largest = max(largest, count * width)
    return shown + largest


def _sample(source: TomogramSource, boxes: Sequence[Any]) -> NDArray[Any]:
    chosen = boxes[:: max(1, len(boxes) // SAMPLED_PIECES)]
    return np.concatenate([source.read_box(*box)[SAMPLED_VOXELS].ravel() for box in chosen])


def read_probabilities(subject: Subject) -> tuple[Probability, ...]:
    """Return the probabilities that `predict.keep_probabilities` left in a result folder; none if they are damaged."""
    path = _find_probabilities(subject)
    if subject.result is None or path is None:
        return ()
    try:
        volume = read_probability_zarr(path)
    except TomogramError as error:
        logger.warning("probabilities are not shown: %s", error)
        return ()
    colors = choose_colors(subject.result.objects)
    return tuple(
        Probability(name, colors.get(name, _WHITE), _in_8_bits(channel), volume.grid)
        for name, channel in zip(volume.objects, volume.probabilities, strict=True)
    )


def _find_probabilities(subject: Subject) -> Path | None:
    if subject.result is None:
        return None
    path = subject.result.path / "probabilities" / f"{subject.run}.zarr"
    return path if path.is_dir() else None


def _in_8_bits(probabilities: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(probabilities, 0, 1) * 255), dtype=np.uint8)


def read_segmentations(subject: Subject) -> tuple[Labels, ...]:
    """Return the segmentations of a run in its project; one that is damaged is named and left out."""
    found, objects = [], () if subject.project is None else subject.project.objects
    for entry in _find_segmentations(subject):
        try:
            found.append(_read_labels(entry, objects))
        except TomogramError as error:
            logger.warning("a segmentation is not shown: %s", error)
    return tuple(found)


def _find_segmentations(subject: Subject) -> list[SegmentationEntry]:
    return [] if subject.project is None else [one for one in subject.project.segmentations if one.run == subject.run]


def _read_labels(entry: SegmentationEntry, objects: Sequence[ParticleSpec]) -> Labels:
    volume = entry.read({spec.label: spec.name for spec in objects})
    labels = volume.labels_zyx
    unsigned: NDArray[np.unsignedinteger] = labels.astype(np.uint8 if labels.max() < 256 else np.uint32)
    present = sorted({int(label) for plane in unsigned for label in np.unique(plane)} - {0})
    by_name = choose_colors(objects)
    by_label = {spec.label: by_name[spec.name] for spec in objects}
    colors = {label: by_label.get(label, PALETTE[label % len(PALETTE)]) for label in present}
    return Labels(f"{entry.name}:{entry.user}/{entry.session}", unsigned, volume.grid, colors)
