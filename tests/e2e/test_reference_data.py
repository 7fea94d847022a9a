"""Tomograms and picks that other programs made. Only read: nothing is trained or tuned on them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryofind.errors import EXIT_USAGE
from cryofind.types import Picks
from tests.e2e.conftest import Run

# Found by the shipped model, which saw nothing but our own simulations; recorded so that a later change is noticed.
LEAST_RECALL = {"ribosome": 0.8, "apo-ferritin": 0.8}


def test_a_foreign_simulated_tomogram_is_picked_and_scored(shared_data: Path, tmp_path: Path, run: Run) -> None:
    project = shared_data / "external" / "copick.json"
    assert "120 x 320 x 320" in run("info", project)[1]
    code, _, err = run(
        "pick", project, "--model", "czii-sim-small", "--tomogram", "denoised@10.0", "--out", tmp_path / "picks"
    )
    assert code == 0, err
    report = json.loads(run("score", tmp_path / "picks", project, "--json")[1])
    for name, least in LEAST_RECALL.items():
        assert report["objects"][name]["recall"] >= least
    assert report["f_beta"] > 0.4


@pytest.mark.parametrize("flavour", ["wbp", "filtered"])
def test_other_flavours_are_read_and_picked(shared_data: Path, tmp_path: Path, run: Run, flavour: str) -> None:
    project = shared_data / "external" / "copick.json"
    code, _, err = run("pick", project, "--model", "czii-sim-small", "--tomogram", flavour, "--out", tmp_path / "picks")
    assert code == 0, err
    assert json.loads((tmp_path / "picks" / "run.json").read_text())["runs"][0]["flavour"] == flavour


def test_several_flavours_need_a_choice(shared_data: Path, model: Path, tmp_path: Path, run: Run) -> None:
    card = json.loads((model / "model.json").read_text())
    assert card["flavours"] == ["denoised"]
    code, out, _ = run("pick", shared_data / "external" / "copick.json", "--model", model, "--out", tmp_path / "picks")
    assert code == 0
    assert "EXT_1 (denoised)" in out


def test_the_challenges_own_files(shared_data: Path, tmp_path: Path, run: Run) -> None:
    czii = shared_data / "czii"
    truth = czii / "train_picks.csv"
    assert "TS_5_4: 46 apo-ferritin" in run("info", truth)[1]
    assert "140" in run("info", czii / "overlay")[1]
    code, out, err = run("score", czii / "overlay", truth, "--run", "TS_5_4", "--json")
    assert code == 0, err
    assert json.loads(out)["f_beta"] == 1.0
    described = run("info", czii / "static_metadata")[1]
    assert "10.012" in described
    code, _, err = run("pick", czii / "static_metadata", "--model", "czii-sim-small", "--out", tmp_path / "picks")
    assert code == EXIT_USAGE
    assert "chunks" in err


def test_microtubules_are_resampled_and_picked_sanely(shared_data: Path, tmp_path: Path, run: Run) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    tifffile = pytest.importorskip("tifffile")
    for source in sorted((shared_data / "real").glob("*.tif")):
        with mrcfile.new(tmp_path / f"{source.stem}.mrc") as file:
            file.set_data(tifffile.imread(source).astype(np.uint8))
            file.voxel_size = 10.52
    files = sorted(tmp_path.glob("*.mrc"))
    code, out, err = run("init", *files, "--object", "microtubule:125", "--out", tmp_path / "project")
    assert code == 0, err
    assert "10.520 A" in out
    code, _, err = run("pick", tmp_path / "project", "--model", "czii-sim-small", "--out", tmp_path / "picks")
    assert code == 0, err
    assert "resampled from 10.52" in err
    assert "bright" in err
    picks = Picks.from_csv(tmp_path / "picks" / "picks.csv").only_selected()
    assert len(picks) < 100
