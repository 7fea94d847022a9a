"""Make the shipped models: simulate what they learn from, train, choose thresholds.

python recipes/train_shipped.py czii-sim-small SCRATCH_FOLDER [--minutes M]

The tomograms are those of `PLANS`; the model lands in SCRATCH_FOLDER/models/NAME. What is there already is not made
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


@dataclass(frozen=True)
class Plan:
    """What a model learns from and starts as, and fresh runs to choose thresholds on, if not those it watched."""

    projects: tuple[Project, ...]
    initial_model: str = ""
    tune: tuple[Project, ...] = ()


def make_wide(shares: tuple[float, float, float, float, float]) -> tuple[Project, ...]:
    """Return the runs of many microscopes: denoised, two other flavours, two other voxel spacings."""
    denoised, wbp, deconvolved, fine, coarse = shares
    return (
        Project("wide", "czii-wide", 31, 14, denoised),
        Project("wide-wbp", "czii-wide", 32, 6, wbp, ('output.flavours=["wbp"]',)),
        Project("wide-ctfdeconvolved", "czii-wide", 33, 6, deconvolved, ('output.flavours=["ctfdeconvolved"]',)),
        Project("wide-8", "czii-wide", 34, 4, fine, ("output.voxel_spacing_angstrom=8.0",), (200, 480, 480)),
        Project("wide-13", "czii-wide", 35, 4, coarse, ("output.voxel_spacing_angstrom=13.48",), (136, 468, 468)),
    )


SIMULATION = RECIPES / "simulation"
CROWDED = str(SIMULATION / "crowded.toml")
SEVERAL_KINDS = (
    Project("czii-tune", "czii", 104, 12),
    Project("tune-between", str(SIMULATION / "between.toml"), 108, 4),
    Project("tune-wide", "czii-wide", 107, 6),
    Project("tune-wide-wbp", "czii-wide", 109, 2, 0.0, ('output.flavours=["wbp"]',)),
)
PLANS = {
    "czii-sim-small": Plan(
        (
            read_set("czii-train", 0.22),
            Project("crowded", CROWDED, 11, 10, 0.15),
            *make_wide((0.28, 0.13, 0.10, 0.06, 0.06)),
            read_set("czii-validation"),
            Project("crowded-validation", CROWDED, 112, 6),
        )
    ),
    "czii-sim": Plan(
        (
            read_set("czii-train", 0.22),
            Project("czii-more", "czii", 106, 8, 0.12),
            Project("between", str(SIMULATION / "between.toml"), 11, 10, 0.16),
            *make_wide((0.22, 0.10, 0.08, 0.05, 0.05)),
            Project("czii-watch", "czii", 105, 1),
        ),
        initial_model="czii-sim-small",
        tune=SEVERAL_KINDS,
    ),
}


def main() -> None:
    """Simulate, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(PLANS))
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--minutes", type=float, help="stop the training after so many, to be taken up again")
    asked = parser.parse_args()
    plan, trained = PLANS[asked.model], asked.scratch / "models" / asked.model
    for project in (*plan.projects, *plan.tune):
        simulate(project, asked.scratch / "sets" / project.name)
    if not plan.tune:
        sys.exit(train(asked.model, plan, asked.scratch, trained, asked.minutes))
    if (trained / "model.json").is_file():
        sys.exit(0)
    untuned = trained.with_name(f"{asked.model}-untuned")
    if code := train(asked.model, plan, asked.scratch, untuned, asked.minutes):
        sys.exit(code)
    fresh = [str(asked.scratch / "sets" / project.name) for project in plan.tune]
    sys.exit(run("tune", *fresh, "--model", str(untuned), "--out", str(trained)))


def simulate(project: Project, out: Path) -> None:
    """Make the runs that are not there."""
    settings = [part for setting in project.settings for part in ("--set", setting)]
    shape = ",".join(map(str, project.shape_zyx))
    sized = ("--runs", str(project.runs), "--seed", str(project.seed), "--shape", shape)
    if code := run("simulate", project.recipe, "--out", str(out), *sized, *settings):
        sys.exit(code)


def run(*command: str) -> int:
    """Run a command of cryofind; return its exit code."""
    return subprocess.run([sys.executable, "-m", "cryofind", *command], check=False).returncode


def train(model: str, plan: Plan, scratch: Path, out: Path, minutes: float | None) -> int:
    """Train until it is done or the minutes are over; return the exit code."""
    folders = [scratch / "sets" / project.name for project in plan.projects]
    held_out = [folder for project, folder in zip(plan.projects, folders, strict=True) if not project.share]
    runs = sorted(path.name for folder in held_out for path in (folder / "ExperimentRuns").iterdir())
    shares = f"train.project_weights={[project.share for project in plan.projects]}"
    options = ["--recipe", str(RECIPES / f"{model}.toml"), "--out", str(out), "--set", shares]
    options += ["--init", plan.initial_model] if plan.initial_model else []
    options += [part for run in runs for part in ("--validation", run)]
    training = subprocess.Popen([sys.executable, "-m", "cryofind", "train", *map(str, folders), *options])
    try:
        return training.wait(None if minutes is None else 60 * minutes)
    except subprocess.TimeoutExpired:
        training.send_signal(signal.SIGTERM)  # finishes the step and writes a checkpoint
        return training.wait()


if __name__ == "__main__":
    main()
