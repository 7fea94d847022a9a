"""MRC files of every kind that people have."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryofind.io import read_tomogram, read_tomogram_grid, write_mrc
from cryofind.types import Tomogram, VoxelGrid
from tests.faults.mrc_bytes import build_mrc

RANDOM = np.random.default_rng(11)
SHAPE = (4, 5, 6)


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_every_mode_is_read_as_it_is(tmp_path: Path, dtype: str, byte_order: str) -> None:
    values = RANDOM.integers(0, 100, SHAPE).astype(byte_order + dtype)
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(values, byte_order=byte_order))
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
    assert tomogram.volume_zyx.dtype == values.dtype
    assert isinstance(tomogram.volume_zyx, np.memmap)
    assert not tomogram.volume_zyx.flags.writeable
    assert tomogram.grid == VoxelGrid.isotropic(SHAPE, 10.0)
    assert tomogram.notes == ()
    assert (tomogram.run, tomogram.flavour) == ("a", "")


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".map", ".st", ".MRC"])
def test_files_of_mrcfile_are_read(tmp_path: Path, suffix: str) -> None:
    values = RANDOM.normal(size=SHAPE).astype(np.float32)
    path = tmp_path / f"TS_1{suffix}"
    with mrcfile.new(path) as mrc:
        mrc.set_data(values)
        mrc.voxel_size = 13.28
    tomogram = read_tomogram(path, flavour="wbp")
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
    assert tomogram.grid.spacing_angstrom == pytest.approx(13.28)
    assert (tomogram.run, tomogram.flavour) == ("TS_1", "wbp")
    assert read_tomogram_grid(path) == tomogram.grid


def test_written_file_is_what_mrcfile_calls_valid(tmp_path: Path) -> None:
    values = RANDOM.normal(size=SHAPE)
    grid = VoxelGrid(SHAPE, (10.0, 10.0, 10.002))
    write_mrc(tmp_path / "deep" / "a.mrc", Tomogram("a", values, grid))
    assert mrcfile.validate(tmp_path / "deep/a.mrc")
    with mrcfile.open(tmp_path / "deep/a.mrc") as mrc:
        assert mrc.data is not None
        np.testing.assert_array_equal(mrc.data, values.astype(np.float32))
        assert int(mrc.header.mode) == 2
        assert int(mrc.header.ispg) == 1
        assert float(mrc.voxel_size.x) == pytest.approx(10.002)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.mrc"]


def test_reading_changes_neither_bytes_nor_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4")))
    before = path.read_bytes(), os.stat(path).st_mtime_ns
    read_tomogram(path, voxel_spacing_angstrom=3.0)
    assert (path.read_bytes(), os.stat(path).st_mtime_ns) == before


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (1, 3, 2), (2, 3, 1), (3, 1, 2)])
def test_permuted_axes_are_put_in_order(tmp_path: Path, order: tuple[int, int, int]) -> None:
    volume = RANDOM.normal(size=SHAPE).astype("<f4")
    # Section, row and column of the file are these axes of the volume.
    stored = volume.transpose([3 - axis for axis in reversed(order)])
    path = tmp_path / "a.mrc"
    cells = {f"m{name}": size for name, size in zip("zyx", SHAPE, strict=True)}
    lengths = {f"cella_{name}": size * 10.0 for name, size in zip("zyx", SHAPE, strict=True)}
    mapping = dict(zip(("mapc", "mapr", "maps"), order, strict=True))
    path.write_bytes(build_mrc(np.ascontiguousarray(stored), {**mapping, **cells, **lengths}))
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.volume_zyx, volume)
    assert tomogram.grid == VoxelGrid.isotropic(SHAPE, 10.0)
    assert bool(tomogram.notes) == (order != (1, 2, 3))


def test_axis_codes_of_zero_are_the_default_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4"), {"mapc": 0, "mapr": 0, "maps": 0}))
    assert any("taken as 1, 2, 3" in note for note in read_tomogram(path).notes)


def test_float_noise_in_the_voxel_size_is_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    fields = {"cella_x": 13.279999 * 6, "cella_y": 13.28 * 5, "cella_z": 13.28 * 4}
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4"), fields))
    spacing = read_tomogram(path).grid.spacing_zyx_angstrom
    assert len(set(spacing)) == 1
    assert spacing[0] == pytest.approx(13.28, abs=1e-5)


def test_given_voxel_size_wins_with_a_note_only_where_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4")))
    assert read_tomogram(path, voxel_spacing_angstrom=10.0).notes == ()
    tomogram = read_tomogram(path, voxel_spacing_angstrom=7.84)
    assert tomogram.grid.spacing_angstrom == pytest.approx(7.84)
    assert tomogram.notes == ("voxel spacing 7.84 A as given; the file says 10 A",)


def test_origin_and_start_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4"), {"origin_x": 500.0, "nxstart": -3}))
    assert read_tomogram(path).grid == VoxelGrid.isotropic(SHAPE, 10.0)


def test_extended_header_is_skipped_and_trailing_bytes_are_noted(tmp_path: Path) -> None:
    values = RANDOM.normal(size=SHAPE).astype("<f4")
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(values, extended=b"x" * 768) + b"tail")
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
    assert tomogram.notes == ("4 bytes after the voxels are ignored",)


def test_imod_bytes_are_unsigned_unless_flagged(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 256, SHAPE).astype("u1")
    path = tmp_path / "a.mrc"
    content = bytearray(build_mrc(values.view("i1")))
    content[152:156] = (1146047817).to_bytes(4, "little")
    path.write_bytes(content)
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
    assert "unsigned" in tomogram.notes[0]
    content[156] = 1
    path.write_bytes(content)
    np.testing.assert_array_equal(read_tomogram(path).volume_zyx, values.view("i1"))


def test_stamps_and_map_ids_that_are_wrong_are_noted(tmp_path: Path) -> None:
    values = RANDOM.normal(size=SHAPE).astype(">f4")
    path = tmp_path / "a.mrc"
    content = bytearray(build_mrc(values, byte_order=">"))
    content[208:214] = b"\0\0\0\0\x44\x44"
    path.write_bytes(content)
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
    assert len(tomogram.notes) == 2
    content = bytearray(build_mrc(values.astype("<f4")))
    content[212:214] = b"??"
    path.write_bytes(content)
    assert "little-endian" in read_tomogram(path).notes[0]


def test_one_volume_of_a_stack_is_a_volume(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(np.zeros(SHAPE, "<f4"), {"ispg": 401}))
    assert read_tomogram(path).grid.shape_zyx == SHAPE


def test_density_maps(shared_data: Path) -> None:
    paths = sorted((shared_data / "densities").rglob("*.mrc"))
    assert paths
    for path in paths:
        tomogram = read_tomogram(path)
        assert tomogram.grid.spacing_angstrom == pytest.approx(10.0)
        with mrcfile.open(path) as mrc:
            assert mrc.data is not None
            np.testing.assert_array_equal(tomogram.volume_zyx, mrc.data)
