"""Where the time of a training goes: every second once, and in words."""

import logging
from pathlib import Path

import pytest
from torch import Tensor

from cryofind.train import TrainTimes, read_metrics, train_network
from cryofind.train import timing as timing_module
from cryofind.train.timing import BACKWARD, FORWARD, OTHER, STEP, VALIDATION, WAITING, Stopwatch
from tests.tiny_models import TinySampler, build_tiny, cross_entropy, tiny_config


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing_module, "time", clock)
    return clock


def test_every_second_belongs_to_one_part(clock: Clock) -> None:
    stopwatch = Stopwatch()
    clock.now += 50
    stopwatch.start()
    for part, seconds in ((WAITING, 1), (FORWARD, 2), (BACKWARD, 4), (STEP, 2), (VALIDATION, 10), (WAITING, 1)):
        clock.now += seconds
        stopwatch.lap(part)
    stopwatch.count_step(0.5)
    stopwatch.count_step(0.7)
    times = stopwatch.read()
    assert dict(times.seconds) == {WAITING: 2, FORWARD: 2, BACKWARD: 4, STEP: 2, VALIDATION: 10}
    assert times.training_seconds == 10
    assert times.network_share == 0.8
    assert times.is_starved
    assert stopwatch.shares()["time/waiting"] == 0.1
    assert stopwatch.shares()["time/step_seconds"] == 5
    assert times.describe() == (
        "time: 40 % in the network, 50 % validation, 10 % waiting for crops; a step took 5000 ms, its crops 600 ms in "
        "the background"
    )


def test_a_training_of_no_step_has_times() -> None:
    assert TrainTimes().network_share == 1
    assert not TrainTimes().is_starved
    assert TrainTimes().describe().startswith("time: 0 % in the network")


def test_a_device_is_waited_for_before_each_reading(clock: Clock) -> None:
    def finish() -> None:
        clock.now += 3

    stopwatch = Stopwatch(finish)
    stopwatch.lap(FORWARD)
    assert stopwatch.read().seconds[FORWARD] == 3


def test_a_training_says_where_its_time_went(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cryofind"):
        result = train_network(
            TinySampler(),
            build_tiny(),
            tiny_config(profile=True),
            out=tmp_path,
            validate=None,
            object_names=("a", "b"),
            loss=cross_entropy,
        )
    assert "in the network" in caplog.text
    assert result.times.steps == 12
    assert {WAITING, FORWARD, BACKWARD, STEP, OTHER} <= set(result.times.seconds)
    assert result.times.making_seconds > 0
    rows = [row for row in read_metrics(result.history) if row["name"].startswith("time/")]
    assert {row["step"] for row in rows} == {3, 6, 9, 12}
    last = {row["name"]: row["value"] for row in rows if row["step"] == 12}
    assert sum(value for name, value in last.items() if name != "time/step_seconds") == pytest.approx(1)


def test_a_network_that_waits_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(timing_module, "time", clock)

    def loss(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        clock.now += 1
        return cross_entropy(logits, values, weights)

    lap = Stopwatch.lap

    def train_with_waits(seconds: float) -> str:
        def wait_and_lap(stopwatch: Stopwatch, part: str) -> None:
            clock.now += seconds if part == WAITING else 0
            lap(stopwatch, part)

        monkeypatch.setattr(Stopwatch, "lap", wait_and_lap)
        caplog.clear()
        out = tmp_path / str(seconds)
        names = ("a", "b")
        train_network(TinySampler(), build_tiny(), tiny_config(), out=out, validate=None, object_names=names, loss=loss)
        return caplog.text

    assert "the network waited for crops" in train_with_waits(0.5)
    assert "the network waited for crops" not in train_with_waits(0.05)
