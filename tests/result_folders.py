"""Result folders as `cryofind pick` writes them, without a network: what reports are made of."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryofind.io import fingerprint_volume, write_copick_config, write_mrc
from cryofind.pipeline.picked_runs import MADE_BY
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid

GRID = VoxelGrid.isotropic((24, 48, 40), 10.0)
BALL = ParticleSpec("ball", 60.0, 1, (230, 159, 0, 255), 1.0)
ROD = ParticleSpec("rod", 40.0, 2, (0, 114, 178, 255), 2.0)
SPECS = (BALL, ROD)
THRESHOLDS = {"ball": 0.5, "rod": 0.4}


def make_tomogram(run: str, *, grid: VoxelGrid = GRID, seed: int = 0) -> Tomogram:
    """Return noise."""
    values = np.random.default_rng(seed).standard_normal(grid.shape_zyx).astype(np.float32)
    return Tomogram(run, values, grid)


def scatter(run: str, name: str, count: int, *, seed: int, grid: VoxelGrid = GRID) -> Picks:
    """Return picks of one object at random places, with random scores."""
    random = np.random.default_rng(seed)
    positions = random.random((count, 3)) * np.array(grid.extent_zyx_angstrom)
    picks = Picks.build(run, name, positions, scores=np.round(random.random(count), 6))
    return picks.selected_above(THRESHOLDS)


def write_result(
    folder: Path,
    picks: Picks,
    *,
    tomograms: Sequence[Tomogram],
    specs: Sequence[ParticleSpec] = SPECS,
    **changes: Any,
) -> Path:
    """Write a result folder with its tomograms as MRC files in `folder/tomograms`; `changes` go into `run.json`."""
    records = [_write_run(folder, tomogram, picks.of_run(tomogram.run)) for tomogram in tomograms]
    folder.mkdir(parents=True, exist_ok=True)
    picks.to_csv(folder / "picks.csv")
    write_copick_config(folder / "copick.json", name="picks", objects=specs, overlay_root=folder)
    document = {
        "made_by": MADE_BY,
        "recipe_sha256": "0" * 64,
        "finished": "2026-01-01T00:00:00+00:00",
        "seconds": 1.5,
        "environment": {"cryofind": "0.1.0", "packages": {"numpy": "2"}, "command": "cryofind pick"},
        "config": {"locate": {"thresholds": "tuned"}},
        "models": [{"name": "tiny", "path": "tiny", "sha256": "1" * 64, "training_runs": []}],
        "objects": [vars(spec) for spec in specs],
        "thresholds": THRESHOLDS,
        "runs": records,
        "failed": [],
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(document))
    return folder


def _write_run(folder: Path, tomogram: Tomogram, picks: Picks) -> dict[str, Any]:
    path = folder / "tomograms" / f"{len(list(folder.glob('tomograms/*')))}.mrc"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(path, tomogram)
    grid = tomogram.grid
    return {
        "run": tomogram.run,
        "flavour": "wbp",
        "path": str(path),
        "shape_zyx": list(grid.shape_zyx),
        "spacing_zyx_angstrom": list(grid.spacing_zyx_angstrom),
        "origin_zyx_angstrom": list(grid.origin_zyx_angstrom),
        "candidates": len(picks),
        "key": {"volume_sha256": fingerprint_volume(tomogram.volume_zyx)},
        "in_sample": False,
        "notes": [],
        "seconds": {"read": 0.25, "network": 1.0},
    }
