"""The training loop: batches in, a network with averaged weights out, and nothing lost to an interruption."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from cryofind.config import Config
from cryofind.progress import report_progress
from cryofind.train.checkpoint import restore_network
from cryofind.train.devices import catch_interruption, exit_code_of
from cryofind.train.metrics import MetricsFile
from cryofind.train.prefetch import Sampler, prefetch_batches
from cryofind.train.results import Loss, TrainResult, Validation
from cryofind.train.state import Training, prepare_training, restore_training, save_training
from cryofind.train.step import take_step
from cryofind.train.timing import CHECKPOINTS, OTHER, VALIDATION, WAITING, report_times

logger = logging.getLogger("cryofind")

CHECKPOINTS_NAME = "checkpoints"
METRICS_NAME = "metrics.jsonl"


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
    ConfigError
        If the devices are not there, or the crops do not suit the network (`check_crops`).
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
    training = prepare_training(network, config, loss, object_names, description)
    restore_training(training, out / CHECKPOINTS_NAME)
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


def _run(
    training: Training,
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
                values, signal_number = take_step(training, batch, read_signal)
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
                    save_training(training, out / CHECKPOINTS_NAME)
                    stopwatch.lap(CHECKPOINTS)
                if signal_number and not is_last:
                    logger.warning("stopped after step %d; the same command goes on from there", training.step)
                    raise SystemExit(exit_code_of(signal_number))
                if watch is not None:
                    watch(training.step, score)
        finally:
            batches.close()


def _validate(
    training: Training, validate: Callable[[nn.Module], Validation], history: MetricsFile | None
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


def _finish(training: Training, out: Path) -> TrainResult:
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
