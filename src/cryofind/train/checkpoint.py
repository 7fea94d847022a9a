"""Checkpoints: sealed folders of tensors and JSON, of which the last two are kept."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cryofind.config import Config
from cryofind.differences import describe_differences
from cryofind.errors import ModelError
from cryofind.models.sealed import read_sealed_files, write_sealed_files
from cryofind.models.weights import check_tensors, read_tensors

logger = logging.getLogger("cryofind")

FORMAT_VERSION = 1
KEPT_CHECKPOINTS = 2
TENSORS_NAME = "tensors.safetensors"
STATE_NAME = "state.json"
_PREFIX = "step-"
_FREE_STAGES = {"predict", "tune"}
_FREE_TRAIN_FIELDS = {"devices", "checkpoint_every", "memory_gigabytes", "profile"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that a training needs to go on as if nothing had happened.

    Parameters
    ----------
    step
        Steps that are done.
    tensors
        Weights, averages and optimizer state by name.
    scalars
        Numbers beside them, JSON-ready.
    identity
        What must be the same to go on: configuration, objects and data, as nested JSON-ready dictionaries.
    """

    step: int
    tensors: Mapping[str, Tensor]
    scalars: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint as `folder/step-NNNNNNNN`, whole or not at all, remove all but the last two, return its path.

    Raises
    ------
    OutputError
        If the file system refuses; older checkpoints stay as they were.
    """
    state = {
        "format_version": FORMAT_VERSION,
        "step": checkpoint.step,
        "scalars": dict(checkpoint.scalars),
        "identity": dict(checkpoint.identity),
    }
    tensors = {name: _as_plain(tensor) for name, tensor in checkpoint.tensors.items()}
    path = folder / f"{_PREFIX}{checkpoint.step:08d}"
    text = json.dumps(state, indent=2, allow_nan=False) + "\n"
    write_sealed_files(path, {TENSORS_NAME: save_tensors(tensors), STATE_NAME: text.encode()})
    for outdated in list_checkpoints(folder)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(outdated, ignore_errors=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint; nothing in it is executed.

    Raises
    ------
    ModelError
        If it is damaged or of another format version.
    """
    contents = read_sealed_files(path, (TENSORS_NAME, STATE_NAME))
    try:
        state = json.loads(contents[STATE_NAME])
    except ValueError as error:
        raise ModelError(path / STATE_NAME, f"is not JSON ({error})", "remove this checkpoint") from error
    version = state.get("format_version") if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path / STATE_NAME}: format_version",
            f"is {version!r}, expected {FORMAT_VERSION}",
            "use the version of cryofind that wrote it, or train anew",
        )
    tensors = read_tensors(contents[TENSORS_NAME], path / TENSORS_NAME)
    return Checkpoint(state["step"], tensors, state["scalars"], state["identity"])


def load_newest_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest readable checkpoint of a folder, None if there is none at all.

    A damaged one is passed over with a warning.

    Raises
    ------
    ModelError
        If the checkpoint is of another identity (with the differences), or if all are damaged.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            checkpoint = load_checkpoint(path)
        except ModelError as error:
            logger.warning("%s: %s; trying the previous checkpoint", error.subject, error.problem)
            continue
        check_identity(path, checkpoint.identity, identity)
        return checkpoint
    if paths:
        raise ModelError(folder, "holds only damaged checkpoints", "remove it to start anew")
    return None


def check_identity(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare what a checkpoint was trained for with what is asked now.

    Raises
    ------
    ModelError
        With the first differences, field by field.
    """
    if differences := describe_differences(found, expected):
        advice = "use the old recipe and data, or another output folder"
        raise ModelError(path, f"is of another training: {differences}", advice)


def describe_recipe(config: Config) -> dict[str, Any]:
    """Return the part of a recipe that changes what is learnt, JSON-ready; a training goes on only with the same."""
    identity = config.model_dump(mode="json", exclude={*_FREE_STAGES})
    for name in _FREE_TRAIN_FIELDS:
        del identity["train"][name]
    return identity


def pack_tensors(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unpack_tensors(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those tensors whose names begin with `prefix/`, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def restore_network(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a network in place, keeping its device and memory format.

    Raises
    ------
    ModelError
        If names or shapes differ.
    """
    expected = network.state_dict()
    check_tensors(tensors, expected, where)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(tensors[name])


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state tensors under names `number of parameter/key`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{key}": torch.as_tensor(value) for index, row in state.items() for key, value in row.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that `pack_optimizer` returned."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # moments lie in memory as their parameter does; an uninterrupted training has them so too
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _as_plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
