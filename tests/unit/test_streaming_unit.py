"""Which tomograms `cryofind pick` streams, what is recorded then, and what happens at the seams of columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from cryofind.config import parse_config
from cryofind.io import TomogramEntry, open_source, write_mrc, write_tomogram_zarr
from cryofind.locate import Candidates
from cryofind.models import save_model
from cryofind.pipeline import load_model, pick_into_folder
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick_run import RunPicking
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.streaming import join_columns
from cryofind.pipeline.survey import Gathering
from cryofind.predict.needs import MemoryNeeds
from cryofind.types import Tomogram, VoxelGrid
from cryofind.types.grid import IntTriple
from tests.tiny_models import build_tiny, tiny_card

SHAPE: IntTriple = (12, 60, 200)
GRID = VoxelGrid.isotropic(SHAPE, 10.012)
GIGABYTES = 0.002


def load_picker(folder: Path, **predict: Any) -> Picker:
    save_model(folder / "model", build_tiny(), tiny_card(thresholds={"ribosome": 0.01, "apo-ferritin": 0.01}))
    settings = {"device": "cpu", "precision": "float32", **predict}
    return load_model(folder / "model", config=parse_config({"predict": settings, "locate": {"floor": 0.001}}, "test"))


def random_tomogram(run: str, seed: int = 0) -> Tomogram:
    return Tomogram(run, np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32), GRID)


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "A.mrc", tmp_path / "B.zarr"]
    write_mrc(paths[0], random_tomogram("A"))
    write_tomogram_zarr(paths[1], random_tomogram("B", seed=1), levels=1)
    return paths


def test_memory_decides_and_the_record_says_so(
    inputs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cryofind")
    whole = pick_into_folder(inputs, tmp_path / "whole", load_picker(tmp_path))
    streamed = pick_into_folder(inputs, tmp_path / "streamed", load_picker(tmp_path, memory_gigabytes=GIGABYTES))
    assert not any("streamed" in record for record in whole.records)
    for record, other in zip(streamed.records, whole.records, strict=True):
        assert record["streamed"]["columns"] > 1
        assert record["streamed"]["memory_gigabytes"] == GIGABYTES
        assert set(record["seconds"]) == {"survey", "read", "preprocess", "network", "locate"}
        for what in ("candidates", "selected", "shape_zyx", "notes"):
            assert record[what] == other[what]
        assert record["key"]["volume_sha256"] == other["key"]["volume_sha256"]
    recorded = json.loads((tmp_path / "streamed/run.json").read_text())
    assert [run["streamed"] for run in recorded["runs"]] == [record["streamed"] for record in streamed.records]
    assert caplog.text.count("columns of up to") == len(inputs)
    np.testing.assert_allclose(
        streamed.picks.positions_zyx_angstrom, whole.picks.positions_zyx_angstrom, rtol=0, atol=0.1
    )


def test_a_streamed_run_is_kept_by_the_next_call(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picker = load_picker(tmp_path, memory_gigabytes=GIGABYTES)
    first = pick_into_folder(inputs, tmp_path / "out", picker)
    monkeypatch.setattr("cryofind.pipeline.pick_run.pick_streamed", None)
    again = pick_into_folder(inputs, tmp_path / "out", picker)
    assert again.records == first.records


def test_nothing_is_read_ahead_of_or_for_columns(inputs: list[Path], tmp_path: Path) -> None:
    picking = RunPicking(tmp_path / "out", load_picker(tmp_path), InputSelection(), with_segmentation=False)
    tight = load_picker(tmp_path, memory_gigabytes=GIGABYTES)
    streaming = RunPicking(tmp_path / "out", tight, InputSelection(), with_segmentation=False)
    entries = [TomogramEntry(path.stem, "", None, path) for path in inputs]
    assert picking.may_read_ahead(entries[1])
    assert not streaming.may_read_ahead(entries[1])
    picking._streamed.add("A")
    assert not picking.may_read_ahead(entries[1])
    picking.read(entries[0])
    assert picking.may_read_ahead(entries[1])


def candidates_at(*places: tuple[float, int, float]) -> Candidates:
    """Return candidates at y (voxels), in a channel, with a score."""
    positions = GRID.positions_from_indices([(5.0, y, 100.0) for y, _, _ in places])
    scores = np.array([score for _, _, score in places], np.float32)
    return Candidates(positions, positions + 1, scores, np.array([channel for _, channel, _ in places]))


def test_a_maximum_at_a_seam_counts_once() -> None:
    left = candidates_at((10.0, 0, 0.9), (31.5, 0, 0.6), (29.4, 0, 0.4), (31.5, 1, 0.5))
    right = candidates_at((31.4, 0, 0.7), (33.5, 0, 0.3), (31.5, 1, 0.5))
    joined = join_columns([left, right], GRID)
    assert joined.scores.tolist() == pytest.approx([0.9, 0.4, 0.7, 0.3, 0.5])
    assert joined.channels.tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(joined.centred_zyx_angstrom, joined.positions_zyx_angstrom + 1)


def test_columns_without_candidates_are_joined() -> None:
    assert len(join_columns([candidates_at((1.0, 0, 0.5)).where(np.zeros(0, int))] * 2, GRID).scores) == 0


SPANS = st.tuples(st.integers(0, 6), st.integers(1, 30), st.integers(1, 7))


@given(shape=st.tuples(*[st.integers(1, 14)] * 3), spans=st.tuples(SPANS, SPANS, SPANS), step=st.integers(1, 9))
def test_gathered_boxes_are_the_slice_of_the_whole(
    shape: IntTriple, spans: tuple[tuple[int, int, int], ...], step: int
) -> None:
    volume = np.arange(np.prod(shape)).reshape(shape)
    place = tuple(slice(*span) for span in spans)
    gathering = Gathering(shape, place, volume.dtype)
    for z in range(0, shape[0], step):
        for y in range(0, shape[1], step + 1):
            for x in range(0, shape[2], step + 2):
                box = volume[z : z + step, y : y + step + 1, x : x + step + 2]
                gathering.add((z, y, x), box)
    np.testing.assert_array_equal(gathering.values, volume[place])


@pytest.mark.parametrize("chunks", [(5, 16, 16), (12, 60, 200), (4, 60, 7), (64, 64, 64)])
@pytest.mark.parametrize("shards", [None, 2])
def test_boxes_of_a_zarr_are_those_of_the_whole(chunks: IntTriple, shards: int | None, tmp_path: Path) -> None:
    volume = np.asarray(random_tomogram("A").volume_zyx)
    options: dict[str, Any] = {"zarr_format": 3, "shards": tuple(shards * size for size in chunks)} if shards else {}
    zarr.create_array(tmp_path / "A.zarr", data=volume, chunks=chunks, **options)
    source = open_source(TomogramEntry("A", "", None, tmp_path / "A.zarr"), voxel_spacing_angstrom=10.0)
    for start, stop in (((0, 0, 0), SHAPE), ((0, 7, 33), (12, 41, 180)), ((11, 59, 199), SHAPE)):
        place = tuple(slice(*span) for span in zip(start, stop, strict=True))
        np.testing.assert_array_equal(source.read_box(start, stop), volume[place])
        read = np.full(SHAPE, np.nan)
        for first, last in source.cut_pieces(start, stop):
            piece = tuple(slice(*span) for span in zip(first, last, strict=True))
            assert np.isnan(read[piece]).all()
            read[piece] = source.read_box(first, last)
        np.testing.assert_array_equal(read[place], volume[place])
        assert np.isfinite(read).sum() == volume[place].size


def test_columns_take_less_than_the_whole(tmp_path: Path) -> None:
    picker = load_picker(tmp_path)
    needs = MemoryNeeds.of(picker.networks, picker.config.predict)
    halves = needs.column_bytes((64, 200, 400)), needs.column_bytes((64, 400, 400))
    assert halves[1] == pytest.approx(2 * halves[0], rel=0.01)
    more = MemoryNeeds.of(picker.networks * 2, picker.config.predict)
    assert more.column_bytes((64, 200, 400)) > halves[0]
    assert needs.whole_bytes((640, 2000, 2000)) > needs.column_bytes((640, 200, 200))
