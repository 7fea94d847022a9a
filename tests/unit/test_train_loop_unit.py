import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cryofind.config import Config, TrainConfig
from cryofind.errors import ConfigError
from cryofind.train import Loss, TrainResult, Validation, read_metrics, train_network
from cryofind.train.checkpoint import list_checkpoints, load_checkpoint
from cryofind.train.devices import catch_interruption, parse_devices
from cryofind.train.ema import MovingAverage
from cryofind.train.metrics import MetricsFile
from cryofind.train.prefetch import prefetch_batches
from cryofind.train.schedule import learning_rate_at
from tests.tiny_models import TinySampler, build_tiny, cross_entropy, sample, tiny_config

OBJECTS = ("ribosome", "apo-ferritin")

# Far too many steps to end by itself; says when the first batches are drawn.
SLOW_TRAINING = """
import sys
from pathlib import Path
from cryofind.train import train_network
from tests.tiny_models import TinySampler, build_tiny, cross_entropy, tiny_config

class Telling(TinySampler):
    def draw(self, step, rank=0, out=None):
        if step == 2:
            print("step 2", flush=True)
        return super().draw(step, rank, out)

config = tiny_config(steps=10**6, checkpoint_every=10**6, validate_every=10**6)
out = Path(sys.argv[1])
train_network(Telling(), build_tiny(), config, out=out, validate=None, object_names=("a", "b"), loss=cross_entropy)
"""


def _train(
    out: Path,
    config: Config | None = None,
    *,
    sampler: TinySampler | None = None,
    scores: dict[int, float] | None = None,
    network: nn.Module | None = None,
    loss: Loss = cross_entropy,
    watch: Callable[[int, float | None], None] | None = None,
) -> TrainResult:
    """Train a tiny network; `scores` by step stand for a validation."""
    steps: list[int] = []
    config = config or tiny_config()

    def validate(averaged: nn.Module) -> Validation:
        assert not averaged.training
        steps.append(0)
        done = max(row["step"] for row in read_metrics(out / "metrics.jsonl"))
        return Validation((scores or {})[done], {"ribosome": 0.5})

    return train_network(
        sampler or TinySampler(),
        network or build_tiny(seed=3),
        config,
        out=out,
        validate=validate if scores is not None else None,
        object_names=OBJECTS,
        loss=loss,
        watch=watch,
    )


def _read_history(result: TrainResult) -> list[dict[str, Any]]:
    """Return the rows of a history but for the times, which no two trainings have in common."""
    return [row for row in read_metrics(result.history) if not row["name"].startswith("time/")]


def _assert_same(first: nn.Module, second: nn.Module) -> None:
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_the_loss_falls(tmp_path: Path) -> None:
    config = tiny_config(steps=60, learning_rate=1e-2, ema_decay=0.9)
    result = _train(tmp_path, config)
    losses = [row["value"] for row in read_metrics(result.history) if row["name"] == "loss"]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    assert result.best_step == 60
    assert result.best_score is None
    assert result.is_main_process
    assert not result.network.training
    batch = sample(TinySampler(), 1000)
    predicted = result.network(torch.from_numpy(batch.images)).softmax(1)[:, 1].detach().numpy()
    assert predicted[batch.values[:, 0] > 0].mean() > 2 * predicted[batch.values[:, 0] == 0].mean()


def test_a_watcher_sees_every_step_and_may_end_the_training(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    seen: list[tuple[int, float | None]] = []

    def watch(step: int, score: float | None) -> None:
        seen.append((step, score))
        if step == 8:
            raise EnoughError

    with pytest.raises(EnoughError):
        _train(tmp_path, scores={4: 0.3, 8: 0.5}, watch=watch)
    assert seen == [(step, {4: 0.3, 8: 0.5}.get(step)) for step in range(1, 9)]
    assert [load_checkpoint(path).step for path in list_checkpoints(tmp_path / "checkpoints")] == [3, 6]
    sampler = TinySampler()
    _train(tmp_path, scores={8: 0.5, 12: 0.4}, sampler=sampler)
    assert sampler.steps == list(range(6, 12))


@pytest.mark.parametrize(("precision", "size"), [("float32", 8), ("bf16", 16)])
@pytest.mark.parametrize("cut", [1, 5, 9, 11])
def test_an_interrupted_training_goes_on_bit_by_bit(tmp_path: Path, cut: int, precision: str, size: int) -> None:
    config = tiny_config(precision=precision, crop_zyx=(size, size, size))
    scores = {4: 0.3, 8: 0.5, 12: 0.4}
    whole = _train(tmp_path / "whole", config, sampler=TinySampler(size=size), scores=scores)
    with pytest.raises(RuntimeError, match="power cut"):
        _train(tmp_path / "cut", config, sampler=TinySampler(size=size, fail_at=cut), scores=scores)
    resumed_sampler = TinySampler(size=size)
    start = build_tiny(seed=99 if cut > 3 else 3)
    resumed = _train(tmp_path / "cut", config, sampler=resumed_sampler, scores=scores, network=start)
    assert resumed_sampler.steps == list(range(cut // 3 * 3, 12))
    _assert_same(whole.network, resumed.network)
    assert whole.best_step == resumed.best_step == 8
    assert whole.best_score == resumed.best_score == 0.5
    assert _read_history(whole) == _read_history(resumed)
    newest = [load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("whole", "cut")]
    torch.testing.assert_close(newest[0].tensors, newest[1].tensors, rtol=0, atol=0)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = _train(tmp_path)
    sampler = TinySampler()
    second = _train(tmp_path, sampler=sampler, network=build_tiny(seed=50))
    assert sampler.steps == []
    _assert_same(first.network, second.network)


def test_only_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    _train(tmp_path, tiny_config(steps=10))
    names = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert names == ["step-00000009", "step-00000010"]


@pytest.mark.parametrize(("keep_best", "best_step"), [(True, 4), (False, 12)])
def test_the_best_weights_by_validation_are_kept(tmp_path: Path, keep_best: bool, best_step: int) -> None:
    scores = {4: 0.9, 8: 0.5, 12: math.nan}
    result = _train(tmp_path / "a", tiny_config(keep_best=keep_best), scores=scores)
    assert result.best_step == best_step
    assert result.best_score == 0.9
    checkpoint = load_checkpoint(list_checkpoints(tmp_path / "a" / "checkpoints")[-1])
    expected = "best" if keep_best else "average"
    stem = result.network.state_dict()["stem.0.weight"]
    torch.testing.assert_close(stem, checkpoint.tensors[f"{expected}/stem.0.weight"], rtol=0, atol=0)
    rows = {row["name"]: row["value"] for row in read_metrics(result.history) if row["step"] == 8}
    assert rows["f_beta"] == 0.5
    assert rows["f_beta/ribosome"] == 0.5
    assert _read_history(result)[-2]["value"] is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_after_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: signal.Signals, code: int
) -> None:
    class Interrupting(TinySampler):
        def draw(self, step: int, rank: int = 0, out: Any = None) -> Any:
            if step == 6:
                signal.pthread_kill(threading.main_thread().ident or 0, number)
            return super().draw(step, rank, out)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        _train(tmp_path / "cut", sampler=Interrupting())
    assert caught.value.code == code
    assert "a second signal (Ctrl-C) stops at once" in caplog.text
    assert signal.getsignal(number) == before
    done = load_checkpoint(list_checkpoints(tmp_path / "cut" / "checkpoints")[-1]).step
    assert 5 <= done <= 7
    resumed = _train(tmp_path / "cut")
    _assert_same(resumed.network, _train(tmp_path / "whole").network)


@pytest.mark.parametrize(("second", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_aborts_at_once(tmp_path: Path, second: signal.Signals, expected: type[BaseException]) -> None:
    calls = []

    def loss(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        calls.append(0)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(second)
            calls.append(0)
        return cross_entropy(logits, values, weights)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(expected) as caught:
        _train(tmp_path, loss=loss)
    assert getattr(caught.value, "code", 143) == 143
    assert len(calls) == 5
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-00000003"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_ctrl_c_in_a_process_of_its_own_ends_with_130(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SLOW_TRAINING)
    command = [sys.executable, str(script), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    # A shell's background jobs, and so this test in one, ignore Ctrl-C; the training's process must not inherit that.
    hear_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "step 2\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=120) == 130
        finally:
            process.kill()
    (newest,) = list_checkpoints(tmp_path / "out" / "checkpoints")
    assert load_checkpoint(newest).step >= 1


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    found = []

    def use() -> None:
        with catch_interruption() as read_signal:
            found.append(read_signal())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [0]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catch_interruption() as read_signal:
            signal.raise_signal(signal.SIGINT)
            assert read_signal() == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_unlabelled_cells_are_masked_only_in_the_later_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def mask(logits, values, weights, *, probability, activation):  # type: ignore[no-untyped-def]
        calls.append((probability, activation, logits.requires_grad))
        return weights * 0

    monkeypatch.setattr("cryofind.train.step.mask_unlabelled", mask)
    result = _train(tmp_path / "a", tiny_config(unlabelled_after=0.75, unlabelled_probability=0.8))
    assert calls == [(0.8, "softmax", False)] * 3
    losses = [row["value"] for row in read_metrics(result.history) if row["name"] == "loss"]
    assert [loss == 0 for loss in losses] == [False] * 9 + [True] * 3
    _train(tmp_path / "b", tiny_config(unlabelled_after=1.0))
    assert len(calls) == 3


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainConfig(steps=100, warmup_fraction=0.1, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001
    assert learning_rate_at(0, TrainConfig(steps=1, warmup_fraction=0.0, learning_rate=1.0)) == 1.0


def test_moving_average_follows_its_definition() -> None:
    network = build_tiny(seed=1)
    average = MovingAverage(network, 0.5)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    average.update(network, updates_before=0)
    average.update(network, updates_before=1000)
    for name, _ in network.named_parameters():
        torch.testing.assert_close(average.network.state_dict()[name], start[name] + (1 - 0.1 * 0.5))
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(average.network.state_dict()[name], buffer, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


@pytest.mark.parametrize(
    ("text", "expected"), [("cpu", ("cpu", 1)), ("cpu:2", ("cpu", 2)), ("cuda", ("cuda", 1)), ("cuda:3", ("cuda", 3))]
)
def test_devices_are_understood(monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert parse_devices(text) == expected
    assert parse_devices("auto") == ("cuda", 1)
    with pytest.raises(ConfigError, match=r"asks for 4 GPU\(s\), found 3"):
        parse_devices("cuda:4")


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:0", "cuda:-1", "cuda:two", "", "cpu:²"])
def test_devices_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.devices"):
        parse_devices(text)


def test_shallow_crops_train_in_float32(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exact = _train(tmp_path / "a", tiny_config(steps=4))
    asked = _train(tmp_path / "b", tiny_config(steps=4, precision="bf16"))
    assert "training in float32: crops of 8 voxels along z" in caplog.text
    _assert_same(exact.network, asked.network)


def test_batches_come_in_order_and_one_ahead() -> None:
    sampler = TinySampler()
    batches = prefetch_batches(sampler, 2, 6, rank=1)
    first = next(batches)
    np.testing.assert_array_equal(first.images, sample(TinySampler(), 2, 1).images)
    next(batches)
    batches.close()
    assert sampler.steps[:2] == [2, 3]
    assert len(sampler.steps) <= 4
    assert list(prefetch_batches(sampler, 3, 3, rank=0)) == []


def test_metrics_after_the_resumed_step_and_torn_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path, 0) as metrics:
        for step in (1, 2, 3):
            metrics.append(step, {"loss": step / 2})
    with path.open("a") as torn:
        torn.write('[1]\n{"step": 3, "na')
    with MetricsFile(path, 2) as metrics:
        metrics.append(3, {"loss": math.inf})
    assert read_metrics(path) == [
        {"step": 1, "name": "loss", "value": 0.5},
        {"step": 2, "name": "loss", "value": 1.0},
        {"step": 3, "name": "loss", "value": None},
    ]
    with pytest.raises(ValueError, match="not open"):
        metrics.append(4, {"loss": 1.0})
    with MetricsFile(path, 0):
        pass
    assert read_metrics(path) == []
