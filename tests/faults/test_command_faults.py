"""Bad input on the command line: exit code 2, one clear line, nothing left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryofind.io import write_mrc, write_tomogram_zarr
from cryofind.types import Tomogram, VoxelGrid
from tests.e2e.conftest import Run, copy_project

Maker = Callable[[Path], Path]


def _tomogram(spacing_angstrom: float = 10.012, shape_zyx: tuple[int, int, int] = (32, 48, 48)) -> Tomogram:
    volume = np.random.default_rng(0).normal(size=shape_zyx).astype(np.float32)
    return Tomogram("bad", volume, VoxelGrid.isotropic(shape_zyx, spacing_angstrom))


def _mrc(folder: Path, tomogram: Tomogram | None = None) -> Path:
    write_mrc(folder / "bad.mrc", tomogram or _tomogram())
    return folder / "bad.mrc"


def _zarr(folder: Path, tomogram: Tomogram | None = None) -> Path:
    write_tomogram_zarr(folder / "bad.zarr", tomogram or _tomogram())
    return folder / "bad.zarr"


def _missing(folder: Path) -> Path:
    return folder / "bad.mrc"


def _text_as_mrc(folder: Path) -> Path:
    (folder / "bad.mrc").write_text("this is not a tomogram\n" * 200)
    return folder / "bad.mrc"


def _other_file(folder: Path) -> Path:
    (folder / "bad.docx").write_bytes(b"PK")
    return folder / "bad.docx"


def _truncated_mrc(folder: Path) -> Path:
    path = _mrc(folder)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def _missing_chunk(folder: Path) -> Path:
    path = _zarr(folder)
    chunks = [file for file in sorted((path / "0").rglob("*")) if file.is_file() and not file.name.startswith(".")]
    chunks[0].unlink()
    return path


def _nan_voxels(folder: Path) -> Path:
    tomogram = _tomogram()
    tomogram.volume_zyx[3, 4, 5] = np.nan
    return _zarr(folder, tomogram)


def _wrong_axes(folder: Path) -> Path:
    path = _zarr(folder)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["axes"].reverse()
    (path / ".zattrs").write_text(json.dumps(attributes))
    return path


def _no_spacing(folder: Path) -> Path:
    import mrcfile

    path = folder / "bad.mrc"
    with mrcfile.new(path) as file:
        file.set_data(_tomogram().volume_zyx.astype(np.float32))
    return path


def _twice_the_spacing(folder: Path) -> Path:
    return _mrc(folder, _tomogram(20.024))


def _empty_folder(folder: Path) -> Path:
    (folder / "bad").mkdir()
    return folder / "bad"


def _broken_json(folder: Path) -> Path:
    (folder / "bad.json").write_text('{"pickable_objects": [')
    return folder / "bad.json"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, ["bad.mrc", "does not exist"]),
        (_text_as_mrc, ["bad.mrc"]),
        (_other_file, ["bad.docx"]),
        (_truncated_mrc, ["bad.mrc", "bytes"]),
        (_missing_chunk, ["bad.zarr", "1 of", "--allow-missing-chunks"]),
        (_nan_voxels, ["bad", "1 "]),
        (_wrong_axes, ["bad.zarr", "axes"]),
        (_no_spacing, ["bad.mrc", "--voxel-size"]),
        (_twice_the_spacing, ["20.02", "10.01"]),
        (_empty_folder, ["bad"]),
        (_broken_json, ["bad.json", "line"]),
    ],
)
def test_pick_refuses_in_one_line(make: Maker, words: list[str], model: Path, tmp_path: Path, run: Run) -> None:
    path = make(tmp_path)
    code, _, err = run("--quiet", "pick", path, "--model", model, "--out", tmp_path / "out")
    lines = err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0]
    assert not (tmp_path / "out" / "picks.csv").exists()


def test_missing_chunks_are_read_when_allowed(model: Path, tmp_path: Path, run: Run) -> None:
    path = _missing_chunk(tmp_path)
    code, _, err = run("pick", path, "--model", model, "--out", tmp_path / "out", "--allow-missing-chunks")
    assert code == 0, err
    assert "missing" in err


def test_voxel_size_can_be_given(model: Path, tmp_path: Path, run: Run) -> None:
    path = _no_spacing(tmp_path)
    assert run("pick", path, "--model", model, "--out", tmp_path / "out", "--voxel-size", 10.0)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pik",), ["pick"]),
        (("pick",), ["INPUTS"]),
        (("pick", "x.mrc", "--out", "o", "--model", "czii-sim-small", "--voxel-size", "-3"), ["voxel-size"]),
        (("pick", "x.mrc"), ["--out", "--help"]),
        (("pick", "x.mrc", "--out", "o", "--model", "czii-simsmall"), ["czii-sim-small'"]),
        (("config", "--set", "train.stepps=3"), ["steps"]),
        (("config", "--set", "train.steps=minus"), ["train.steps"]),
        (("config", "--recipe", "nothing.toml"), ["nothing.toml"]),
        (("score", "nothing.csv", "nothing.csv"), ["nothing.csv"]),
        (("info", "nothing"), ["nothing"]),
        (("train", "nothing", "--out", "o"), ["nothing"]),
        (("submit", "nothing", "--out", "o.csv"), ["nothing"]),
    ],
)
def test_usage_errors(
    arguments: tuple[str, ...], words: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


def test_pick_never_writes_into_a_foreign_folder(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    code, _, err = run("pick", project, "--model", model, "--out", tmp_path)
    assert code == 2
    assert "other files" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_model_is_refused(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    code, _, err = run("pick", project, "--model", copy, "--out", tmp_path / "out")
    assert code == 2
    assert "model.safetensors" in err


def test_train_refuses_picks_outside(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    path = next((copied.parent / "ExperimentRuns" / "P_1" / "Picks").glob("*ribosome.json"))
    document = json.loads(path.read_text())
    document["points"][0]["location"]["x"] = 99999.0
    path.write_text(json.dumps(document))
    code, _, err = run("train", copied, "--out", tmp_path / "model", "--run", "P_1")
    assert code == 2
    assert "P_1" in err
    assert "outside" in err


def test_train_refuses_a_project_without_picks(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    for picks in copied.parent.glob("ExperimentRuns/*/Picks"):
        shutil.rmtree(picks)
    code, _, err = run("train", copied, "--out", tmp_path / "model")
    assert code == 2
    assert "annotated" in err
