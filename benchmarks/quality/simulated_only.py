"""What training on simulation alone is worth: 12 runs, no annotation, then a tomogram of another generator.

python benchmarks/quality/simulated_only.py SCRATCH_FOLDER [--steps N] [--seeds N] [--source czii|phantom]

Makes 12 runs of a source (a recipe of `cryofind simulate`, or phantoms), trains `res16` on ten, sets thresholds on the
other two, picks EXT_1 `denoised` (reference data beside the repository), scores it, for every seed. Nothing is chosen
on EXT_1. What is there already is not made again. Results go to SCRATCH_FOLDER/results_SOURCE_STEPS.json and to stdout.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cryofind.testing import write_phantom_project

RUNS = 12
VALIDATION_RUNS = 2
SIMULATED_SHAPE_ZYX = (184, 630, 630)
# As the recipe of phantoms that are easiest to learn from: noise levels and crowdings in turn.
PHANTOM_SHAPE_ZYX = (64, 256, 256)
PHANTOM_NOISES, PHANTOM_CROWDINGS = (0.7, 1.0, 1.4), (3.0, 8.0)
# Of the shipped model; steps and seed are set here.
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "czii-sim-small.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--source", default="czii", help="a recipe of `cryofind simulate`, or `phantom`")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shape", default=",".join(map(str, SIMULATED_SHAPE_ZYX)), help="of simulated runs")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("CRYOFIND_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    external = shared / "data" / "external" / "copick.json"
    if not external.is_file():
        sys.exit("reference data not found (set CRYOFIND_SHARED)")
    project = arguments.scratch / arguments.source
    runs = make_project(project, arguments.source, arguments.shape)
    rows = []
    for seed in range(arguments.seeds):
        started = time.perf_counter()
        model = project.with_name(f"{arguments.source}_{arguments.steps}_{seed}")
        train(project, runs, model, arguments.steps, seed)
        rows.append({"seed": seed, **score(external, model), "seconds": time.perf_counter() - started})
        print(json.dumps(rows[-1]), flush=True)
    f_betas = [row["f_beta"] for row in rows]
    summary = {
        "source": arguments.source,
        "steps": arguments.steps,
        "rows": rows,
        "mean": float(np.mean(f_betas)),
        "sd": float(np.std(f_betas, ddof=1)) if len(f_betas) > 1 else None,
    }
    (arguments.scratch / f"results_{arguments.source}_{arguments.steps}.json").write_text(json.dumps(summary, indent=2))
    print(f"{arguments.source}, {arguments.steps} steps: mean {summary['mean']:.3f} of {len(rows)} seeds")


def make_project(project: Path, source: str, shape: str) -> list[str]:
    """Make the runs of a source, if they are not there; return their names."""
    if source != "phantom":
        run("simulate", source, "--out", project, "--runs", RUNS, "--seed", 1, "--shape", shape)
        return sorted(path.name for path in (project / "ExperimentRuns").iterdir())
    names = [f"PHANTOM_{number:02d}" for number in range(RUNS)]
    for number, name in enumerate(names):
        if not (project / "ExperimentRuns" / name).is_dir():
            noise = PHANTOM_NOISES[number % 3]
            crowding = PHANTOM_CROWDINGS[number // 3 % 2]
            write_phantom_project(
                project, runs=[name], seed=100 + number, shape_zyx=PHANTOM_SHAPE_ZYX, noise=noise, crowding=crowding
            )
    return names


def train(project: Path, runs: list[str], model: Path, steps: int, seed: int) -> None:
    settings = ("--set", f"train.steps={steps}", "--set", f"train.seed={seed}")
    held_out = [part for name in runs[-VALIDATION_RUNS:] for part in ("--validation", name)]
    if not (model / "model.json").is_file():
        run("train", project, "--out", model, "--recipe", RECIPE, *held_out, *settings)


def score(external: Path, model: Path) -> dict[str, object]:
    picks = model / "picks_EXT_1"
    run("pick", external, "--tomogram", "denoised", "--model", model, "--out", picks)
    report = json.loads(run("score", picks, external, "--json"))
    by_object = {name: round(values["f_beta"], 3) for name, values in report["objects"].items()}
    return {"f_beta": round(report["f_beta"], 4), **by_object}


def run(*arguments: object) -> str:
    command = [sys.executable, "-m", "cryofind", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
