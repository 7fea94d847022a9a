"""Disks that are full or closed to us are named, with what to do."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryofind.errors import OutputError
from cryofind.pipeline import volume_store
from cryofind.pipeline.volume_store import VolumeStore

VOLUME = np.ones((4, 5, 6), np.float16)


class FullDisk(io.BytesIO):
    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_store, "TemporaryFile", lambda dir: FullDisk())
    with pytest.raises(OutputError, match=r"no place for a tomogram .*No space left on device.*memory_gigabytes"):
        VolumeStore(tmp_path, 0).keep(VOLUME)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_store, "TemporaryFile", lambda dir: open("/dev/full", "w+b", buffering=0))
    with pytest.raises(OutputError, match="No space left on device"):
        VolumeStore(tmp_path, 0).keep(VOLUME)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE])
def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(dir: Path) -> io.BytesIO:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(volume_store, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match=os.strerror(number)):
        VolumeStore(tmp_path, 0).keep(VOLUME)


def test_a_file_that_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("cryofind.pipeline.volume_store.mmap.mmap", refuse)
    with pytest.raises(OutputError, match="Cannot allocate memory"):
        VolumeStore(tmp_path, 0).keep(VOLUME)
    assert list(tmp_path.iterdir()) == []
