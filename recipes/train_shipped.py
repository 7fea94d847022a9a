"""Make the shipped models: simulate what they learn from, train, choose thresholds.

python recipes/train_shipped.py czii-sim-small SCRATCH_FOLDER [--minutes M]

The tomograms are those of `PROJECTS`; the model lands in SCRATCH_FOLDER/models/NAME. What is there already is not made
again, and a training goes on where it stopped: with --minutes it stops after so many (exit code 143), and the same
command takes it up again.
"""

import argparse
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Project:
    """Simulated runs of one kind; `share` of the crops come from them, none from those to choose thresholds on."""

    name: str
    recipe: str
    seed: int
    runs: int
    share: float = 0.0
    settings: tuple[str, ...] = ()
    shape_zyx: tuple[int, int, int] = (184, 630, 630)


def read_set(name: str, share: float = 0.0) -> Project:
    """Return a set of the quality benchmark, which keeps what is learnt from and what is tested on apart."""
    known = tomllib.loads((RECIPES.parent / "benchmarks" / "quality" / "sets.toml").read_text())["sets"][name]
    return Project(name, known["recipe"], known["seed"], known["runs"], share, (), tuple(known["shape_zyx"]))


PROJECTS = (
    read_set("czii-train", 0.22),
    read_set("czii-hard-train", 0.15),
    Project("wide", "czii-wide", 31, 14, 0.28),
    Project("wide-wbp", "czii-wide", 32, 6, 0.13, ('output.flavours=["wbp"]',)),
    Project("wide-ctfdeconvolved", "czii-wide", 33, 6, 0.10, ('output.flavours=["ctfdeconvolved"]',)),
    Project("wide-8", "czii-wide", 34, 4, 0.06, ("output.voxel_spacing_angstrom=8.0",), (200, 480, 480)),
    Project("wide-13", "czii-wide", 35, 4, 0.06, ("output.voxel_spacing_angstrom=13.48",), (136, 468, 468)),
    read_set("czii-validation"),
    read_set("czii-hard-validation"),
)


def main() -> None:
    """Simulate, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(path.stem for path in RECIPES.glob("*.toml")))
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--minutes", type=float, help="stop the training after so many, to be taken up again")
    asked = parser.parse_args()
    for project in PROJECTS:
        simulate(project, asked.scratch / "sets" / project.name)
    sys.exit(train(asked.model, asked.scratch, asked.minutes))


def simulate(project: Project, out: Path) -> None:
    """Make the runs that are not there."""
    settings = [part for setting in project.settings for part in ("--set", setting)]
    shape = ",".join(map(str, project.shape_zyx))
    sized = ("--runs", str(project.runs), "--seed", str(project.seed), "--shape", shape)
    command = ("simulate", project.recipe, "--out", str(out), *sized, *settings)
    if code := subprocess.run([sys.executable, "-m", "cryofind", *command], check=False).returncode:
        sys.exit(code)


def train(model: str, scratch: Path, minutes: float | None) -> int:
    """Train until it is done or the minutes are over; return the exit code."""
    folders = [scratch / "sets" / project.name for project in PROJECTS]
    held_out = [folder for project, folder in zip(PROJECTS, folders, strict=True) if not project.share]
    runs = sorted(path.name for folder in held_out for path in (folder / "ExperimentRuns").iterdir())
    shares = f"train.project_weights={[project.share for project in PROJECTS]}"
    options = ["--recipe", str(RECIPES / f"{model}.toml"), "--out", str(scratch / "models" / model), "--set", shares]
    options += [part for run in runs for part in ("--validation", run)]
    training = subprocess.Popen([sys.executable, "-m", "cryofind", "train", *map(str, folders), *options])
    try:
        return training.wait(None if minutes is None else 60 * minutes)
    except subprocess.TimeoutExpired:
        training.send_signal(signal.SIGTERM)  # finishes the step and writes a checkpoint
        return training.wait()


if __name__ == "__main__":
    main()
