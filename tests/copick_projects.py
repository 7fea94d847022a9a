"""Small projects in the layout of copick."""

from pathlib import Path

import numpy as np

from cryofind.io import (
    picks_json_path,
    segmentation_zarr_path,
    tomogram_zarr_path,
    write_copick_config,
    write_picks_json,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.types import LabelVolume, ParticleSpec, Picks, Tomogram, VoxelGrid

GRID = VoxelGrid.isotropic((4, 6, 8), 10.012)
VOLUME = np.random.default_rng(2).normal(size=GRID.shape_zyx).astype(np.float32)
OBJECTS = (
    ParticleSpec("ribosome", 150.0, 1, (1, 2, 3, 255), 2.0, 0.4),
    ParticleSpec("membrane", None, 2, is_particle=False),
)


def add_tomogram(root: Path, run: str, flavour: str = "wbp", spacing: float = 10.012) -> Path:
    path = tomogram_zarr_path(root, run, spacing, flavour)
    write_tomogram_zarr(path, Tomogram(run, VOLUME, GRID), levels=1)
    return path


def add_picks(root: Path, run: str, name: str = "ribosome", user: str = "curation", count: int = 2) -> Path:
    path = picks_json_path(root, run, user, "0", name)
    positions = np.arange(3 * count).reshape(-1, 3)
    write_picks_json(path, Picks.build(run, name, positions), user=user, session="0", run=run, object_name=name)
    return path


def add_segmentation(root: Path, run: str, name: str, *, is_multilabel: bool) -> Path:
    path = segmentation_zarr_path(root, run, 10.012, "cryofind", "1", name, is_multilabel=is_multilabel)
    labels = (VOLUME > 0).astype(np.uint8)
    write_segmentation_zarr(path, LabelVolume(run, labels, GRID, {1: "ribosome"}), levels=1)
    return path


def write_copick_project(folder: Path) -> Path:
    """Write two runs with picks and label volumes, their tomograms in a static root; return the configuration."""
    overlay, static = folder / "overlay", folder / "static"
    for run in ("TS_2", "TS_1"):
        add_tomogram(static, run)
        add_tomogram(static, run, "denoised")
        add_picks(overlay, run)
    add_tomogram(static, "TS_1", "wbp", 20.0)
    add_segmentation(overlay, "TS_1", "predict", is_multilabel=True)
    add_segmentation(overlay, "TS_1", "membrane", is_multilabel=False)
    path = folder / "copick.json"
    write_copick_config(path, name="demo", objects=OBJECTS, overlay_root=overlay, static_root=static)
    return path
