"""The training loop: batches in, a network with averaged weights out, and nothing lost to an interruption."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cryofind.config import Config
from cryofind.errors import DivergedError
from cryofind.progress import report_progress
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
from cryofind.train.devices import STOP_SIGNALS, catch_interruption, exit_code_of, start_fabric, synchronize_with
from cryofind.train.ema import MovingAverage
from cryofind.train.losses import mask_unlabelled
from cryofind.train.metrics import MetricsFile
from cryofind.train.prefetch import ReadyBatch, Sampler, prefetch_batches
from cryofind.train.preparing import group_parameters, lay_out_channels_last
from cryofind.train.results import Loss, TrainResult, Validation
from cryofind.train.schedule import learning_rate_at
from cryofind.train.timing import (
    BACKWARD,
    CHECKPOINTS,
    FORWARD,
    OTHER,
    STEP,
    VALIDATION,
    WAITING,
    Stopwatch,
    report_times,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("cryofind")

CHECKPOINTS_NAME = "checkpoints"
METRICS_NAME = "metrics.jsonl"
MAX_SKIPPED_IN_A_ROW = 10


@dataclass(eq=False)
class _Training:
    """The moving parts."""

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


def train_network(
    sampler: Sampler,
    network: nn.Module,
    config: Config,
    *,
    out: Path,
    validate: Callable[[nn.Module], Validation] | None,
    object_names: Sequence[str],
    loss: Loss,
    data: Mapping[str, Any] = MappingProxyType({}),
    watch: Callable[[int, float | None], None] | None = None,
) -> TrainResult:
    """Train a network and return it with averaged weights.

    Parameters
    ----------
    sampler
        Gives the batch of every (step, rank); asked in the background.
    network
        The network to train, changed in place; see `cryofind.models.build_network`.
    config
        The whole recipe; the loop reads `config.train` and `config.model.activation`.
    out
        Folder for `checkpoints/` and `metrics.jsonl`; a training that was cut off there goes on.
    validate
        Called with the averaged network in eval mode every `train.validate_every` steps and after the last one.
    object_names
        Objects in channel order.
    loss
        Maps logits (B, C, z, y, x), values (B, K, z, y, x) and weights (B, z, y, x) to a scalar.
    data
        What the network learns from and is validated on, JSON-ready, such as runs and hashes of their picks. It is kept
        in the checkpoints, and a training goes on only with the same.
    watch
        Called in the main process after every step with the steps done and the score of a validation, None if there was
        none. What it raises ends the training there; the checkpoints stay.

    Returns
    -------
    TrainResult
        With the best weights by validation if `train.keep_best`, else the last. A training that was interrupted
        and resumed gives the same weights, bit by bit, on the same CPU with the same number of threads.

    Raises
    ------
    ModelError
        If a checkpoint is of another configuration or other data (with the first differences), or all are damaged.
    DivergedError
        If the loss stays not finite.
    OutputError
        If the file system refuses.
    SystemExit
        With code 130 after SIGINT (Ctrl-C) and 143 after SIGTERM, when the step is done and a checkpoint is written.
    KeyboardInterrupt
        After a second SIGINT, at once. A second SIGTERM raises SystemExit likewise.
    """
    description = _as_json(data)
    training = _prepare(network, config, loss, object_names, description)
    _restore(training, out / CHECKPOINTS_NAME)
    if training.fabric.is_global_zero:
        with MetricsFile(out / METRICS_NAME, training.step) as history:
            _run(training, sampler, validate, out, history, watch)
    else:
        _run(training, sampler, validate, out, None, None)
    return _finish(training, out)


def _as_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data as a checkpoint gives it back, with lists for tuples."""
    document: dict[str, Any] = json.loads(json.dumps(dict(data), allow_nan=False))
    return document


def _prepare(
    network: nn.Module, config: Config, loss: Loss, object_names: Sequence[str], data: Mapping[str, Any]
) -> _Training:
    fabric = start_fabric(config.train, network)
    lay_out_channels_last(network.train())
    optimizer = torch.optim.AdamW(group_parameters(network, config.train.weight_decay), lr=config.train.learning_rate)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    average = MovingAverage(network, config.train.ema_decay)
    identity = _describe_training(config, object_names, data, fabric.world_size)
    stopwatch = Stopwatch(synchronize_with(fabric.device) if config.train.profile else None)
    return _Training(fabric, config, loss, network, wrapped, wrapped_optimizer, average, identity, stopwatch)


def _describe_training(
    config: Config, object_names: Sequence[str], data: Mapping[str, Any], world_size: int
) -> dict[str, Any]:
    return {**describe_recipe(config), "objects": list(object_names), "data": dict(data), "processes": world_size}


def _restore(training: _Training, folder: Path) -> None:
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


def _run(
    training: _Training,
    sampler: Sampler,
    validate: Callable[[nn.Module], Validation] | None,
    out: Path,
    history: MetricsFile | None,
    watch: Callable[[int, float | None], None] | None,
) -> None:
    settings, fabric, stopwatch = training.config.train, training.fabric, training.stopwatch
    batches = prefetch_batches(
        sampler, training.step, settings.steps, rank=fabric.global_rank, device=torch.device(fabric.device)
    )
    stopwatch.start()
    with catch_interruption() as read_signal, report_progress("training", settings.steps) as progress:
        progress.advance(training.step)
        try:
            for batch in batches:
                stopwatch.lap(WAITING)
                values, signal_number = _take_step(training, batch, read_signal)
                if history is not None:
                    history.append(training.step, values)
                progress.advance(note=f"loss {values['loss']:.4f}")
                stopwatch.lap(OTHER)
                score, is_last = None, training.step == settings.steps
                if validate is not None and (is_last or training.step % settings.validate_every == 0):
                    score = _validate(training, validate, history)
                    stopwatch.lap(VALIDATION)
                if signal_number or is_last or training.step % settings.checkpoint_every == 0:
                    if history is not None:
                        history.append(training.step, stopwatch.shares())
                    _save(training, out / CHECKPOINTS_NAME)
                    stopwatch.lap(CHECKPOINTS)
                if signal_number and not is_last:
                    logger.warning("stopped after step %d; the same command goes on from there", training.step)
                    raise SystemExit(exit_code_of(signal_number))
                if watch is not None:
                    watch(training.step, score)
        finally:
            batches.close()


def _take_step(training: _Training, batch: ReadyBatch, read_signal: Callable[[], int]) -> tuple[dict[str, float], int]:
    """Take one step; return what it measured, and the signal that asks to stop after it (0: none)."""
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


def _compute_loss(training: _Training, batch: ReadyBatch) -> Tensor:
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


def _skip_step(training: _Training, buffers: list[Tensor]) -> None:
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


def _validate(
    training: _Training, validate: Callable[[nn.Module], Validation], history: MetricsFile | None
) -> float | None:
    """Validate in the main process and keep the best weights; return the score, None in other processes."""
    score = None
    if history is not None:
        found = validate(training.average.network.eval())
        score = found.score
        rows = {"f_beta": found.score, **{f"f_beta/{name}": value for name, value in found.objects.items()}}
        history.append(training.step, rows)
        logger.info("step %d: validation score %.4f", training.step, found.score)
        is_better = training.best_score is None or found.score > training.best_score
        if math.isfinite(found.score) and is_better:
            training.best_step, training.best_score = training.step, found.score
            training.best_tensors = {n: t.clone() for n, t in training.average.network.state_dict().items()}
    training.fabric.barrier()
    return score


def _save(training: _Training, folder: Path) -> None:
    if training.fabric.is_global_zero:
        tensors = {
            **pack_tensors("network", training.network.state_dict()),
            **pack_tensors("average", training.average.network.state_dict()),
            **pack_tensors("optimizer", pack_optimizer(training.optimizer)),
            **pack_tensors("best", training.best_tensors),
        }
        names = ("skipped", "skipped_in_a_row", "best_step", "best_score")
        scalars = {name: getattr(training, name) for name in names}
        save_checkpoint(folder, Checkpoint(training.step, tensors, scalars, training.identity))
    training.fabric.barrier()


def _finish(training: _Training, out: Path) -> TrainResult:
    network, times = training.average.network, training.stopwatch.read()
    if training.fabric.is_global_zero and times.steps:
        report_times(times)
    if training.fabric.world_size > 1:
        # only the main process validates
        best = (training.best_step, training.best_score, training.best_tensors)
        training.best_step, training.best_score, training.best_tensors = training.fabric.broadcast(best)
    is_best = training.config.train.keep_best and bool(training.best_tensors)
    if is_best:
        restore_network(network, training.best_tensors, str(out))
    return TrainResult(
        network=network.cpu().to(memory_format=torch.contiguous_format).eval(),  # type: ignore[call-overload]
        best_step=training.best_step if is_best else training.step,
        best_score=training.best_score,
        history=out / METRICS_NAME,
        skipped_steps=training.skipped,
        is_main_process=training.fabric.is_global_zero,
        times=times,
    )


def _derive_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
