"""Folders of a few files under a SHA-256 seal, because neither safetensors nor JSON notice a flipped bit."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryofind.atomic import write_bytes, write_folder_beside
from cryofind.errors import ModelError, OutputError

SEAL_NAME = "SHA256SUMS"


def write_sealed_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files and their seal `SHA256SUMS` (the format of `sha256sum`) into a folder.

    A new folder, or one that holds nothing else, appears or is replaced as a whole. Beside other files each file is
    replaced on its own; a set torn by a crash is then refused by `read_sealed_files`.

    Raises
    ------
    OutputError
        If `folder` is a file or the file system refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(folder, "is a file, expected a folder", "choose another place")
    seal = render_seal(contents).encode()
    sealed = {**contents, SEAL_NAME: seal}
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if present <= sealed.keys():
        with write_folder_beside(folder) as partial:
            _write_all(partial, sealed)
    else:
        _write_all(folder, sealed)


def read_sealed_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of the named files after checking them against the seal.

    Raises
    ------
    ModelError
        If the folder or a file is missing, or a hash differs, with the name of the file.
    """
    names = list(names)
    if not folder.is_dir():
        raise ModelError(folder, "is not a folder" if folder.exists() else "does not exist", "give a model's folder")
    contents = {name: _read_bytes(folder / name) for name in names}
    seal = _read_bytes(folder / SEAL_NAME).decode("utf-8", "replace")
    if seal != render_seal(contents):
        lines = seal.splitlines()
        damaged = [name for name in names if render_seal({name: contents[name]}).rstrip("\n") not in lines]
        where = folder / (damaged[0] if len(damaged) == 1 else SEAL_NAME)
        raise ModelError(where, "does not match its SHA-256 (damaged or changed)", "fetch or write it again")
    return contents


def render_seal(contents: Mapping[str, bytes]) -> str:
    """Return the text of `SHA256SUMS` for files by name."""
    return "".join(f"{hash_bytes(contents[name])}  {name}\n" for name in sorted(contents))


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        write_bytes(folder / name, content)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(path, "is missing", "give a complete folder as cryofind writes it") from error
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror})", "check the folder") from error
