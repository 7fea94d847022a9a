"""`cryofind pick` on a tomogram that may not be held in memory, with a trained model."""

import json
import re
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from cryofind.io import write_mrc
from cryofind.testing import make_phantom
from cryofind.types import Picks
from tests.e2e.conftest import Run

SPACING_ANGSTROM = 10.012


def test_streamed_picks_are_those_of_the_whole(model: Path, tmp_path: Path, run: Run) -> None:
    tomogram = make_phantom(seed=9, shape_zyx=(32, 64, 320), voxel_spacing_angstrom=SPACING_ANGSTROM).tomogram
    write_mrc(tmp_path / "A.mrc", tomogram)
    pick = ("pick", tmp_path / "A.mrc", "--model", model, "--out")
    code, _, err = run(*pick, tmp_path / "none", "--set", "predict.memory_gigabytes=1e-6")
    assert code == 2
    needed = re.search(r"takes ([\d.]+) GB", err)
    assert needed is not None
    memory = ("--set", f"predict.memory_gigabytes={needed[1]}")
    code, _, err = run(*pick, tmp_path / "none", *memory, "--segmentation")
    assert code == 2
    assert "--segmentation" in err
    assert run(*pick, tmp_path / "streamed", *memory)[0] == 0
    assert run(*pick, tmp_path / "whole")[0] == 0
    (record,) = json.loads((tmp_path / "streamed/run.json").read_text())["runs"]
    assert record["streamed"]["columns"] > 1
    streamed, whole = (Picks.from_csv(tmp_path / out / "picks.csv") for out in ("streamed", "whole"))
    assert len(whole) > 20
    assert abs(len(streamed) - len(whole)) <= 0.005 * len(whole)
    partners = np.zeros(len(whole), bool)
    for name in whole.object_names:
        ours, theirs = streamed.of_object(name), whole.objects == name
        distances, nearest = cKDTree(ours.positions_zyx_angstrom).query(whole.positions_zyx_angstrom[theirs])
        apart = np.abs(ours.scores[nearest] - whole.scores[theirs])
        partners[theirs] = (distances <= 0.5 * SPACING_ANGSTROM) & (apart <= 0.01)
    assert partners.mean() >= 0.995
