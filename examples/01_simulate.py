"""Simulate one small tomogram and look at its truth: `python examples/01_simulate.py FOLDER`."""

import sys
from pathlib import Path

from cryofind import open_project
from cryofind.pipeline import SimulationRequest, simulate_project
from cryofind.simulate import load_recipe


def main(folder: Path) -> None:
    """Write a project of one run into `folder`, and print what it holds."""
    recipe = load_recipe("easy", ["sample.crowding=4"])
    request = SimulationRequest(folder, "example", runs=1, shape_zyx=(48, 128, 128), seed=1, jobs=1)
    for line in simulate_project(recipe, request):
        print(line)
    picks = open_project(folder).read_picks()
    for name in picks.object_names:
        print(f"{len(picks.of_object(name)):4d} {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
