"""A tomogram picked column by column gives the picks of the whole, whatever it is stored in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryofind.config import parse_config
from cryofind.io import TomogramEntry, TomogramSource, fingerprint_volume, open_source, write_tomogram_zarr
from cryofind.models import save_model
from cryofind.pipeline import load_model
from cryofind.pipeline.column_plan import ColumnPlan
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.streaming import StreamedTomogram, pick_streamed
from cryofind.pipeline.survey import survey_tomogram
from cryofind.predict.columns import HALO_VOXELS, plan_columns
from cryofind.predict.needs import MemoryNeeds
from cryofind.testing import make_phantom
from cryofind.types import Picks, Tomogram, VoxelGrid
from cryofind.types.grid import IntTriple
from tests.tiny_models import build_tiny, tiny_card

SHAPE: IntTriple = (18, 131, 190)
SPACING_ANGSTROM = 10.012
Write = Callable[[Path, NDArray[Any]], Path]


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Voxels in memory, read as if they were in a file."""

    voxels: NDArray[Any]

    def read_box(self, start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        return np.array(self.voxels[tuple(slice(*span) for span in zip(start_zyx, stop_zyx, strict=True))])


@pytest.fixture(scope="module")
def volume() -> NDArray[np.float32]:
    phantom = make_phantom(seed=5, shape_zyx=SHAPE, voxel_spacing_angstrom=SPACING_ANGSTROM, noise=0.3)
    return np.asarray(phantom.tomogram.volume_zyx, dtype=np.float32)


def picker_in(folder: Path, **stages: dict[str, Any]) -> Picker:
    network = build_tiny()
    # So that probabilities are not all the same.
    network.head.weight.data.mul_(40)  # type: ignore[operator, union-attr]
    save_model(folder / "model", network, tiny_card(polarity="dark"))
    document: dict[str, dict[str, Any]] = {
        "predict": {"device": "cpu", "precision": "float32"},
        "locate": {"floor": 0.02},
    }
    for stage, changes in stages.items():
        document[stage] = {**document.get(stage, {}), **changes}
    return load_model(folder / "model", config=parse_config(document, "test"))


def write_v2(folder: Path, voxels: NDArray[Any]) -> Path:
    return write_zarr(folder, voxels, 2)


def write_v3(folder: Path, voxels: NDArray[Any]) -> Path:
    return write_zarr(folder, voxels, 3)


def write_zarr(folder: Path, voxels: NDArray[Any], zarr_format: int) -> Path:
    path = folder / "A.zarr"
    grid = VoxelGrid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), (SPACING_ANGSTROM,) * 3, (0.0, 20.0, 0.0))
    write_tomogram_zarr(path, Tomogram("A", voxels, grid), levels=1, zarr_format=zarr_format)
    return path


def write_mrc_file(folder: Path, voxels: NDArray[Any]) -> Path:
    path = folder / "A.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(voxels)
        mrc.set_volume()
        mrc.voxel_size = SPACING_ANGSTROM
    return path


def pick_both(picker: Picker, path: Path, *, core: int = 60) -> tuple[Picks, PickResult]:
    """Return the picks of the whole and those of columns whose cores are about that large."""
    entry = TomogramEntry("A", "", None, path)
    tomogram = entry.read()
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    side = core + 2 * HALO_VOXELS
    source = open_source(entry)
    columns = plan_columns(SHAPE, multiple=needs.ensemble.multiple, fits=lambda box: max(box[1:]) <= side)
    assert columns is not None
    assert len(columns) > 1
    survey = survey_tomogram(source, picker.config.preprocess, polarity=picker.card.polarity)
    assert survey.fingerprint == fingerprint_volume(tomogram.volume_zyx)
    whole = picker.pick_tomogram(tomogram)
    plan = ColumnPlan(tuple(columns), HALO_VOXELS, SHAPE, needed_bytes=0.0, budget_bytes=0.0)
    streamed = pick_streamed(picker, StreamedTomogram(source, survey.preparation, plan), needs)
    assert whole.notes == streamed.notes
    return whole.picks, streamed


def assert_same(whole: Picks, streamed: Picks) -> None:
    """Compare picks as is promised: 99.5 % within half a voxel, scores within 0.01; these networks give more."""
    assert len(whole) > 20
    assert len(whole) == len(streamed)
    for name in whole.object_names:
        ours, theirs = (picks.positions_zyx_angstrom[picks.objects == name] for picks in (streamed, whole))
        distances, partners = cKDTree(ours).query(theirs)
        assert distances.max() < 0.1 * SPACING_ANGSTROM
        assert len(set(partners)) == len(ours)
        scores = whole.scores[whole.objects == name], streamed.scores[streamed.objects == name][partners]
        np.testing.assert_allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("write", [write_v2, write_v3, write_mrc_file])
def test_every_format_gives_the_same(write: Write, volume: NDArray[np.float32], tmp_path: Path) -> None:
    whole, streamed = pick_both(picker_in(tmp_path), write(tmp_path, volume))
    assert_same(whole, streamed.picks)
    assert set(streamed.seconds) == {"read", "preprocess", "network", "locate"}


@pytest.mark.parametrize(
    ("write", "normalization"), [(write_v2, "zscore"), (write_mrc_file, "percentile"), (write_mrc_file, "robust")]
)
def test_integers_give_the_same(write: Write, normalization: str, volume: NDArray[np.float32], tmp_path: Path) -> None:
    picker = picker_in(tmp_path, preprocess={"normalization": normalization})
    whole, streamed = pick_both(picker, write(tmp_path, np.round(volume * 500 + 300).astype(np.int16)))
    assert_same(whole, streamed.picks)


@pytest.mark.filterwarnings("ignore:Data array contains:RuntimeWarning")
@pytest.mark.parametrize("write", [write_v3, write_mrc_file])
def test_unusable_voxels_and_the_other_contrast_give_the_same(
    write: Write, volume: NDArray[np.float32], tmp_path: Path
) -> None:
    voxels = 7 - 3 * volume
    voxels[::4, ::40, ::20] = np.nan
    voxels[3, 100, 7:9] = np.inf
    picker = picker_in(tmp_path, preprocess={"polarity": "match", "max_nonfinite_fraction": 0.01})
    whole, streamed = pick_both(picker, write(tmp_path, voxels))
    assert any("inverted" in note for note in streamed.notes)
    assert any("became the median" in note for note in streamed.notes)
    assert_same(whole, streamed.picks)


@pytest.mark.parametrize(
    "locate",
    [
        {"recentre_factor": 0.0, "separation_factor": 0.0},
        {"smoothing_angstrom": 15.0, "separation_factor": 0.3, "floor_factor": 0.0},
    ],
    ids=["no least distance", "smoothed"],
)
def test_other_ways_to_locate_give_the_same(
    locate: dict[str, Any], volume: NDArray[np.float32], tmp_path: Path
) -> None:
    """Without a least distance nothing hides a maximum that two columns found."""
    whole, streamed = pick_both(picker_in(tmp_path, locate=locate), write_v2(tmp_path, volume), core=40)
    assert_same(whole, streamed.picks)


def test_views_and_members_are_averaged_in_columns_too(volume: NDArray[np.float32], tmp_path: Path) -> None:
    whole, streamed = pick_both(picker_in(tmp_path, predict={"test_time_augmentation": 2}), write_v2(tmp_path, volume))
    assert_same(whole, streamed.picks)


@pytest.mark.parametrize("number_type", ["float32", "int16", "float64"])
def test_prepared_voxels_are_those_of_the_whole(number_type: str, volume: NDArray[np.float32], tmp_path: Path) -> None:
    picker = picker_in(tmp_path, preprocess={"polarity": "match"})
    voxels = (-400 * volume).astype(number_type)
    tomogram = Tomogram("A", voxels, VoxelGrid.isotropic(SHAPE, SPACING_ANGSTROM))
    source = TomogramSource("A", "", tomogram.grid, voxels.dtype, (10, 64, 64), 0, (), ArrayReader(voxels))
    survey = survey_tomogram(source, picker.config.preprocess, polarity=picker.card.polarity)
    parts = np.empty(SHAPE, np.float32)
    for start, stop in source.cut_pieces():
        place = tuple(slice(*span) for span in zip(start, stop, strict=True))
        parts[place] = survey.preparation.apply(source.read_box(start, stop))
    np.testing.assert_array_equal(parts, picker.prepare(tomogram).volume_zyx)
