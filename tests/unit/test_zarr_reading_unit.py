"""Reading zarr arrays directly gives what zarr gives, and damage is found by the bytes that are decoded."""

import json
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io import read_tomogram, write_tomogram_zarr, zarr_reading
from cryofind.io.zarr_arrays import open_stored_array
from cryofind.io.zarr_reading import read_stored_array
from cryofind.types import Tomogram, VoxelGrid

SHAPE = (7, 10, 13)
BLOSC = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
VOXELS = np.random.default_rng(2).normal(100, 20, SHAPE)


def write_array(path: Path, voxels: NDArray[Any], chunks: tuple[int, ...] = (3, 4, 5), **options: Any) -> Path:
    options = {"compressors": BLOSC, "zarr_format": 2, "config": {"write_empty_chunks": True}, **options}
    zarr.create_array(path, data=voxels, chunks=chunks, **options)
    return path


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(zarr_reading, name, refuse)


@pytest.mark.parametrize("chunks", [(3, 4, 5), (7, 10, 13), (2, 10, 13), (1, 5, 13), (16, 16, 16)])
@pytest.mark.parametrize("compressors", [BLOSC, numcodecs.Blosc("zstd", shuffle=2), None], ids=["lz4", "zstd", "raw"])
def test_the_common_case_is_read_directly_and_right(
    chunks: tuple[int, ...], compressors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_array(tmp_path / "a", VOXELS.astype(np.float32), chunks, compressors=compressors)
    forbid(monkeypatch, "_read_through_zarr")
    voxels, notes = read_stored_array(open_stored_array(path))
    np.testing.assert_array_equal(voxels, VOXELS.astype(np.float32))
    assert notes == ()
    assert voxels.flags.writeable
    assert voxels.flags.c_contiguous


@pytest.mark.parametrize("number_type", ["<f4", ">f4", "<f2", "<f8", "i1", "u1", ">i2", "<u4", "?"])
def test_every_number_type_is_kept(number_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_array(tmp_path / "a", VOXELS.astype(number_type))
    expected = np.asarray(zarr.open_array(path, mode="r")[...])
    forbid(monkeypatch, "_read_through_zarr")
    voxels, _ = read_stored_array(open_stored_array(path))
    np.testing.assert_array_equal(voxels, expected)
    assert voxels.dtype == expected.dtype


def test_leading_axes_of_one_are_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_array(tmp_path / "a", VOXELS[None, None], (1, 1, 3, 4, 5))
    forbid(monkeypatch, "_read_through_zarr")
    np.testing.assert_array_equal(read_stored_array(open_stored_array(path), leading=(0, 0))[0], VOXELS)


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": numcodecs.Zstd()},
        {"compressors": numcodecs.Zlib()},
        {"filters": [numcodecs.Delta(dtype="<f8")]},
        {"order": "F"},
        {"zarr_format": 3, "compressors": "auto"},
    ],
    ids=["zstd", "zlib", "filter", "Fortran", "v3"],
)
@pytest.mark.filterwarnings("ignore:.*order.*:RuntimeWarning")
def test_everything_else_is_left_to_zarr(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_array(tmp_path / "a", VOXELS, **options)
    forbid(monkeypatch, "_read_bytes")
    np.testing.assert_allclose(read_stored_array(open_stored_array(path))[0], VOXELS, rtol=1e-12)


def test_missing_chunks_are_the_fill_value_where_that_is_allowed(tmp_path: Path) -> None:
    path = write_array(tmp_path / "a", VOXELS, fill_value=7.0)
    (path / "1.0.2").unlink()
    voxels, notes = read_stored_array(open_stored_array(path), allow_missing_chunks=True)
    expected = VOXELS.copy()
    expected[3:6, :4, 10:] = 7.0
    np.testing.assert_array_equal(voxels, expected)
    assert "1 of 27 chunks are missing" in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "is an empty file"),
        (lambda content: content[:-1], "is truncated"),
        (lambda content: content[:9], "is truncated"),
        (lambda content: BLOSC.encode(np.zeros(59)), "cannot be decoded .it has 472 bytes of voxels, not 480"),
        (lambda content: BLOSC.encode(np.zeros(61)), "cannot be decoded .it has 488 bytes"),
        (lambda content: content[:16] + b"\xff" * (len(content) - 16), "cannot be decoded"),
    ],
    ids=["empty", "cut", "cut in header", "fewer voxels", "more voxels", "overwritten"],
)
def test_damaged_frames_are_named(change: Any, message: str, tmp_path: Path) -> None:
    path = write_array(tmp_path / "a", VOXELS)
    chunk = path / "1.2.1"
    chunk.write_bytes(change(chunk.read_bytes()))
    with pytest.raises(TomogramError, match=rf"chunk 1\.2\.1: {message}"):
        read_stored_array(open_stored_array(path))


@pytest.mark.parametrize("size", [479, 481, 1])
def test_bare_voxels_of_another_length_are_named(size: int, tmp_path: Path) -> None:
    path = write_array(tmp_path / "a", VOXELS, compressors=None)
    (path / "0.1.0").write_bytes(bytes(size))
    with pytest.raises(TomogramError, match=rf"chunk 0\.1\.0: cannot be decoded .it has {size} bytes"):
        read_stored_array(open_stored_array(path))


def test_files_are_read_once_and_the_bytes_that_are_decoded_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_array(tmp_path / "a", VOXELS)
    checksums = {key: zlib.crc32((path / key).read_bytes()) for key in ("0.0.0", "2.2.2", "1.1.1")}
    read, original = [], zarr_reading._read_bytes

    def count(file: Path, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        read.append(file.name)
        return original(file, buffer)

    monkeypatch.setattr(zarr_reading, "_read_bytes", count)
    np.testing.assert_array_equal(read_stored_array(open_stored_array(path), checksums=checksums)[0], VOXELS)
    assert len(read) == len(set(read)) == 27
    checksums["1.1.1"] ^= 1
    with pytest.raises(TomogramError, match=r"chunk 1\.1\.1: is not what was written .checksum"):
        read_stored_array(open_stored_array(path), checksums=checksums)


def test_a_file_that_grew_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    assert zarr_reading._read_bytes(tmp_path / "a", np.empty(4, np.uint8)).tobytes() == b"abcdef"
    assert zarr_reading._read_bytes(tmp_path / "a", np.empty(9, np.uint8)).tobytes() == b"abcdef"


def test_buffers_stay_within_their_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = open_stored_array(write_array(tmp_path / "a", VOXELS))
    reading = zarr_reading._DirectReading.of(stored, stored.find_files(), {})
    assert reading is not None
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert reading._count_threads() == zarr_reading._MAX_THREADS
    monkeypatch.setattr(zarr_reading, "_BUFFER_BYTES", 4 * 480)
    assert reading._count_threads() == 2
    monkeypatch.setattr(zarr_reading, "_BUFFER_BYTES", 1)
    assert reading._count_threads() == 1


def test_a_compressor_of_an_odd_kind_is_left_to_zarr(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_tomogram_zarr(path, Tomogram("a", VOXELS, VoxelGrid.isotropic(SHAPE, 10.0)), levels=1)
    document = path / "0/.zarray"
    metadata = json.loads(document.read_text())
    odd: tuple[Any, ...] = (False, [], 7)
    for compressor in odd:
        document.write_text(json.dumps({**metadata, "compressor": compressor}))
        with pytest.raises(TomogramError):
            read_tomogram(path)
