"""`cryofind pick` by several processes: the same files as by one, whoever fails or is killed."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cryofind.cli import main
from cryofind.config import PredictConfig, parse_config
from cryofind.errors import ConfigError, ProcessError
from cryofind.io import write_mrc
from cryofind.models import save_model
from cryofind.pipeline import load_model, pick_into_folder, pick_processes
from cryofind.pipeline.pick_processes import PickProcesses
from cryofind.pipeline.picker import Picker
from cryofind.predict import device as device_module
from cryofind.predict.device import choose_devices
from cryofind.types import Tomogram, VoxelGrid
from tests.tiny_models import build_tiny, tiny_card

RUNS = ("A", "B", "C", "D")
PATIENCE_SECONDS = 120


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    save_model(tmp_path / "model", build_tiny(), tiny_card(thresholds={"ribosome": 0.01, "apo-ferritin": 0.01}))
    return [write_random(tmp_path / f"{run}.mrc", seed) for seed, run in enumerate(RUNS)]


def write_random(path: Path, seed: int, shape: tuple[int, int, int] = (8, 24, 24)) -> Path:
    volume = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    write_mrc(path, Tomogram(path.stem, volume, VoxelGrid.isotropic(shape, 10.012)))
    return path


def has_ended(group: int) -> bool:
    """Wait for the last process of a group."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def load_picker(folder: Path, **predict: Any) -> Picker:
    predict = {"precision": "float32", "engine": "torch", **predict}
    return load_model(folder / "model", config=parse_config({"predict": predict, "locate": {"floor": 0.001}}, "test"))


def read_tree(out: Path) -> dict[str, Any]:
    """Return all files of a result but times, and what differs of itself between two calls."""
    files: dict[str, Any] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        text = path.read_text("utf-8").replace(str(out), "OUT")
        files[path.relative_to(out).as_posix()] = text if path.name != "run.json" else without_times(json.loads(text))
    return files


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in {"seconds", "finished", "config", "environment"}}
    kept["runs"] = [without_times(run) for run in record.get("runs", [])]
    return kept


def test_two_processes_write_what_one_writes(inputs: list[Path], tmp_path: Path) -> None:
    inputs[1].write_bytes(b"no tomogram" * 200)
    one = pick_into_folder(inputs, tmp_path / "one", load_picker(tmp_path, device="cpu"))
    two = pick_into_folder(inputs, tmp_path / "two", load_picker(tmp_path, devices="cpu,cpu"))
    assert [record["run"] for record in two.records] == ["A", "C", "D"]
    assert [str(item.error) for item in two.failed] == [str(item.error) for item in one.failed]
    assert len(two.picks) > 0
    assert read_tree(tmp_path / "two") == read_tree(tmp_path / "one")
    assert not multiprocessing.active_children()


def test_a_killed_process_costs_its_own_tomograms_only_and_the_call_can_go_on(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, killed = PickProcesses._reply, list[int]()

    def kill_with_b(self: PickProcesses, number: int, entry_number: int | None) -> None:
        if entry_number == RUNS.index("B"):
            process = self._workers[number].process
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            killed.append(number)
        reply(self, number, entry_number)

    monkeypatch.setattr(PickProcesses, "_reply", kill_with_b)
    summary = pick_into_folder(inputs, tmp_path / "out", load_picker(tmp_path, devices="cpu,cpu"))
    assert len(killed) == 1
    failed = [item.run for item in summary.failed]
    # Perhaps A was in the same hands.
    assert failed in (["B"], ["A", "B"])
    assert [record["run"] for record in summary.records] == [run for run in RUNS if run not in failed]
    assert all(isinstance(item.error, ProcessError) for item in summary.failed)
    assert "the process on cpu was killed by signal 9; run the same command again" in str(summary.failed[0].error)
    assert summary.exit_code == 1
    recorded = json.loads((tmp_path / "out/run.json").read_text())
    assert [item["run"] for item in recorded["failed"]] == failed
    again = pick_into_folder(inputs, tmp_path / "out", load_picker(tmp_path, device="cpu"))
    assert [record["run"] for record in again.records] == list(RUNS)
    assert json.loads((tmp_path / "out/run.json").read_text())["failed"] == []


def test_what_no_process_can_do_is_said_once(inputs: list[Path], tmp_path: Path) -> None:
    picker = load_picker(tmp_path, devices="cpu,cpu", precision="fp16")
    with pytest.raises(ConfigError, match="'fp16', which is for GPUs"):
        pick_into_folder(inputs, tmp_path / "out", picker)
    assert not multiprocessing.active_children()


def test_a_gpu_that_is_not_there_is_one_line(
    inputs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "pick",
        *inputs,
        "--model",
        tmp_path / "model",
        "--out",
        tmp_path / "out",
        "--devices",
        "cuda:0,cuda:99",
    ]
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("cryofind: error: predict.devices: is 'cuda:")


def test_an_interruption_ends_all_processes_and_the_call_can_go_on(inputs: list[Path], tmp_path: Path) -> None:
    volume = write_random(tmp_path / "large.mrc", 7, (32, 128, 128))
    many = [Path(shutil.copy(volume, tmp_path / f"run_{number}.mrc")) for number in range(60)]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cryofind", "pick", *many, "--model", tmp_path / "model", "--out", out]
    command += ["--devices", "cpu,cpu", "--set", "predict.precision=float32", "--engine", "torch"]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(out.glob("runs/*/run.json")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "cryofind: interrupted"
    assert "Traceback" not in err
    assert has_ended(process.pid)
    finished = {path.parent.name for path in out.glob("runs/*/run.json")}
    assert 0 < len(finished) < len(many)
    kept = sorted(finished)[0]
    before = (out / "runs" / kept / "run.json").read_bytes()
    arguments = ["pick", str(tmp_path / f"{kept}.mrc"), *command[-6:], "--model", tmp_path / "model", "--out", out]
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 0
    assert (out / "runs" / kept / "run.json").read_bytes() == before


def tell_signal_mask(order: object, device: str, threads: int | None, connection: Connection) -> None:
    """Stand in for the work of a process: say which signals are blocked."""
    connection.send(signal.pthread_sigmask(signal.SIG_BLOCK, set()))


def print_signal_mask_of_the_first_process() -> None:
    """Start one process; to be called where nothing has been started by `multiprocessing` yet."""
    pytest.MonkeyPatch().setattr(pick_processes, "work_elsewhere", tell_signal_mask)
    order: Any = SimpleNamespace(entries=())
    worker = PickProcesses(order, ("cpu",))._start("cpu")
    sys.stdout.write(str(int(signal.SIGINT in worker.connection.recv())))


def test_the_first_process_too_leaves_ctrl_c_to_the_one_that_started_it() -> None:
    code = f"from {__name__} import *; print_signal_mask_of_the_first_process()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "1"


def end_at_once(order: object, device: str, threads: int | None, connection: Connection) -> None:
    """Stand in for a process that cannot start."""
    sys.exit(1)


def test_a_process_that_cannot_begin_gets_other_advice(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pick_processes, "work_elsewhere", end_at_once)
    summary = pick_into_folder(inputs, tmp_path / "out", load_picker(tmp_path, devices="cpu,cpu"))
    assert [item.run for item in summary.failed] == list(RUNS)
    assert "ended with exit code 1 before it could begin; name one device" in str(summary.failed[0].error)


def test_no_gpu_is_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "count_gpus", lambda: 2)
    assert choose_devices(PredictConfig(devices="cuda:0,cuda:1"), 5) == ("cuda:0", "cuda:1")
    with pytest.raises(ConfigError, match="names a GPU twice"):
        choose_devices(PredictConfig(devices="cuda,cuda:0"), 5)
