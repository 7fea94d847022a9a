"""`cryofind pick` says when a tomogram does not look like those that the model learned from; `tune` learns from it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cryofind.io import open_project, tomogram_zarr_path, write_mrc, write_tomogram_zarr
from cryofind.testing import make_phantom
from cryofind.types import Tomogram
from tests.e2e.conftest import Run, copy_project

LINE = "does not look like the tomograms the model learned from"


def read_runs(out: Path) -> dict[str, Any]:
    return {record["run"]: record for record in json.loads((out / "run.json").read_text())["runs"]}


def test_a_similar_tomogram_is_familiar_and_noise_is_not(model: Path, result: Path, tmp_path: Path, run: Run) -> None:
    card = json.loads((model / "model.json").read_text())
    assert [kind["runs"] for kind in card["familiar"]] == [2]
    similar = read_runs(result)["P_4"]
    assert similar["familiarity"]["warning"] is None
    assert not any(LINE in note for note in similar["notes"])
    phantom = make_phantom(seed=5, shape_zyx=(32, 96, 96), voxel_spacing_angstrom=10.012).tomogram
    noise = np.random.default_rng(0).normal(size=phantom.volume_zyx.shape).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", Tomogram("noise", ndimage.gaussian_filter(noise, 2), phantom.grid))
    for time in ("picked", "kept"):
        code, text, err = run("--quiet", "pick", tmp_path / "noise.mrc", "--model", model, "--out", tmp_path / "out")
        assert code == 0, err
        lines = [line for line in err.splitlines() if LINE in line]
        assert len(lines) == 1, time
        assert lines[0].startswith("warning: noise: ")
        assert "do not rely on these numbers" in text
    found = read_runs(tmp_path / "out")["noise"]
    assert [note for note in found["notes"] if LINE in note] == [found["familiarity"]["warning"]]
    assert max(found["familiarity"]["traits"]["spectrum"]["excess"]) > 1


def test_streaming_sees_the_same(model: Path, tmp_path: Path, run: Run) -> None:
    tomogram = make_phantom(seed=9, shape_zyx=(32, 64, 320), voxel_spacing_angstrom=10.012).tomogram
    write_mrc(tmp_path / "A.mrc", tomogram)
    pick = ("pick", tmp_path / "A.mrc", "--model", model, "--out")
    assert run(*pick, tmp_path / "whole")[0] == 0
    _, _, err = run(*pick, tmp_path / "none", "--set", "predict.memory_gigabytes=1e-6")
    needed = re.search(r"takes ([\d.]+) GB", err)
    assert needed is not None, err
    assert run(*pick, tmp_path / "streamed", "--set", f"predict.memory_gigabytes={needed[1]}")[0] == 0
    whole, streamed = (read_runs(tmp_path / name)["A"] for name in ("whole", "streamed"))
    assert "streamed" in streamed
    assert "streamed" not in whole
    for name, trait in whole["familiarity"]["traits"].items():
        assert streamed["familiarity"]["traits"][name]["values"] == pytest.approx(trait["values"], abs=2e-3), name


def test_tuned_on_such_runs_a_model_knows_them(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "blurred")
    for name in ("P_3", "P_4"):
        (entry,) = open_project(copied).select_tomograms(runs=(name,))
        tomogram = entry.read()
        blurred = ndimage.gaussian_filter(np.asarray(tomogram.volume_zyx, np.float32), 2)
        path = tomogram_zarr_path(copied.parent, name, 10.012, "blurred")
        write_tomogram_zarr(path, Tomogram(name, blurred, tomogram.grid, "blurred"), levels=1)
    of_kind = ("--tomogram", "blurred", "--run")
    assert run("pick", copied, "--model", model, "--out", tmp_path / "before", *of_kind, "P_4")[0] == 0
    before = read_runs(tmp_path / "before")["P_4"]["familiarity"]
    assert "power at" in before["warning"]
    tuned = tmp_path / "tuned"
    few = ("--set", "tune.min_picks=1")
    code, _, err = run("tune", copied, "--model", model, "--out", tuned, "--in-sample", *few, *of_kind, "P_3")
    assert code == 0, err
    assert run("pick", copied, "--model", tuned, "--out", tmp_path / "after", *of_kind, "P_4")[0] == 0
    after = read_runs(tmp_path / "after")["P_4"]["familiarity"]
    assert after["warning"] is None
    assert after["compared_with"] == {"flavour": "blurred", "runs": 1}
