"""Writing that leaves either the old file or the whole new one, never a torn one."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryofind.errors import OutputError


def advise_on(error: OSError) -> str:
    """Return what to do when a file cannot be written."""
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return "free space or choose another place" if is_full else "choose another place"


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial.{os.getpid()}")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(path, f"cannot be written ({error.strerror or error})", advise_on(error))


def _remove_partial_file(partial: Path) -> None:
    with suppress(OSError):  # its folder may not even exist; the first error is the one to tell
        partial.unlink(missing_ok=True)


def _swap_folder(partial: Path, path: Path) -> None:
    """Put `partial` in the place of `path`; when that fails, the old folder is back in its place."""
    if not path.exists():
        os.replace(partial, path)
        return
    retired = partial.with_name(partial.name + ".old")
    os.replace(path, retired)
    try:
        os.replace(partial, path)
    except OSError:
        os.replace(retired, path)
        raise
    if retired.is_dir() and not retired.is_symlink():
        shutil.rmtree(retired, ignore_errors=True)
    else:
        retired.unlink()


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file at; on success it is synced and renamed to `path`.

    Parents are created. When the block raises, the partial file is removed and `path` stays as it was.

    Raises
    ------
    OutputError
        If the file system refuses (full, read-only, a parent is a file).
    """
    partial = _partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
        _fsync_folder(path.parent)
    except OSError as error:
        _remove_partial_file(partial)
        raise _as_output_error(path, error) from error
    except BaseException:
        _remove_partial_file(partial)
        raise


@contextmanager
def write_folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it replaces `path` (a folder is swapped as a whole)."""
    partial = _partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        _swap_folder(partial, path)
        _fsync_folder(path.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _as_output_error(path, error) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def place_folder(made: Path, path: Path) -> None:
    """Put a folder that is complete in the place of `path`, on the same file system; all of it is synced first.

    Parents of `path` are created.

    Raises
    ------
    OSError
        If the file system refuses; then `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder, _, names in os.walk(made, topdown=False):
        for name in names:
            with open(Path(folder) / name, "rb") as written:
                os.fsync(written.fileno())
        _fsync_folder(Path(folder))
    _swap_folder(made, path)
    _fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain newlines."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    with write_beside(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, indented, ending in a newline; non-finite numbers are refused."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
