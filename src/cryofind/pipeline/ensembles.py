"""Folders that hold several models as one: the folds of a cross-validated training."""

import json
from collections.abc import Sequence
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.errors import ModelError

ENSEMBLE_NAME = "ensemble.json"


def member_folders(folder: Path) -> list[Path]:
    """Return the model folders that `folder` stands for: itself, or the members of its `ensemble.json`.

    Raises
    ------
    ModelError
        If `ensemble.json` is damaged.
    """
    path = folder / ENSEMBLE_NAME
    if not path.is_file():
        return [folder]
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(path, f"cannot be read ({error!r})", "train again or name the members") from error
    if not (isinstance(members, list) and members and all(_is_plain_name(member) for member in members)):
        raise ModelError(f"{path}: members", f"is {members!r}", "expected a list of folder names")
    return [folder / member for member in members]


def _is_plain_name(member: object) -> bool:
    return isinstance(member, str) and member not in {"", ".", ".."} and "/" not in member and "\\" not in member


def write_ensemble(folder: Path, members: Sequence[Path]) -> None:
    """Say that the sub-folders `members` of `folder` are one model."""
    write_json(folder / ENSEMBLE_NAME, {"members": [member.name for member in members]})
