"""zarr folders that cannot be tomograms: one line each, bounded memory and time."""

import contextlib
import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryofind.errors import TomogramError
from cryofind.io import read_tomogram, read_tomogram_grid, write_tomogram_zarr
from cryofind.types import Tomogram, VoxelGrid

SHAPE = (4, 6, 8)
VOLUME = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
Document = dict[str, Any]


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "a.zarr"
    write_tomogram_zarr(
        path, Tomogram("a", VOLUME, VoxelGrid.isotropic(SHAPE, 10.0)), levels=1, zarr_format=request.param
    )
    return path


def array_document(folder: Path) -> Path:
    v2 = folder / "0/.zarray"
    return v2 if v2.exists() else folder / "0/zarr.json"


def group_document(folder: Path) -> Path:
    v2 = folder / ".zattrs"
    return v2 if v2.exists() else folder / "zarr.json"


def edit_json(path: Path, edit: Callable[[Document], Any]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def set_codec(name: str) -> Callable[[Document], None]:
    def edit(document: Document) -> None:
        if "compressor" in document:
            document["compressor"] = {"id": name}
        else:
            document["codecs"][1] = {"name": name, "configuration": {}}

    return edit


def set_chunks(*chunks: int) -> Callable[[Document], None]:
    def edit(document: Document) -> None:
        if "chunks" in document:
            document["chunks"] = list(chunks)
        else:
            document["chunk_grid"]["configuration"]["chunk_shape"] = list(chunks)

    return edit


def set_field(value: Any, *names: str) -> Callable[[Document], None]:
    def edit(document: Document) -> None:
        document[next(name for name in names if name in document)] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_codec("jxl-of-tomorrow"), "codec that is not installed.*jxl-of-tomorrow"),
        (set_field("hello", "fill_value"), "not valid zarr metadata"),
        (set_field("x", "shape"), "not valid zarr metadata"),
        (set_field([-4, 6, 8], "shape"), "not valid zarr metadata"),
        (set_field([0, 6, 8], "shape"), "expected positive sizes"),
        (set_field("<Q9", "dtype", "data_type"), "not valid zarr metadata"),
        (set_field(7, "filters", "codecs"), "not valid zarr metadata"),
        (set_chunks(0, 0, 0), "expected positive sizes|not valid"),
        (set_chunks(4, 4), "not valid zarr metadata"),
        (set_chunks(10**6, 10**6, 10**6), "says that one chunk has 4e.18 bytes"),
        (lambda document: document.clear(), "not valid zarr metadata"),
    ],
)
def test_array_metadata_that_make_no_sense_are_refused(
    folder: Path, edit: Callable[[Document], Any], message: str
) -> None:
    edit_json(array_document(folder), edit)
    with pytest.raises(TomogramError, match=message) as caught:
        read_tomogram(folder)
    assert "\n" not in str(caught.value)


def test_insane_shapes_cost_neither_memory_nor_time(folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    edit_json(array_document(folder), set_field([10**12] * 3, "shape"))
    with pytest.raises(TomogramError, match="chunks are missing"):
        read_tomogram(folder)
    with pytest.raises(TomogramError, match="more than fits in memory"):
        read_tomogram(folder, allow_missing_chunks=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{", "is not UTF-8 .byte 0"),
        (b"[1]", "holds a JSON list"),
        (b'{"a": 1,', "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'// note\n{"a": 1}', "JSON allows no comments"),
    ],
)
def test_metadata_that_are_no_json_object_are_refused(folder: Path, content: bytes, message: str) -> None:
    for path in (array_document(folder), group_document(folder)):
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(TomogramError, match=message):
            read_tomogram(folder)
        path.write_bytes(kept)


def test_a_byte_order_mark_is_no_harm(folder: Path) -> None:
    path = group_document(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME)


@pytest.mark.parametrize("multiscales", [7, [], ["x"], [{}], {"a": 1}])
def test_multiscales_of_another_form_are_refused(folder: Path, multiscales: Any) -> None:
    def edit(document: Document) -> None:
        holder = document["attributes"]["ome"] if "attributes" in document else document
        holder["multiscales"] = multiscales

    edit_json(group_document(folder), edit)
    with pytest.raises(TomogramError, match="multiscales"):
        read_tomogram_grid(folder)


def test_attributes_that_are_no_object_are_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    edit_json(tmp_path / "a.zarr/zarr.json", set_field([1], "attributes"))
    with pytest.raises(TomogramError, match="attributes: are not an object"):
        read_tomogram(tmp_path / "a.zarr")


def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    for number_type in (np.complex64, np.bool_):
        path = tmp_path / f"{np.dtype(number_type).name}.zarr"
        zarr.create_array(path, data=VOLUME.astype(number_type), zarr_format=2)
        with pytest.raises(TomogramError, match="expected real numbers"):
            read_tomogram(path, voxel_spacing_angstrom=10.0)


def test_pipes_in_place_of_chunks_do_not_hang(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=SHAPE, zarr_format=2)
    chunk = tmp_path / "a.zarr/0.0.0"
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(TomogramError, match="1 of 1 chunks are missing"):
        read_tomogram(tmp_path / "a.zarr", voxel_spacing_angstrom=10.0)


def test_disks_that_fail_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("cryofind.io.zarr_reading.Path.read_bytes", fail)
    with pytest.raises(TomogramError, match="Input/output error"):
        read_tomogram(folder)
    monkeypatch.undo()
    monkeypatch.setattr("cryofind.io.zarr_reading._check_checksum", lambda *_: fail(folder))
    with pytest.raises(TomogramError, match=f"{folder}: cannot be read .Input/output error"):
        read_tomogram(folder)


def test_files_that_are_no_chunks_are_not_counted(folder: Path) -> None:
    deep = folder / "0" / "0" / "0"
    for path in (folder / "0" / "9" / "0" / "0", folder / "0" / "x", deep.parent / "0.5", folder / "0" / "1"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**13), 10**13) | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


def paths_of(document: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, value in items:
        found.append((*prefix, key))
        if isinstance(value, dict | list):
            found += paths_of(value, (*prefix, key))
    return found


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_metadata_with_any_one_value_replaced_are_read_or_refused(folder: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([array_document(folder), group_document(folder)]))
    kept = path.read_text()
    document = json.loads(kept)
    *parents, last = data.draw(st.sampled_from(paths_of(document)))
    holder = document
    for key in parents:
        holder = holder[key]
    holder[last] = data.draw(json_values)
    path.write_text(json.dumps(document))
    with contextlib.suppress(TomogramError):
        read_tomogram(folder)
    path.write_text(kept)
