"""Provenance: what made a result, written beside it."""

import hashlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cryofind
from cryofind.errors import OutputError

RECORD_NAME = "run.json"

_RECORDED_PACKAGES = ("numpy", "scipy", "torch", "zarr", "lightning-fabric", "openvino", "nncf")


def describe_environment() -> dict[str, Any]:
    """Return versions and machine in words, JSON-ready."""
    return {
        "cryofind": cryofind.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _RECORDED_PACKAGES},
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "command": " ".join(sys.argv),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def timestamp() -> str:
    """Return the time now, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_document(document: Any) -> str:
    """Return the SHA-256 of a JSON-ready document, independent of the order of keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def claim_folder(out: Path, made_by: str) -> dict[str, Any]:
    """Return the record of an earlier call of the same command in `out`; an empty one if the folder is new.

    Parameters
    ----------
    out
        Folder that a command is about to fill.
    made_by
        The command, such as `cryofind pick`.

    Raises
    ------
    OutputError
        If `out` is a file, or holds what another command or program made.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(out, "is a file, expected a folder", "choose another --out")
    if not out.is_dir() or not any(out.iterdir()):
        return {}
    record = read_record(out) or {}
    if record.get("made_by") != made_by:
        raise OutputError(out, f"holds other files than those of `{made_by}`", "choose an empty or new folder")
    return record


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the `run.json` of a result folder, or None if there is none.

    Raises
    ------
    OutputError
        If it is damaged.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            path, f"cannot be read ({error})", "choose a new folder for --out, or delete this file"
        ) from error
    if not isinstance(document, dict):
        raise OutputError(path, "is not a JSON object", "choose a new folder for --out, or delete this file")
    return document
