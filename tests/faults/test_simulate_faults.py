"""Requests for simulations that make no sense, and calls that are killed, run out of memory or meet each other."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryofind.atomic import place_folder
from cryofind.errors import ConfigError
from cryofind.io import open_project
from cryofind.pipeline import simulate as simulate_pipeline
from cryofind.pipeline import simulated_runs
from cryofind.pipeline.bodies import load_bodies
from cryofind.simulate import load_recipe
from tests.e2e.conftest import Run
from tests.faults.mrc_bytes import build_mrc

TINY = ("--shape", "40,64,64", "--jobs", 1)


def refused(run: Run, *arguments: object) -> str:
    """Run a command that must fail in one line; return that line."""
    code, _, stderr = run("simulate", *arguments)
    assert code == 2
    assert stderr.count("\n") == 1, stderr
    return stderr


def test_a_species_called_membrane() -> None:
    recipe = load_recipe("easy", ['species.membrane.body="ribosome"'])
    with pytest.raises(ConfigError, match="species membrane: has the name that the membranes' label has"):
        load_bodies(recipe)


@pytest.mark.parametrize(
    "options",
    [
        ("--flavour", "wbp"),
        ("--voxel-size", "10"),
        ("--tomogram", "wbp"),
        ("--run", "12"),
        ("--simulations", "80"),
        ("--allow-missing-chunks",),
    ],
)
def test_options_of_like_without_it(options: tuple[str, ...], tmp_path: Path, run: Run) -> None:
    error = refused(run, "easy", "--out", tmp_path / "out", *options)
    assert f"{options[0]}: only with --like" in error
    assert "--set output.flavours" in error
    assert "--set output.voxel_spacing_angstrom" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--runs", "1"), ("--shape", "64,64,64"), ("--density",)])
def test_options_of_a_project_with_save_recipe(options: tuple[str, ...], tmp_path: Path, run: Run) -> None:
    error = refused(run, "--like", tmp_path, "--save-recipe", tmp_path / "r.toml", *options)
    assert f"{options[0]}: not with --save-recipe" in error


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (("microscope.tilt_step_degrees=60",), "45 degrees at a step of 60 leave 1 tilt"),
        (("microscope.tilt_maximum_degrees=[2,60]",), "2 degrees at a step of 3"),
        (("microscope.tilt_step_degrees=[3,50]",), "45 degrees at a step of 50"),
    ],
)
def test_too_few_tilts_are_refused_before_the_folder_is_taken(
    settings: tuple[str, ...], problem: str, tmp_path: Path, run: Run
) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert problem in refused(run, "easy", "--out", tmp_path / "out", *TINY, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_recipe_whose_name_cannot_name_runs(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "what?.toml"
    path.write_text("[species.ribosome]\n")
    assert "run name" in refused(run, path, "--out", tmp_path / "out", *TINY)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_finished_runs_is_taken_over(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(simulated_runs, "simulate_run", fail)
        refused(run, "easy", "--out", out, *TINY)
    assert not out.exists()
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    shutil.rmtree(out / "ExperimentRuns")
    code, _, stderr = run("simulate", "czii", "--out", out, "--shape", "40,72,64", "--jobs", 1)
    assert (code, stderr) == (0, "")
    assert [path.name for path in (out / "ExperimentRuns").iterdir()] == ["czii_s0_0001"]
    assert json.loads((out / "copick.json").read_text())["name"] == "czii"
    assert json.loads((out / "run.json").read_text())["made_from"]["shape_zyx"] == [40, 72, 64]
    assert "choose a new --out" in refused(run, "easy", "--out", out, *TINY)


def test_a_folder_in_which_a_call_is_writing_is_not_taken_over(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"made_by": "cryofind simulate", "name": "x", "made_from": {}}))
    (out / f".making-{os.getpid()}@{socket.gethostname()}@x_s0_0001").mkdir()
    assert "choose a new --out" in refused(run, "easy", "--out", out, *TINY)


def test_only_what_dead_processes_of_this_computer_left_is_removed(tmp_path: Path, run: Run) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    dead = f".making-{ended.pid}@{host}@a"
    kept = {f".making-{os.getppid()}@{host}@a", f".making-1@{host}@a", f".making-{ended.pid}@{host}x@a", ".making-a"}
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    for name in {dead, *kept}:
        (out / name).mkdir()
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    assert {path.name for path in out.glob(".making-*")} == kept


@pytest.mark.parametrize("record", [None, "{", "[]", '{"made_from": "something else"}'])
def test_a_run_without_its_own_record_is_made_again(record: str | None, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    path = out / "ExperimentRuns" / "easy_s0_0001" / "simulation.json"
    before = path.read_text()
    path.unlink() if record is None else path.write_text(record)
    code, stdout, _ = run("simulate", "easy", "--out", out, *TINY)
    assert code == 0
    assert "already" not in stdout
    assert path.read_text() == before


def test_a_configuration_that_the_user_changed_stays(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    document = json.loads((out / "copick.json").read_text())
    (out / "copick.json").write_text(json.dumps({**document, "description": "mine"}))
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    assert json.loads((out / "copick.json").read_text())["description"] == "mine"


def test_more_than_the_memory_is_refused_before_the_work(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate_pipeline, "read_free_bytes", lambda: 100 * 10**6)
    error = refused(run, "easy", "--out", tmp_path / "out", "--shape", "100,200,200")
    assert "--shape 100,200,200: needs 0.2 GB of memory for one run, and 0.1 GB are free" in error
    assert not (tmp_path / "out").exists()


def test_a_full_memory_costs_one_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        np.empty(2**62, np.uint8)

    monkeypatch.setattr(simulated_runs, "simulate_run", fail)
    error = refused(run, "easy", "--out", tmp_path / "out", *TINY)
    assert "the memory is too small to make easy_s0_0001" in error


def write_map_recipe(folder: Path, species: str, fields: dict[str, float]) -> Path:
    squares = np.square(np.indices((24, 24, 24)) - 11.5).sum(axis=0)
    (folder / "ball.mrc").write_bytes(build_mrc(np.asarray(np.exp(-squares / 30), np.float32), fields))
    path = folder / "own.toml"
    path.write_text(f'[species.ball]\nbody = "ball.mrc"\n{species}')
    return path


def test_a_map_without_voxel_size(tmp_path: Path, run: Run) -> None:
    path = write_map_recipe(tmp_path, "mass_kilodalton = 90\n", {"cella_x": 0, "cella_y": 0, "cella_z": 0})
    error = refused(run, path, "--out", tmp_path / "out", *TINY)
    assert "ball.mrc': voxel size: is 0 A (z, y, x), expected positive numbers" in error
    assert "give it in Angstrom as species.ball.voxel_spacing_angstrom, or resample the map" in error
    assert not (tmp_path / "out").exists()
    own = write_map_recipe(
        tmp_path, "mass_kilodalton = 90\nvoxel_spacing_angstrom = 4\n", {"cella_x": 0, "cella_y": 0, "cella_z": 0}
    )
    (body,) = load_bodies(load_recipe(own)).values()
    assert 15 < body.radius_of_gyration_angstrom < 45


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('body = "ribosome"\nvoxel_spacing_angstrom = 4', "the body 'ribosome' is no density map"),
        ('body = "notes.txt"', "notes.txt': ends in '.txt', expected a map or an atomic model; give one of .mrc"),
        ('body = "none.mrc"\nmass_kilodalton = 9', "none.mrc': does not exist"),
    ],
)
def test_bodies_that_cannot_be_had_are_named(table: str, problem: str, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"[species.thing]\n{table}\n")
    error = refused(run, path, "--out", tmp_path / "out", *TINY)
    assert "species thing: " in error
    assert problem in error


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("microscope.defocus_micrometre=30000", "should be 30 or less"),
        ("microscope.voltage_kilovolts=300000", "should be 1500 or less"),
        ("microscope.angle_error_degrees=500", "should be 10 or less"),
        ("surroundings.albumin_milligram_per_millilitre=5000", "should be 700 or less"),
        ("output.voxel_spacing_angstrom=3000", "less than or equal to 100"),
        ('microscope.defocus_micrometre=["3", "4"]', "should be a valid number"),
        ("species.ribosome=3", "species.ribosome: should be a table, found 3"),
        ('output.flavours="wbp"', "output.flavours: should be a list"),
        ("voltage=3", "write e.g. microscope.voltage_kilovolts=200"),
    ],
)
def test_numbers_in_another_unit_are_refused(setting: str, problem: str, tmp_path: Path, run: Run) -> None:
    assert problem in refused(run, "easy", "--out", tmp_path / "out", *TINY, "--set", setting)
    assert not (tmp_path / "out").exists()


def test_tilts_never_reach_the_layer(tmp_path: Path, run: Run) -> None:
    settings = (
        "microscope.tilt_maximum_degrees=80",
        "microscope.tilt_step_degrees=40",
        "microscope.angle_error_degrees=10",
    )
    arguments = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY, "--seed", 3, *arguments)[0] == 0
    record = json.loads((out / "ExperimentRuns" / "easy_s3_0001" / "simulation.json").read_text())
    assert max(map(abs, record["tilt_series"]["true_tilts_degrees"])) <= 85
    assert len(record["tilt_series"]["tilts_degrees"]) == len(record["tilt_series"]["estimated_defocus_micrometre"])


@pytest.mark.parametrize("damage", ["chunk", "metadata", "picks", "changed picks"])
def test_a_run_that_lost_a_file_is_named_and_left(
    damage: str, tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    folder = out / "ExperimentRuns" / "easy_s0_0001"
    volume = next(folder.glob("VoxelSpacing*/denoised.zarr"))
    places = {
        "chunk": next(path for path in sorted(volume.rglob("*")) if path.is_file() and path.name[0].isdigit()),
        "metadata": volume / "0" / ".zarray",
    }
    path = places.get(damage) or next(folder.glob("Picks/*ribosome.json"))
    (folder / "Picks" / "alice_1_ribosome.json").write_text("mine")
    path.write_text("{}") if damage == "changed picks" else path.unlink()
    caplog.clear()
    code, stdout, _ = run("simulate", "easy", "--out", out, "--runs", 2, *TINY)
    assert code == 0
    assert "1 of 2 runs was there already" in stdout
    assert f"{path} is missing or not what was written; remove {folder} to have it made again" in caplog.text
    assert (folder / "Picks" / "alice_1_ribosome.json").read_text() == "mine"


def test_a_refused_folder_stays_as_it_was(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "mine"
    (out / "ExperimentRuns").mkdir(parents=True)
    (out / "copick.json").write_text("{}")
    refused(run, "easy", "--out", out, *TINY)
    assert (out / "copick.json").read_text() == "{}"
    assert (out / "ExperimentRuns").is_dir()
    (tmp_path / "file").write_text("a file")
    assert "file" in refused(run, "easy", "--out", tmp_path / "file", *TINY)


def test_a_root_of_the_users_choice_stays(tmp_path: Path, run: Run) -> None:
    out, picks = tmp_path / "out", tmp_path / "picks"
    assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
    picks.mkdir()
    (picks / "run.json").write_text(json.dumps({"made_by": "cryofind pick"}))
    document = json.loads((out / "copick.json").read_text())
    for chosen in (picks, tmp_path / "not yet made"):
        text = json.dumps({**document, "overlay_root": str(chosen), "static_root": str(out)})
        (out / "copick.json").write_text(text)
        assert run("simulate", "easy", "--out", out, *TINY)[0] == 0
        assert (out / "copick.json").read_text() == text


def test_a_copied_project_goes_on_where_it_lies(tmp_path: Path, run: Run) -> None:
    assert run("simulate", "easy", "--out", tmp_path / "one", *TINY)[0] == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert run("simulate", "easy", "--out", tmp_path / "two", "--runs", 2, *TINY)[0] == 0
    assert open_project(tmp_path / "two").runs == ("easy_s0_0001", "easy_s0_0002")
    assert open_project(tmp_path / "one").runs == ("easy_s0_0001",)


ENDLESS = """
import sys, time
from pathlib import Path
from cryofind.pipeline.processes import start_processes

if __name__ == "__main__":
    with start_processes(2) as pool:
        print(*pool.map(abs, [-1, -2]), *pool._processes, flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout is not None
            workers = [int(part) for part in program.stdout.readline().split()[2:]]
            assert len(workers) == 2
            program.send_signal(number)
            program.wait(timeout=30)
            wait_until(lambda: not any(is_running(worker) for worker in workers))
        finally:
            program.kill()


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_leaves_nothing_half_made(jobs: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--out", out, "--shape", "64,128,128", "--jobs", jobs, "--runs", 40)
    command = [sys.executable, "-m", "cryofind", "simulate", "easy", *options]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as program:
        try:
            wait_until(lambda: bool(list(out.glob(".making-*"))))
            program.terminate()
            assert program.wait(timeout=60) == 143
        finally:
            program.kill()
    assert not list(out.glob(".making-*"))


def wait_until(has_come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not has_come():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_recipe_can_be_saved_changed_and_used(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "mine.toml"
    assert run("simulate", "easy", "--save-recipe", path, "--set", "microscope.voltage_kilovolts=200")[0] == 0
    assert load_recipe(path) == load_recipe("easy", ["microscope.voltage_kilovolts=200"])
    assert "is there already" in refused(run, "easy", "--save-recipe", path)
    assert "cannot be written" in refused(run, "easy", "--save-recipe", "/proc/none/mine.toml")


def test_a_map_without_mass(tmp_path: Path, run: Run) -> None:
    error = refused(run, write_map_recipe(tmp_path, "", {}), "--out", tmp_path / "out", *TINY)
    assert "species ball: mass_kilodalton" in error
    assert not (tmp_path / "out").exists()


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and folder is synced, then the folder is renamed, then the one around it is synced."""
    made, path = tmp_path / "made", tmp_path / "runs" / "run"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "chunk").write_bytes(b"new")
    (made / "record").write_bytes(b"new")
    path.mkdir(parents=True)
    (path / "old").touch()
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").resolve().relative_to(tmp_path).as_posix())
        sync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        if target == path:
            events.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    place_folder(made, path)
    assert events == ["made/inner/chunk", "made/inner", "made/record", "made", "renamed", "runs"]
    assert sorted(entry.name for entry in path.iterdir()) == ["inner", "record"]
    assert not made.exists()
