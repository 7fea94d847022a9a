"""The outside world as the types of the package, and back: tomograms, segmentations, picks, projects."""

from cryofind.io.copick import write_copick_config
from cryofind.io.dynamo import read_tomogram_list
from cryofind.io.entries import PicksEntry, Project, SegmentationEntry, TomogramEntry
from cryofind.io.inspect import describe_path, diagnose_tomogram, format_description
from cryofind.io.layout import segmentation_zarr_path, tomogram_zarr_path
from cryofind.io.mrc import write_mrc
from cryofind.io.ome_zarr import read_probability_zarr, read_segmentation_zarr
from cryofind.io.ome_zarr_write import write_probability_zarr, write_segmentation_zarr, write_tomogram_zarr
from cryofind.io.picks_json import (
    OWN_SESSION,
    OWN_USER,
    picks_json_path,
    read_picks_json,
    write_picks_json,
    write_picks_overlay,
)
from cryofind.io.point_lists import LoosePicks, read_loose_picks
from cryofind.io.project import open_project
from cryofind.io.relion import read_tomograms_star
from cryofind.io.sources import TomogramSource, open_source
from cryofind.io.structures import AtomicModel, read_structure
from cryofind.io.tables import read_points_table
from cryofind.io.tomograms import (
    FINGERPRINTED,
    fingerprint_sample,
    fingerprint_volume,
    read_tomogram,
    read_tomogram_grid,
)

__all__ = [
    "FINGERPRINTED",
    "OWN_SESSION",
    "OWN_USER",
    "AtomicModel",
    "LoosePicks",
    "PicksEntry",
    "Project",
    "SegmentationEntry",
    "TomogramEntry",
    "TomogramSource",
    "describe_path",
    "diagnose_tomogram",
    "fingerprint_sample",
    "fingerprint_volume",
    "format_description",
    "open_project",
    "open_source",
    "picks_json_path",
    "read_loose_picks",
    "read_picks_json",
    "read_points_table",
    "read_probability_zarr",
    "read_segmentation_zarr",
    "read_structure",
    "read_tomogram",
    "read_tomogram_grid",
    "read_tomogram_list",
    "read_tomograms_star",
    "segmentation_zarr_path",
    "tomogram_zarr_path",
    "write_copick_config",
    "write_mrc",
    "write_picks_json",
    "write_picks_overlay",
    "write_probability_zarr",
    "write_segmentation_zarr",
    "write_tomogram_zarr",
]
