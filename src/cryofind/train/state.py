"""What a training carries from step to step, and how it goes into checkpoints and comes back."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cryofind.config import Config
from cryofind.train.checkpoint import (
    Checkpoint,
    describe_recipe,
    load_newest_checkpoint,
    pack_optimizer,
    pack_tensors,
    restore_network,
    restore_optimizer,
    save_checkpoint,
    unpack_tensors,
)
from cryofind.train.devices import start_fabric, synchronize_with
from cryofind.train.ema import MovingAverage
from cryofind.train.fit_of_network import check_crops
from cryofind.train.preparing import group_parameters, lay_out_channels_last
from cryofind.train.results import Loss
from cryofind.train.timing import Stopwatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("cryofind")

_SCALARS = ("skipped", "skipped_in_a_row", "best_step", "best_score")


@dataclass(eq=False)
class Training:
    """The moving parts of a training.

    Parameters
    ----------
    fabric
        Devices, precision and the processes of a training on several devices.
    config
        The whole recipe.
    loss
        See `train_network`.
    network, wrapped
        What learns; and the same for Fabric, which computes with it.
    optimizer
        Its optimizer.
    average
        Its averaged weights.
    identity
        What a checkpoint must be of to go on from.
    stopwatch
        Where the time goes.
    step
        Steps that are done.
    skipped, skipped_in_a_row
        How many of them changed nothing, and how many since the last that did.
    best_step, best_score, best_tensors
        The best validation so far: steps done, score (None: none yet) and averaged weights.
    """

    fabric: "Fabric"
    config: Config
    loss: Loss
    network: nn.Module
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    identity: dict[str, Any]
    stopwatch: Stopwatch
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_step: int = 0
    best_score: float | None = None
    best_tensors: dict[str, Tensor] = field(default_factory=dict)


def prepare_training(
    network: nn.Module, config: Config, loss: Loss, object_names: Sequence[str], data: Mapping[str, Any]
) -> Training:
    """Return a training before its first step, on its devices; arguments and errors as of `train_network`."""
    check_crops(network, config.train)
    fabric = start_fabric(config.train, network)
    lay_out_channels_last(network.train())
    optimizer = torch.optim.AdamW(group_parameters(network, config.train.weight_decay), lr=config.train.learning_rate)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    average = MovingAverage(network, config.train.ema_decay)
    identity = _describe_training(config, object_names, data, fabric.world_size)
    stopwatch = Stopwatch(synchronize_with(fabric.device) if config.train.profile else None)
    return Training(fabric, config, loss, network, wrapped, wrapped_optimizer, average, identity, stopwatch)


def _describe_training(
    config: Config, object_names: Sequence[str], data: Mapping[str, Any], world_size: int
) -> dict[str, Any]:
    return {**describe_recipe(config), "objects": list(object_names), "data": dict(data), "processes": world_size}


def restore_training(training: Training, folder: Path) -> None:
    """Bring a training to where the newest checkpoint of a folder is, if it has one; errors as of `train_network`."""
    training.fabric.barrier()
    checkpoint = load_newest_checkpoint(folder, training.identity)
    training.fabric.barrier()
    if checkpoint is None:
        return
    tensors, where = checkpoint.tensors, str(folder)
    restore_network(training.network, unpack_tensors("network", tensors), where)
    restore_network(training.average.network, unpack_tensors("average", tensors), where)
    restore_optimizer(training.optimizer, unpack_tensors("optimizer", tensors))
    training.best_tensors = unpack_tensors("best", tensors)
    training.step = checkpoint.step
    for name, value in checkpoint.scalars.items():
        setattr(training, name, value)
    logger.info("going on after step %d of %d", training.step, training.config.train.steps)


def save_training(training: Training, folder: Path) -> None:
    """Write a checkpoint into a folder, in the main process; errors as of `save_checkpoint`."""
    if training.fabric.is_global_zero:
        tensors = {
            **pack_tensors("network", training.network.state_dict()),
            **pack_tensors("average", training.average.network.state_dict()),
            **pack_tensors("optimizer", pack_optimizer(training.optimizer)),
            **pack_tensors("best", training.best_tensors),
        }
        scalars = {name: getattr(training, name) for name in _SCALARS}
        save_checkpoint(folder, Checkpoint(training.step, tensors, scalars, training.identity))
    training.fabric.barrier()
