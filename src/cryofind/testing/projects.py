"""A copick project of phantoms on disk."""

from collections.abc import Sequence
from pathlib import Path

from cryofind import czii
from cryofind.io import (
    segmentation_zarr_path,
    tomogram_zarr_path,
    write_copick_config,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.io.picks_json import write_picks_overlay
from cryofind.testing.phantoms import Phantom, make_phantom
from cryofind.types import ParticleSpec

CONFIG_NAME = "copick.json"
TRUTH_USER, TRUTH_SESSION = "curation", "0"
SEGMENTATION_NAME = "particles"


def write_phantom_project(
    folder: str | Path,
    *,
    runs: Sequence[str],
    seed: int = 0,
    shape_zyx: tuple[int, int, int] = (64, 256, 256),
    voxel_spacing_angstrom: float = 10.012,
    crowding: float = 8.0,
    noise: float = 1.0,
    objects: Sequence[ParticleSpec] = czii.OBJECTS,
) -> Path:
    """Write phantoms as a copick project: tomograms, true picks and true multilabel segmentations.

    Parameters
    ----------
    folder
        Root of the project; what other runs it holds stays.
    runs
        A phantom is made for each name; the n-th one depends on `seed` and n alone.
    seed, shape_zyx, voxel_spacing_angstrom, crowding, noise, objects
        As in `make_phantom`.

    Returns
    -------
    Path
        The configuration, `folder/copick.json`.

    Raises
    ------
    NameRefused
        If a run cannot name a folder.
    OutputError
        If the file system refuses.
    """
    root = Path(folder)
    for number, run in enumerate(runs):
        phantom = make_phantom(
            seed=(seed, number),
            shape_zyx=shape_zyx,
            voxel_spacing_angstrom=voxel_spacing_angstrom,
            crowding=crowding,
            noise=noise,
            objects=objects,
            run=run,
        )
        write_phantom(root, phantom)
    configuration = root / CONFIG_NAME
    write_copick_config(configuration, name="phantoms", objects=objects, overlay_root=root)
    return configuration


def write_phantom(root: Path, phantom: Phantom) -> None:
    """Write one phantom's tomogram, picks (user `curation`, session `0`) and labels below a copick root."""
    tomogram = phantom.tomogram
    run, spacing = tomogram.run, tomogram.grid.spacing_angstrom
    write_tomogram_zarr(tomogram_zarr_path(root, run, spacing, tomogram.flavour), tomogram, levels=3)
    write_picks_overlay(
        root,
        phantom.picks,
        user=TRUTH_USER,
        session=TRUTH_SESSION,
        voxel_spacings={run: spacing},
        runs=(run,),
        objects=tuple(phantom.labels.names_by_label.values()),
    )
    path = segmentation_zarr_path(root, run, spacing, TRUTH_USER, TRUTH_SESSION, SEGMENTATION_NAME, is_multilabel=True)
    write_segmentation_zarr(path, phantom.labels)
