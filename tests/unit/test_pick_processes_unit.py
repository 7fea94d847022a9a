"""Which devices tomograms are picked on, and who gets which tomogram."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryofind.config import PredictConfig
from cryofind.errors import ConfigError, CryofindError, MemoryLimitError, ModelError
from cryofind.pipeline.pick_processes import Desk, PickProcesses
from cryofind.pipeline.pick_worker import Refused, Started, Wanted
from cryofind.predict.device import choose_devices


def choose(tomograms: int, **settings: str) -> tuple[str, ...]:
    return choose_devices(PredictConfig.model_validate(settings), tomograms)


@pytest.mark.parametrize(
    ("gpus", "tomograms", "settings", "expected"),
    [
        (0, 9, {}, ("auto",)),
        (1, 9, {}, ("auto",)),
        (4, 9, {}, ("cuda:0", "cuda:1", "cuda:2", "cuda:3")),
        (4, 2, {}, ("cuda:0", "cuda:1")),
        (4, 1, {}, ("auto",)),
        (4, 0, {}, ("auto",)),
        (4, 9, {"device": "cuda:2"}, ("cuda:2",)),
        (4, 9, {"device": "cpu"}, ("cpu",)),
        (4, 9, {"engine": "openvino"}, ("auto",)),
        (4, 9, {"precision": "int8"}, ("auto",)),
        (4, 9, {"devices": "cuda:1,cuda:3"}, ("cuda:1", "cuda:3")),
        (4, 9, {"devices": "cuda:1"}, ("cuda:1",)),
        (0, 9, {"devices": "cpu,cpu,cpu"}, ("cpu", "cpu", "cpu")),
        (0, 2, {"devices": "cpu,cpu,cpu"}, ("cpu", "cpu")),
        (0, 0, {"devices": "cpu,cpu,cpu"}, ("cpu",)),
    ],
)
def test_gpus_and_tomograms_decide_unless_devices_are_named(
    gpus: int, tomograms: int, settings: dict[str, str], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose(tomograms, **settings) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": "cuda:0,cuda:2"}, r"^predict\.devices: is 'cuda:2', but 2 CUDA devices are usable"),
        ({"devices": "cuda:0,cuda:1", "device": "cuda:0"}, "and predict.device is 'cuda:0'; set one of the two"),
        ({"devices": "cpu,cpu", "precision": "int8"}, "int8 is calibrated on the first tomogram by one process"),
    ],
)
def test_devices_that_cannot_be_had(settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=message):
        choose(9, **settings)


@pytest.mark.parametrize("devices", ["", "gpu", "cuda:", "cuda:0,", "auto,cpu", "cpu:2"])
def test_names_of_no_device_are_refused(devices: str) -> None:
    with pytest.raises(ValueError, match="devices"):
        choose(9, devices=devices)


def test_everybody_gets_one_before_anybody_gets_two() -> None:
    desk = Desk(3, 2)
    assert desk.hand_out(0, ahead=False) == 0
    assert desk.hand_out(0, ahead=True) == 1
    assert desk.hand_out(0, ahead=True) is None
    assert desk.hand_out(1, ahead=False) == 2
    assert desk.hand_out(1, ahead=True) is None
    few = Desk(2, 2)
    assert few.hand_out(0, ahead=False) == 0
    assert few.hand_out(0, ahead=True) is None
    assert few.hand_out(1, ahead=False) == 1


def test_what_is_returned_comes_next() -> None:
    desk = Desk(4, 2)
    assert [desk.hand_out(0, ahead=False), desk.hand_out(0, ahead=True)] == [0, 1]
    desk.take_back(0, 1)
    assert desk.hand_out(1, ahead=False) == 1
    assert desk.dismiss(0) == [0]


def test_the_last_one_to_leave_leaves_what_waits() -> None:
    desk = Desk(5, 2)
    assert [desk.hand_out(worker, ahead=False) for worker in (0, 1)] == [0, 1]
    assert desk.dismiss(1) == [1]
    desk.settle(0, 0)
    assert desk.hand_out(0, ahead=False) == 2
    assert desk.dismiss(0) == [2, 3, 4]


@given(count=st.integers(0, 12), workers=st.integers(1, 4), choices=st.lists(st.integers(0, 99), max_size=60))
def test_every_tomogram_is_settled_or_lost_once(count: int, workers: int, choices: list[int]) -> None:
    desk = Desk(count, workers)
    held: dict[int, list[int]] = {worker: [] for worker in range(workers)}
    ended: list[int] = []
    for choice in choices:
        worker = choice % workers
        if worker not in held:
            continue
        if choice > 90:
            ended += desk.dismiss(worker)
            del held[worker]
        elif held[worker] and choice > 40:
            ended.append(held[worker].pop(0))
            desk.settle(worker, ended[-1])
        else:
            number = desk.hand_out(worker, ahead=bool(held[worker]))
            held[worker] += [] if number is None else [number]
    for worker in held:
        ended += desk.dismiss(worker)
    assert sorted(ended) == list(range(count))


def make_processes(workers: int) -> Any:
    """Return processes that are never started, with two tomograms."""
    processes: Any = PickProcesses(Mock(entries=("TS_1", "TS_2")), [f"cuda:{number}" for number in range(workers)])
    for number, device in enumerate(processes.devices):
        processes._workers[number] = SimpleNamespace(device=device, connection=Mock())
    return processes


def test_a_process_without_memory_leaves_its_work_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    processes, error = make_processes(2), MemoryLimitError("GPU", "holds 1 GB", "free it")
    assert list(processes._answer(0, Refused(error))) == []
    assert "no tomogram is picked on cuda:0: GPU: holds 1 GB" in caplog.text
    for number in (0, 1):
        list(processes._answer(1, Wanted(ahead=False)))
        processes._workers[1].connection.send.assert_called_with(number)


def test_if_no_process_has_memory_the_call_ends() -> None:
    processes, error = make_processes(2), MemoryLimitError("GPU", "holds 1 GB", "free it")
    list(processes._answer(0, Refused(error)))
    with pytest.raises(MemoryLimitError):
        list(processes._answer(1, Refused(error)))


def test_what_waits_for_the_last_process_fails_with_it() -> None:
    processes, error = make_processes(2), MemoryLimitError("GPU", "holds 1 GB", "free it")
    list(processes._answer(0, Started({}, "runs")))
    list(processes._answer(0, Wanted(ahead=False)))
    processes._workers.pop(0)
    processes._desk.dismiss(0)
    assert list(processes._answer(1, Refused(error))) == [("TS_2", error)]


@pytest.mark.parametrize("error", [ConfigError("predict.devices", "is odd", "mend it"), ModelError("m", "is torn", "")])
def test_any_other_refusal_ends_the_call(error: CryofindError) -> None:
    with pytest.raises(type(error)):
        list(make_processes(2)._answer(0, Refused(error)))
