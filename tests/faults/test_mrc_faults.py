"""MRC files that cannot be tomograms: one line each, no memory."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryofind.errors import CryofindError, TomogramError
from cryofind.io import read_tomogram, read_tomogram_grid
from tests.faults.mrc_bytes import build_mrc

VALUES = np.arange(4 * 5 * 6, dtype="<f4").reshape(4, 5, 6)
HUGE = 2**31 - 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": 3}, "mode: is 3 .complex"),
        ({"mode": 4}, "mode: is 4 .complex"),
        ({"mode": 16}, "mode: is 16 .RGB"),
        ({"mode": 101}, "mode: is 101 .4-bit"),
        ({"mode": 5}, "mode: is 5 .unknown"),
        ({"mode": -1}, "mode: is -1 .unknown"),
        ({"nx": 0}, "nx, ny, nz: are 0 x 5 x 4"),
        ({"nx": -5}, "nx, ny, nz: are -5"),
        ({"nx": HUGE, "ny": HUGE, "nz": HUGE}, "its header promises"),
        ({"nx": HUGE}, "its header promises"),
        ({"nsymbt": HUGE}, "nsymbt: promises 2147483647"),
        ({"nsymbt": -1}, "nsymbt: is -1"),
        ({"nz": 1}, "is one image of 6 x 5"),
        ({"ispg": 401, "mz": 2}, "is a stack of volumes"),
        ({"mapc": 1, "mapr": 1, "maps": 1}, "mapc, mapr, maps: are .1, 1, 1."),
        ({"mapc": 7}, "mapc, mapr, maps: are .7, 2, 3."),
        ({"mx": 0}, "voxel size: is 10, 10, inf A"),
        ({"mx": -6}, "expected positive"),
        ({"cella_x": 0, "cella_y": 0, "cella_z": 0}, "--voxel-size"),
        ({"cella_x": float("nan")}, "--voxel-size"),
        ({"cella_x": float("inf")}, "--voxel-size"),
        ({"cella_x": 6, "cella_y": 5, "cella_z": 4}, "is exactly 1 A.*--voxel-size"),
        ({"cella_x": 61}, "differs between the axes"),
        ({"cella_x": 6e-9, "cella_y": 5e-9, "cella_z": 4e-9}, "no volume has"),
    ],
)
def test_lies_in_the_header_are_refused_by_field(tmp_path: Path, fields: dict[str, float], message: str) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(VALUES, fields))
    for read in (read_tomogram, read_tomogram_grid):
        with pytest.raises(TomogramError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"cella_x": 0}, {"mx": 0}, {"cella_x": float("nan")}, {"cella_x": 61}, {"cella_y": -3}]
)
def test_a_given_voxel_size_mends_a_bad_one(tmp_path: Path, fields: dict[str, float]) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(VALUES, fields))
    assert read_tomogram(path, voxel_spacing_angstrom=10.0).grid.spacing_angstrom == 10.0


@pytest.mark.parametrize("given_angstrom", [0.0, -1.0, float("nan"), float("inf")])
def test_a_given_voxel_size_must_be_one(tmp_path: Path, given_angstrom: float) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(build_mrc(VALUES))
    with pytest.raises(TomogramError, match="--voxel-size"):
        read_tomogram(path, voxel_spacing_angstrom=given_angstrom)


def test_truncation_anywhere_is_refused(tmp_path: Path) -> None:
    content = build_mrc(VALUES, extended=b"e" * 80)
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    for size in reversed(range(len(content))):
        os.truncate(path, size)
        with pytest.raises(TomogramError, match="is empty" if size == 0 else "truncated"):
            read_tomogram(path)


def test_compressed_files_are_named_as_such(tmp_path: Path) -> None:
    for name, magic in (("a.mrc", b"\x1f\x8b"), ("b.mrc", b"BZh9"), ("c.mrc.gz", b"\x1f\x8b"), ("d.mrc.bz2", b"")):
        (tmp_path / name).write_bytes(magic + b"\0" * 2000)
        with pytest.raises(TomogramError, match="compressed"):
            read_tomogram(tmp_path / name)


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mrc")
    (tmp_path / "loop.mrc").symlink_to(tmp_path / "loop.mrc")
    (tmp_path / "folder.mrc").mkdir()
    (tmp_path / "a.txt").write_text("x")
    for name, message in (
        ("pipe.mrc", "pipe or device"),
        ("loop.mrc", "cannot be opened"),
        ("folder.mrc", "no zarr metadata"),
        ("missing.mrc", "does not exist"),
        ("a.txt", "is not a tomogram"),
        ("nul\0.mrc", "cannot be opened"),
        ("x" * 300 + ".mrc", "cannot be opened|longer than"),
    ):
        with pytest.raises(CryofindError, match=message):
            read_tomogram(tmp_path / name, run="a")


def test_lying_headers_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for fields in ({"nsymbt": HUGE}, {"nx": HUGE, "ny": HUGE}, {"nx": 2**15, "ny": 2**15, "nz": 2**15}):
        path.write_bytes(build_mrc(VALUES, fields))
        with pytest.raises(TomogramError):
            read_tomogram(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 223), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
def test_damaged_headers_are_read_or_refused(tmp_path: Path, edits: list[tuple[int, bytes]], cut: int) -> None:
    content = bytearray(build_mrc(VALUES))
    for start, replacement in edits:
        content[start : start + len(replacement)] = replacement
    path = tmp_path / "a.mrc"
    path.write_bytes(content[: len(content) - cut])
    try:
        tomogram = read_tomogram(path)
    except TomogramError:
        pass
    else:
        assert np.prod(tomogram.volume_zyx.shape) * tomogram.volume_zyx.itemsize <= len(content)
        assert min(tomogram.grid.spacing_zyx_angstrom) > 0
