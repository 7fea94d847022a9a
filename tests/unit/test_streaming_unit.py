"""Which tomograms `cryofind pick` streams, what is recorded then, and what happens at the seams of columns."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from cryofind.config import LocateConfig, parse_config
from cryofind.io import TomogramEntry, open_source, write_mrc, write_tomogram_zarr, zarr_arrays
from cryofind.locate import Candidates
from cryofind.memory import read_free_bytes
from cryofind.models import save_model
from cryofind.pipeline import load_model, pick_into_folder
from cryofind.pipeline.column_plan import choose_halo, plan_streaming
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick_run import RunPicking
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.streaming import StreamedTomogram, join_columns
from cryofind.pipeline.survey import Gathering
from cryofind.predict import ReadyNetworks, device, ready
from cryofind.predict.columns import HALO_VOXELS
from cryofind.predict.needs import MemoryNeeds
from cryofind.types import ParticleSpec, Tomogram, VoxelGrid
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
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    # Decoding one chunk of all voxels would take as much as the volume.
    monkeypatch.setattr(zarr_arrays, "_CHUNK_EDGE", 64)
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


def picking_of(picker: Picker, out: Path, budget_bytes: float) -> RunPicking:
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    return RunPicking(out, picker, InputSelection(), False, "0", needs, budget_bytes)


def test_size_and_budget_decide_and_nothing_is_read_ahead_of_or_for_columns(inputs: list[Path], tmp_path: Path) -> None:
    picker = load_picker(tmp_path)
    small, large = tmp_path / "small.mrc", TomogramEntry("B", "", None, inputs[1])
    cut = Tomogram("small", np.zeros((12, 20, 20), np.float32), VoxelGrid.isotropic((12, 20, 20), 10.012))
    write_mrc(small, cut)
    first, second = TomogramEntry("small", "", None, small), TomogramEntry("small", "", None, small)
    for gigabytes, pairs in (
        (1.0, {(first, second): True, (first, large): True, (large, first): True}),
        (GIGABYTES, {(first, second): True, (first, large): False, (large, first): False}),
    ):
        picking = picking_of(picker, tmp_path / "out", gigabytes * 1e9)
        assert isinstance(picking.read(first).content, Tomogram)
        assert isinstance(picking.read(large).content, Tomogram if gigabytes == 1.0 else StreamedTomogram)
        for (current, following), expected in pairs.items():
            assert picking.may_read_ahead(current, following) is expected


def test_memory_is_measured_once_and_before_anything_is_read(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    read = TomogramEntry.read

    def note_read(self: TomogramEntry, **options: Any) -> Tomogram:
        events.append("read")
        return read(self, **options)

    def note_measured() -> int:
        events.append(f"measured by {threading.current_thread().name}")
        return read_free_bytes()

    monkeypatch.setattr(TomogramEntry, "read", note_read)
    monkeypatch.setattr(device, "read_free_bytes", note_measured)
    assert not pick_into_folder(inputs, tmp_path / "out", load_picker(tmp_path)).failed
    assert events == ["measured by MainThread", "read", "read"]


def test_the_size_after_resampling_decides(tmp_path: Path) -> None:
    picker = load_picker(tmp_path)
    fine = VoxelGrid.isotropic((16, 60, 200), 7.0)
    write_mrc(tmp_path / "A.mrc", Tomogram("A", np.zeros(fine.shape_zyx, np.float32), fine))
    coarse = VoxelGrid.isotropic((16, 60, 200), 14.0)
    write_mrc(tmp_path / "B.mrc", Tomogram("B", np.zeros(coarse.shape_zyx, np.float32), coarse))
    picking = picking_of(picker, tmp_path / "out", 1e9)
    for run, grid in (("A", fine), ("B", coarse)):
        grids = picking._measure(TomogramEntry(run, "", None, tmp_path / f"{run}.mrc"))
        assert (grids.stored.shape_zyx, grids.seen) == (grid.shape_zyx, grid.resampled(10.012))
        seen = picker.prepare(Tomogram(run, np.zeros(grid.shape_zyx, np.float32), grid)).volume_zyx
        assert picking._whole_bytes(grids) >= picking.needs.picking_bytes((seen.shape[0], seen.shape[1], seen.shape[2]))


def test_networks_get_what_voxels_leave(inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[float | None] = []
    pick = Picker.pick_prepared

    def note_room(self: Picker, prepared: Tomogram, *, room_bytes: float | None = None) -> PickResult:
        rooms.append(room_bytes)
        return pick(self, prepared, room_bytes=room_bytes)

    monkeypatch.setattr(Picker, "pick_prepared", note_room)
    pick_into_folder(inputs, tmp_path / "out", load_picker(tmp_path, memory_gigabytes=0.01))
    assert rooms == [pytest.approx(0.01e9 - 4 * np.prod(SHAPE))] * 2


def test_networks_are_chosen_and_prepared_once(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("choose_engine", "load_ensemble"):
        function = getattr(ready, name)

        def note(*given: Any, name: str = name, function: Any = function) -> Any:
            calls.append(name)
            return function(*given)

        monkeypatch.setattr(ready, name, note)
    for gigabytes in (None, GIGABYTES):
        calls.clear()
        picker = load_picker(tmp_path, memory_gigabytes=gigabytes)
        assert not pick_into_folder(inputs, tmp_path / f"out {gigabytes}", picker).failed
        assert calls == ["choose_engine", "load_ensemble"]


def test_columns_of_large_particles_have_more_surroundings(tmp_path: Path) -> None:
    config, radius = LocateConfig(), 150.0
    small = (ParticleSpec("a", radius, 1), ParticleSpec("membrane", 900.0, 2, is_particle=False))
    assert choose_halo(small, config, GRID) == HALO_VOXELS
    large = (*small, ParticleSpec("b", 600.0, 3))
    halo = choose_halo(large, config, GRID)
    assert halo * GRID.spacing_angstrom >= 2 * config.recentre_factor * 600
    assert choose_halo(large, LocateConfig(refine=False), GRID) == HALO_VOXELS
    picker = load_picker(tmp_path)
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    zarr.create_array(tmp_path / "A.zarr", shape=(12, 60, 900), dtype="float32", chunks=(12, 60, 64), fill_value=0)
    entry = TomogramEntry("A", "", None, tmp_path / "A.zarr")
    source = open_source(entry, voxel_spacing_angstrom=10.012, allow_missing_chunks=True)
    plan = plan_streaming(source, needs, picker.config, large, budget_bytes=1.1 * needs.column_bytes((12, 60, 500)))
    assert plan.as_record()["halo_voxels"] == halo
    assert len(plan.columns) > 1
    for column in plan.columns:
        assert column.core_x[0] - column.outer_x[0] >= min(halo, column.core_x[0])
    assert choose_halo(small, LocateConfig(smoothing_angstrom=200.0), GRID) * GRID.spacing_angstrom >= 800


def test_a_column_is_not_smaller_in_memory_than_the_chunks_it_touches(tmp_path: Path) -> None:
    """One chunk that is the whole volume is decoded for every column."""
    shape = (64, 256, 1024)
    for name, chunks in (("one", shape), ("many", (64, 64, 64))):
        zarr.create_array(tmp_path / f"{name}.zarr", shape=shape, dtype="float64", chunks=chunks, fill_value=0)
    whole_bytes, box = 8 * int(np.prod(shape)), (64, 128, 128)
    needed = {}
    for name in ("one", "many"):
        entry = TomogramEntry(name, "", None, tmp_path / f"{name}.zarr")
        source = open_source(entry, voxel_spacing_angstrom=10.0, allow_missing_chunks=True)
        needed[name] = source.reading_bytes(box)
        read = max(np.prod(source.read_box(first, last).shape) for first, last in source.cut_pieces((0, 0, 0), box))
        assert source.piece_voxels(box) == read
    assert needed["one"] >= 2 * whole_bytes + 8 * np.prod(box)
    assert needed["many"] < 0.1 * whole_bytes


def test_every_record_says_what_ran_the_networks(inputs: list[Path], tmp_path: Path) -> None:
    for gigabytes in (None, GIGABYTES):
        picker = load_picker(tmp_path, memory_gigabytes=gigabytes)
        summary = pick_into_folder(inputs, tmp_path / "out", picker)
        expected = picker.ready_networks.choice.as_record()
        assert [record["engine"] for record in summary.records] == [expected] * 2
        shutil.rmtree(tmp_path / "out")


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
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    halves = needs.column_bytes((64, 200, 400)), needs.column_bytes((64, 400, 400))
    assert halves[1] == pytest.approx(2 * halves[0], rel=0.01)
    more = MemoryNeeds.of(ReadyNetworks.choose(picker.networks * 2, picker.config.predict), picker.config.predict)
    assert more.column_bytes((64, 200, 400)) > halves[0]
    assert needs.whole_bytes((640, 2000, 2000), (640, 2000, 2000)) > needs.column_bytes((640, 200, 200))
