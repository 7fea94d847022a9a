"""Folders of models: which they are, and those that hold several as one, the folds of a cross-validated training."""

import json
from collections.abc import Sequence
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.errors import ModelError, OutputError
from cryofind.model_files import CARD_NAME, shipped_model_names
from cryofind.pipeline.records import read_record

ENSEMBLE_NAME = "ensemble.json"
TRAINED_BY = "cryofind train"


def has_model(folder: Path) -> bool:
    """Say whether a folder holds a model, or several as one."""
    return (folder / CARD_NAME).is_file() or (folder / ENSEMBLE_NAME).is_file()


def is_model(path: Path) -> bool:
    """Say whether a path is a model, a folder in which one is being trained, or the name of a shipped model."""
    if not path.exists():
        return str(path) in shipped_model_names()
    if has_model(path):
        return True
    try:
        record = read_record(path)
    except OutputError:
        # A damaged record does not say whose it is.
        return (path / "training").is_dir()
    return record is not None and record.get("made_by") == TRAINED_BY


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
