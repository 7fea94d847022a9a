"""A tiny project and a tiny model, made once per test process."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofind.cli import main
from cryofind.testing import write_phantom_project

RUNS = ("P_1", "P_2", "P_3", "P_4")
TINY = (
    'model.network="res16"',
    "model.widths=[16,16,32,32]",
    "train.steps=12",
    "train.seed=3",  # after so few steps not every seed has a candidate that hits a particle of an unseen run
    "train.batch_size=2",
    "train.crop_zyx=[32,32,32]",
    "train.validate_every=6",
    "train.checkpoint_every=6",
    'train.devices="cpu"',
    "locate.floor=0.001",
    "tune.min_picks=1",
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the copick configuration of four small phantoms."""
    folder = tmp_path_factory.mktemp("phantoms") / "project"
    return write_phantom_project(folder, runs=RUNS, seed=3, shape_zyx=(32, 96, 96))


def copy_project(configuration: Path, folder: Path) -> Path:
    """Return the configuration of a copy of a project, whose roots follow it."""
    shutil.copytree(configuration.parent, folder)
    copied = folder / configuration.name
    copied.write_text(json.dumps({**json.loads(copied.read_text()), "overlay_root": "."}))
    return copied


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line and returns exit code, stdout and stderr."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = stopped.value.code
        return code if isinstance(code, int) else 0, captured.out, captured.err

    return run_command


@pytest.fixture(scope="session")
def model(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model trained for a few steps on two of the runs, with P_3 for thresholds; P_4 is unseen."""
    out = tmp_path_factory.mktemp("model") / "tiny"
    settings = [part for setting in TINY for part in ("--set", setting)]
    runs = [part for name in RUNS[:3] for part in ("--run", name)]
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "train", str(project), "--out", str(out), "--validation", "P_3", *runs, *settings])
    assert stopped.value.code == 0
    return out


@pytest.fixture(scope="session")
def result(project: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result folder of picking the unseen run P_4."""
    out = tmp_path_factory.mktemp("result") / "picks"
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "pick", str(project), "--model", str(model), "--out", str(out), "--run", "P_4"])
    assert stopped.value.code == 0
    return out
