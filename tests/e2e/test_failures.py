"""`cryofind score --failures`: what went wrong in words and numbers, with the membranes of the truth's project."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.io import open_project, segmentation_zarr_path, write_segmentation_zarr
from cryofind.io.copick import write_copick_config
from cryofind.pipeline.failures import find_membranes
from cryofind.testing import write_phantom_project
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid
from tests.e2e.conftest import Run

RUNS = ("P_1", "P_2")
SHAPE = (32, 96, 96)
SPACING = 10.012


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Return the configuration of two small phantoms without membranes."""
    return write_phantom_project(tmp_path / "project", runs=RUNS, seed=5, shape_zyx=SHAPE, crowding=20.0)


@pytest.fixture
def picks(truth: Path, tmp_path: Path) -> Path:
    """Return picks half a voxel off, of which the first of every object is left out and one lies elsewhere."""
    true = open_project(truth).read_picks()
    first = np.unique(true.objects, return_index=True)[1]
    found = true.where(np.setdiff1d(np.arange(len(true)), first))
    shifted = found.positions_zyx_angstrom + SPACING / 2
    stray = Picks.build("P_1", "ribosome", [(5.0, 5.0, 5.0)], scores=[0.5])
    moved = Picks.build(list(found.runs), list(found.objects), shifted, scores=np.full(len(found), 0.9))
    Picks.concatenate([moved, stray]).to_csv(tmp_path / "picks.csv")
    return tmp_path / "picks.csv"


def write_membrane(project: Path, run: str, name: str, *, is_multilabel: bool, value: int) -> Path:
    """Write a segmentation of one plane, z = 10."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[10] = value
    path = segmentation_zarr_path(project.parent, run, SPACING, "someone", "0", name, is_multilabel=is_multilabel)
    write_segmentation_zarr(path, LabelVolume(run, labels, VoxelGrid.isotropic(SHAPE, SPACING), {value: name}))
    return path


def test_the_text_and_the_numbers_agree(truth: Path, picks: Path, run: Run) -> None:
    code, text, err = run("score", picks, truth, "--failures")
    assert (code, err) == (0, "")
    table, _, failures = text.partition("\nFailures\n")
    assert "weighted F4" in table
    document = json.loads(run("score", picks, truth, "--failures", "--json")[1])
    numbers = document["failures"]
    assert all(sentence in failures.splitlines() for sentence in numbers["sentences"])
    assert numbers["missed_count"] == sum(rated["fn"] for rated in document["objects"].values())
    assert [false["object"] for false in numbers["false"]] == ["ribosome"]
    assert len(numbers["missed"]) == numbers["missed_count"] == len(document["objects"])
    assert f"{numbers['missed_count']} of {numbers['particles']} particles are missed" in failures
    pooled = numbers["residuals"]["pooled"]
    assert pooled["mean_zyx_angstrom"] == pytest.approx([SPACING / 2] * 3, abs=0.01)
    assert numbers["residuals"]["sentences"][0] in failures
    assert "counts from the corner of a voxel" in failures
    circumstances = {table["circumstance"] for table in numbers["tables"]}
    assert circumstances == {"object", "run", "depth", "crowding", "edge", "score"}
    assert "failures" not in json.loads(run("score", picks, truth, "--json")[1])


def circumstances_of(run: Run, picks: Path, truth: Path) -> tuple[set[str], str]:
    _, text, err = run("score", picks, truth, "--failures", "--json")
    return {table["circumstance"] for table in json.loads(text)["failures"]["tables"]}, err


def test_membranes_of_the_truth_are_found(truth: Path, picks: Path, run: Run) -> None:
    write_membrane(truth, "P_1", "membrane", is_multilabel=False, value=1)
    assert "membrane" in circumstances_of(run, picks, truth)[0]
    (read,) = find_membranes(truth, RUNS).values()
    volume = read()
    assert volume is not None
    assert np.flatnonzero(volume.labels_zyx.any(axis=(1, 2))).tolist() == [10]


def test_the_reading_of_membranes_shows_its_progress(
    truth: Path, picks: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in RUNS:
        write_membrane(truth, name, "membrane", is_multilabel=False, value=1)
    monkeypatch.setattr("cryofind.progress.LOG_INTERVAL_SECONDS", 0.0)
    lines = run("score", picks, truth, "--failures", "--json")[2].splitlines()
    shown = [line.partition(",")[0] for line in lines if line.startswith("membranes")]
    assert shown == ["membranes: 1 of 2", "membranes: 2 of 2"]


def add_objects(truth: Path, more: Sequence[ParticleSpec]) -> None:
    write_copick_config(truth, name="phantoms", objects=[*czii.OBJECTS, *more], overlay_root=truth.parent)


def test_membranes_among_other_labels_are_found(tmp_path: Path) -> None:
    truth = write_phantom_project(tmp_path / "project", runs=("P_1",), shape_zyx=SHAPE)
    (labelled,) = open_project(truth).segmentations
    volume = labelled.read({})
    volume.labels_zyx[10] = 77
    write_segmentation_zarr(labelled.path, volume)
    assert find_membranes(truth, ("P_1",)) == {}
    add_objects(truth, [ParticleSpec("outer-membrane", None, 77, is_particle=False)])
    found = find_membranes(truth, ("P_1", "P_9"))["P_1"]()
    assert found is not None
    assert np.flatnonzero(found.labels_zyx.any(axis=(1, 2))).tolist() == [10]
    assert find_membranes(truth, ("P_9",)) == {}


def test_a_damaged_segmentation_is_left_out_with_a_warning(truth: Path, picks: Path, run: Run) -> None:
    path = write_membrane(truth, "P_1", "membrane", is_multilabel=False, value=1)
    for chunk in (path / "0").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith((".", "zarr")):
            chunk.write_bytes(b"damaged")
    circumstances, err = circumstances_of(run, picks, truth)
    assert "membrane" not in circumstances
    assert "no distances to membranes in run P_1" in err


def test_a_truth_that_is_no_project_has_neither_membranes_nor_boxes(picks: Path, run: Run) -> None:
    assert find_membranes(picks, RUNS) == {}
    circumstances, _ = circumstances_of(run, picks, picks)
    assert circumstances == {"object", "run", "crowding", "score"}


def test_an_object_that_is_not_known_is_refused_in_one_line(truth: Path, tmp_path: Path, run: Run) -> None:
    Picks.build("P_1", "ribosom", [(5.0, 5.0, 5.0)]).to_csv(tmp_path / "other.csv")
    code, out, err = run("score", tmp_path / "other.csv", truth, "--failures")
    assert (code, out) == (2, "")
    assert "did you mean 'ribosome'" in err


def test_numbers_of_a_run_that_the_model_saw_are_marked(truth: Path, picks: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "picks.csv").write_text(picks.read_text())
    run_record = {"shape_zyx": SHAPE, "spacing_zyx_angstrom": [SPACING] * 3, "origin_zyx_angstrom": [0, 0, 0]}
    runs = [{"run": name, "in_sample": True, **run_record} for name in RUNS]
    (folder / "run.json").write_text(json.dumps({"made_by": "cryofind pick", "runs": runs}))
    code, text, _ = run("score", folder, truth, "--failures", "--in-sample")
    assert code == 0
    assert "\nFailures  in-sample\n" in text
