"""One step of a training: loss, gradient, new weights; what is not finite changes nothing."""

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cryofind.errors import DivergedError
from cryofind.train.devices import STOP_SIGNALS
from cryofind.train.losses import mask_unlabelled
from cryofind.train.prefetch import ReadyBatch
from cryofind.train.schedule import learning_rate_at
from cryofind.train.state import Training
from cryofind.train.timing import BACKWARD, FORWARD, STEP

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("cryofind")

MAX_SKIPPED_IN_A_ROW = 10


def take_step(training: Training, batch: ReadyBatch, read_signal: Callable[[], int]) -> tuple[dict[str, float], int]:
    """Take one step; return what it measured, and the signal that asks to stop after it (0: none).

    Parameters
    ----------
    training
        Changed in place.
    batch
        What to learn from.
    read_signal
        Gives the number of a signal that arrived, or 0.

    Raises
    ------
    DivergedError
        If the loss was not finite too often in a row.
    """
    fabric, settings, stopwatch = training.fabric, training.config.train, training.stopwatch
    stopwatch.count_step(batch.seconds)
    rate = learning_rate_at(training.step, settings)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    # dropout and the like depend on the step alone, so that no generator state has to be kept
    torch.manual_seed(_derive_seed(settings.seed, training.step, fabric.global_rank))
    buffers = [buffer.clone() for buffer in training.network.buffers()]
    loss = _compute_loss(training, batch)
    stopwatch.lap(FORWARD)
    training.optimizer.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        training.wrapped, training.optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False
    )
    loss_value, signal_number = _agree(fabric, loss, read_signal())
    norm_value = float(norm) if norm is not None else math.nan
    stopwatch.lap(BACKWARD)
    training.step += 1
    if math.isfinite(loss_value) and math.isfinite(norm_value):
        training.optimizer.step()
        training.average.update(training.network, training.step - 1 - training.skipped)
        training.skipped_in_a_row = 0
    else:
        _skip_step(training, buffers)
    stopwatch.lap(STEP)
    return {"loss": loss_value, "gradient_norm": norm_value, "learning_rate": rate}, signal_number


def _compute_loss(training: Training, batch: ReadyBatch) -> Tensor:
    settings, values, weights = training.config.train, batch.values, batch.weights
    logits = training.wrapped(batch.images.contiguous(memory_format=torch.channels_last_3d)).float()
    if training.step >= settings.unlabelled_after * settings.steps:
        weights = mask_unlabelled(
            logits.detach(),
            values,
            weights,
            probability=settings.unlabelled_probability,
            activation=training.config.model.activation,
        )
    return training.loss(logits, values, weights)


def _agree(fabric: "Fabric", loss: Tensor, signal_number: int) -> tuple[float, int]:
    """Return the mean loss and the signal that any process got (0: none), the same in every process."""
    got = [float(signal_number == number) for number in STOP_SIGNALS]
    numbers = torch.cat([loss.detach().double().reshape(1), loss.new_tensor(got, dtype=torch.float64)])
    if fabric.world_size > 1:
        reduced = fabric.all_reduce(numbers, reduce_op="mean")
        numbers = reduced if isinstance(reduced, Tensor) else numbers
    loss_value, *shares = numbers.tolist()
    return loss_value, next((int(number) for number, share in zip(STOP_SIGNALS, shares, strict=True) if share > 0), 0)


def _skip_step(training: Training, buffers: list[Tensor]) -> None:
    with torch.no_grad():
        for buffer, before in zip(training.network.buffers(), buffers, strict=True):
            buffer.copy_(before)
    training.skipped += 1
    training.skipped_in_a_row += 1
    logger.warning("step %d: the loss or its gradient is not finite; step skipped", training.step)
    if training.skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"training step {training.step}",
            f"the loss was not finite {training.skipped_in_a_row} times in a row",
            "lower train.learning_rate, set train.precision=float32, and check the tomograms with `cryofind info`",
        )


def _derive_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
