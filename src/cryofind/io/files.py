"""Looking at paths and small JSON files before anything trusts them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from cryofind.errors import CryofindError

# Configurations and zarr metadata are a few kilobytes; the bound keeps a wrong file from filling the memory.
MAX_JSON_BYTES = 64 * 1024 * 1024


def require_file(path: Path, error: type[CryofindError]) -> int:
    """Return the size in bytes of a regular, existing file; pipes, devices, folders and link loops are refused.

    Raises
    ------
    CryofindError
        Of the type `error`.
    """
    status = _stat(path, error)
    if stat.S_ISDIR(status.st_mode):
        raise error(path, "is a folder, expected a file", "give a file")
    if not stat.S_ISREG(status.st_mode):
        raise error(path, "is a pipe or device, not a regular file", "give a regular file")
    return status.st_size


def is_folder(path: Path, error: type[CryofindError]) -> bool:
    """Say whether an existing path is a folder; raises `error` when there is nothing to look at."""
    return stat.S_ISDIR(_stat(path, error).st_mode)


def read_json_document(path: Path, error: type[CryofindError]) -> dict[str, Any]:
    """Return the object of a JSON file (UTF-8, with or without byte order mark).

    Raises
    ------
    CryofindError
        Of the type `error`: missing, unreadable, too large, not UTF-8, not JSON, or not an object.
    """
    if require_file(path, error) > MAX_JSON_BYTES:
        raise error(path, f"is larger than {MAX_JSON_BYTES >> 20} MB, which no such file is", "give another file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = json.loads(text)
    except OSError as problem:
        raise error(path, f"cannot be read ({problem.strerror})", "check the permissions") from problem
    except UnicodeDecodeError as problem:
        raise error(path, f"is not UTF-8 (byte {problem.start})", "save it as UTF-8") from problem
    except RecursionError as problem:
        raise error(path, "is nested too deeply", "give another file") from problem
    except ValueError as problem:
        raise error(path, f"is not JSON ({problem})", _advise_json(text)) from problem
    if not isinstance(document, dict):
        raise error(path, f"holds a JSON {type(document).__name__}, expected an object {{...}}", "give another file")
    return document


def _advise_json(text: str) -> str:
    if any(line.lstrip().startswith(("//", "#", "/*")) or ", //" in line for line in text.splitlines()):
        return "JSON allows no comments: remove those that begin with // or #"
    return "mend the file"


def _stat(path: Path, error: type[CryofindError]) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as problem:
        raise error(path, "does not exist", "check the path") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error(repr(str(path))[:200], f"cannot be opened ({reason})", "check the path") from problem
