"""Writing: the old file or the whole new one."""

import os
from pathlib import Path

import pytest

from cryofind import atomic
from cryofind.atomic import write_beside, write_bytes, write_folder_beside, write_json, write_text
from cryofind.errors import OutputError


class Killed(BaseException):
    """What a signal or the interpreter's end looks like to a block."""


def test_writes_and_makes_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "Å\n")
    assert path.read_bytes() == "Å\n".encode()
    write_json(path, {"a": [1, 2.5, None]})
    assert path.read_text() == '{\n  "a": [\n    1,\n    2.5,\n    null\n  ]\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt, RuntimeError])
def test_killed_while_writing_a_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with write_beside(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [Killed, RuntimeError])
def test_killed_while_writing_a_folder(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "volume.zarr"
    path.mkdir()
    (path / "old").touch()

    def write_half() -> None:
        with write_folder_beside(path) as partial:
            (partial / "new").touch()
            raise error

    with pytest.raises(error):
        write_half()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["volume.zarr"]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "volume.zarr"
    for name in ("first", "second"):
        with write_folder_beside(path) as partial:
            (partial / name).touch()
    assert [p.name for p in path.iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["volume.zarr"]


def test_leftovers_of_a_killed_process_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "volume.zarr"
    leftover = atomic._partial_path(path)
    leftover.mkdir()
    (leftover / "stale").touch()
    with write_folder_beside(path) as partial:
        (partial / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]


def test_parent_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below", b"")
    with pytest.raises(OutputError, match="cannot be written"), write_folder_beside(tmp_path / "file" / "below"):
        pass


def test_target_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"folder: cannot be written"):
        write_bytes(tmp_path / "folder", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_read_only_parent(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_bytes(tmp_path / "file", b"x")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_file_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"os.{failing}", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_non_finite_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_swapped_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "volume.zarr"
    path.mkdir()
    (path / "old").touch()
    rename = os.replace

    def refuse_new(source: Path, target: Path) -> None:
        if (Path(source) / "new").exists():
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr("os.replace", refuse_new)
    with pytest.raises(OutputError, match="Input/output error"), write_folder_beside(path) as partial:
        (partial / "new").touch()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["volume.zarr"]


def test_folder_may_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "volume.zarr"
    path.touch()
    with write_folder_beside(path) as partial:
        (partial / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["volume.zarr"]
