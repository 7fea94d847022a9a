"""Make the shipped model `phantom`: phantoms of several noise levels and crowdings, then `cryofind train`.

python recipes/train_phantom.py SCRATCH_FOLDER MODEL_FOLDER

The runs named TEST_* are made, picked and scored at the end; nothing is chosen on them.
"""

import itertools
import subprocess
import sys
from pathlib import Path

from cryofind.testing import write_phantom_project

NOISES = (0.7, 1.0, 1.4)
CROWDINGS = (3.0, 8.0)
SHAPE_ZYX = (64, 256, 256)
TRAINING_SEED, TEST_SEED = 20_001, 30_001
TEST_RUNS = ("TEST_1", "TEST_2", "TEST_3", "TEST_4")


def main(scratch: Path, model: Path) -> None:
    """Write the phantoms, train, and score the test runs."""
    project = scratch / "project"
    validation = []
    for number, (noise, crowding) in enumerate(itertools.product(NOISES, CROWDINGS)):
        names = [f"LEARN_{number}_{copy}" for copy in range(2)] + [f"VALIDATE_{number}"]
        write_phantom_project(
            project, runs=names, seed=TRAINING_SEED + number, shape_zyx=SHAPE_ZYX, noise=noise, crowding=crowding
        )
        validation.append(names[-1])
    recipe = Path(__file__).with_name("phantom.toml")
    held_out = [part for name in validation for part in ("--validation", name)]
    run("train", project, "--out", scratch / "phantom", "--recipe", recipe, *held_out)
    test = write_phantom_project(scratch / "test", runs=TEST_RUNS, seed=TEST_SEED, shape_zyx=SHAPE_ZYX)
    run("pick", test, "--model", scratch / "phantom", "--out", scratch / "picks")
    run("score", scratch / "picks", test)
    model.mkdir(parents=True, exist_ok=True)
    for file in ("model.safetensors", "model.json", "SHA256SUMS"):
        (model / file).write_bytes((scratch / "phantom" / file).read_bytes())


def run(*arguments: object) -> None:
    """Run one command of cryofind, and stop when it fails."""
    subprocess.run([sys.executable, "-m", "cryofind", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
