"""What the commands refuse beyond bad files: ambiguous, damaged or contradictory requests."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofind.errors import CryofindError, ModelError, OutputError, ProjectError
from cryofind.io import open_project, write_mrc, write_segmentation_zarr
from cryofind.pipeline.ensembles import member_folders, write_ensemble
from cryofind.pipeline.records import claim_folder, read_record
from cryofind.types import LabelVolume, VoxelGrid
from tests.e2e.conftest import TINY, Run, copy_project

SETTINGS = [part for setting in TINY for part in ("--set", setting)]
TWO_RUNS = ("--run", "P_1", "--run", "P_2", "--validation", "P_2")


@pytest.mark.parametrize("text", ["{", "[]", '{"members": []}', '{"members": ["../up"]}', '{"members": [1]}'])
def test_a_damaged_ensemble_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(ModelError, match=r"ensemble\.json"):
        member_folders(tmp_path)


def test_an_ensemble_round_trips(tmp_path: Path) -> None:
    write_ensemble(tmp_path, [tmp_path / "a", tmp_path / "b"])
    assert member_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert member_folders(tmp_path / "a") == [tmp_path / "a"]


def test_records_are_checked(tmp_path: Path) -> None:
    assert claim_folder(tmp_path / "new", "cryofind pick") == {}
    (tmp_path / "run.json").write_text("[")
    with pytest.raises(OutputError, match="cannot be read"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(OutputError, match="not a JSON object"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text('{"made_by": "cryofind train"}')
    with pytest.raises(OutputError, match="other files"):
        claim_folder(tmp_path, "cryofind pick")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        claim_folder(tmp_path / "file", "cryofind pick")


def test_the_same_run_twice_is_refused(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    code, _, err = run("pick", project, copied, "--model", model, "--out", tmp_path / "out")
    assert code == 2
    assert "two tomograms" in err


def test_members_that_differ_are_refused(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("pick", project, "--model", model, "--model", "phantom", "--out", tmp_path / "out")
    assert code in {0, 2}
    other = tmp_path / "one-object"
    copied = copy_project(project, tmp_path / "project")
    for path in copied.parent.glob("ExperimentRuns/*/Picks/*.json"):
        if "ribosome" not in path.name:
            path.unlink()
    assert run("train", copied, "--out", other, *TWO_RUNS, *SETTINGS)[0] == 0
    code, _, err = run("pick", project, "--model", model, "--model", other, "--out", tmp_path / "out2")
    assert code == 2
    assert "objects" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--folds", "9"), ["--folds"]),
        (("--validation", "P_9"), ["--validation", "P_9"]),
        (("--validation", "P_1", "--validation", "P_2", "--validation", "P_3", "--validation", "P_4"), ["every"]),
        (("--keep", "refit"), ["--folds"]),
        (("--folds", "2", "--validation", "P_1"), ["exclude"]),
        (("--folds", "2", "--set", "train.devices=cpu:2"), ["one device"]),
        (("--init", "nothing"), ["nothing"]),
        (("a.toml", "b.toml"), ["two recipes"]),
        (("--set", "targets.annotated_region=mask"), ["annotated"]),
        (("--set", "targets.kind=labels", "--set", "targets.segmentation=nothing"), ["nothing"]),
        (("--tomogram", "wbp"), ["wbp", "denoised"]),
        (("--picks", "*:somebody/1"), ["somebody"]),
        (
            ("--set", "train.batch_size=1", "--set", "train.crop_zyx=[16, 16, 16]"),
            ["train.batch_size: is 1, expected 2 or more", "16 x 16 x 16 voxels", "raise it, or train.crop_zyx"],
        ),
        (("--set", "train.crop_zyx=[32, 32, 40]"), ["train.crop_zyx: is 32 x 32 x 40, expected multiples of 16"]),
    ],
)
def test_trainings_that_cannot_be(
    arguments: tuple[str, ...], words: list[str], project: Path, tmp_path: Path, run: Run
) -> None:
    code, _, err = run("--quiet", "train", project, "--out", tmp_path / "model", *SETTINGS, *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "model" / "run.json").exists()
    assert not (tmp_path / "model" / "model.json").exists()


def test_train_needs_a_project(tmp_path: Path, run: Run) -> None:
    (tmp_path / "recipe.toml").write_text("")
    code, _, err = run("train", tmp_path / "recipe.toml", "--out", tmp_path / "model")
    assert code == 2
    assert "project" in err


def test_projects_must_agree_on_radii(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    document = json.loads(copied.read_text())
    document["pickable_objects"][0]["radius"] = 61.0
    copied.write_text(json.dumps(document))
    code, _, err = run("train", project, copied, "--out", tmp_path / "model", *SETTINGS)
    assert code == 2
    assert "radius" in err or "stands in" in err


def test_a_mask_of_another_voxel_spacing_is_used(project: Path, tmp_path: Path, run: Run) -> None:
    """The annotated region may be coarser than the tomogram: the nearest voxel counts."""
    copied = copy_project(project, tmp_path / "project")
    for folder in (copied.parent / "ExperimentRuns").iterdir():
        grid = VoxelGrid.isotropic((16, 48, 48), 20.024)
        path = folder / "Segmentations" / "20.024_me_0_annotated.zarr"
        mask = LabelVolume(folder.name, np.ones(grid.shape_zyx, np.uint8), grid, {1: "annotated"})
        write_segmentation_zarr(path, mask)
    region = ("--set", "targets.annotated_region=mask", "--set", "targets.annotated_mask=annotated")
    code, _, err = run("train", copied, "--out", tmp_path / "model", *TWO_RUNS, *SETTINGS, *region)
    assert code == 0, err


def test_labels_without_an_object_are_refused(project: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    document = json.loads(copied.read_text())
    document["pickable_objects"] = document["pickable_objects"][:1]
    copied.write_text(json.dumps(document))
    code, _, err = run("train", copied, "--out", tmp_path / "model", *SETTINGS, "--set", "targets.kind=labels")
    assert code == 2
    assert "label" in err


def test_segmentations_that_are_missing_are_named(project: Path, result: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("score", result, project, "--segmentation")
    assert code == 2
    assert "segmentation" in err


def test_score_without_a_shared_run(project: Path, result: Path, tmp_path: Path, run: Run) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("experiment,particle_type,x,y,z\nTS_9,ribosome,1.0,2.0,3.0\n")
    code, _, err = run("score", result, table)
    assert code == 2
    assert "shares no run" in err
    table.write_text("experiment,particle_type,x,y,z\n")
    assert run("score", result, table)[0] == 2


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ((), ["--object"]),
        (("ribosome:x",), ["NAME:RADIUS"]),
        (("my_object:50",), ["my-object"]),
        (("unknown-complex",), ["NAME:RADIUS"]),
        (("ribosome:-3",), ["radius"]),
    ],
)
def test_init_refuses_odd_objects(
    objects: tuple[str, ...], words: list[str], project: Path, tmp_path: Path, run: Run
) -> None:
    write_mrc(tmp_path / "P_1.mrc", open_project(project).select_tomograms(runs=("P_1",))[0].read())
    (tmp_path / "P_1.coords").write_text("5 10 10\n")
    options = [part for name in objects for part in ("--object", name)]
    picks = ("--picks", tmp_path / "P_1.coords")
    code, _, err = run("init", tmp_path / "P_1.mrc", *picks, *options, "--out", tmp_path / "project")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "project").exists()


def test_init_of_two_files_of_one_name(project: Path, tmp_path: Path, run: Run) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        tomogram = open_project(project).select_tomograms(runs=("P_1",))[0].read()
        write_mrc(tmp_path / folder / "P_1.mrc", tomogram)
    files = (tmp_path / "a" / "P_1.mrc", tmp_path / "b" / "P_1.mrc")
    code, _, err = run("init", *files, "--object", "ribosome", "--out", tmp_path / "project")
    assert code == 2
    assert "second time" in err


def test_doctor_finds_what_is_wrong(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    copied = copy_project(project, tmp_path / "project")
    picks = next((copied.parent / "ExperimentRuns" / "P_1" / "Picks").glob("*ribosome.json"))
    document = json.loads(picks.read_text())
    document["points"][0]["location"]["z"] = 1e5
    picks.write_text(json.dumps(document))
    shutil.rmtree(next((copied.parent / "ExperimentRuns" / "P_2").glob("VoxelSpacing*/*.zarr")) / "0")
    code, out, _ = run("doctor", copied, "--model", model)
    assert code == 1
    assert "outside" in out
    assert "P_2 denoised: problem" in out


def test_doctor_says_when_a_model_does_not_fit(model: Path, tmp_path: Path, run: Run) -> None:
    from tests.faults.test_command_faults import _twice_the_spacing

    code, out, _ = run("doctor", _twice_the_spacing(tmp_path), "--model", model)
    assert code == 1
    assert "20.02" in out
    assert run("doctor")[0] == 0


def test_library_errors_are_one_family(tmp_path: Path) -> None:
    with pytest.raises(CryofindError):
        open_project(tmp_path / "nothing")
    assert issubclass(ProjectError, CryofindError)
