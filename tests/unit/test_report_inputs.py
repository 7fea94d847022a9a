"""Reports of projects and tomograms, and the truth that a project holds."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.io import open_project, write_mrc, write_picks_overlay, write_tomogram_zarr
from cryofind.pipeline.report_truth import find_project
from cryofind.testing import write_phantom_project
from cryofind.types import Picks
from tests.report_pages import open_page, report
from tests.result_folders import GRID, make_tomogram, write_result

# ---- the truth of the project that was picked ----


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_project(tmp_path_factory.mktemp("project"), runs=["P_1"], shape_zyx=(24, 48, 48))


def pick_the_truth(project: Path, folder: Path) -> Path:
    """Return a result that picked exactly what the project annotates."""
    opened = open_project(project)
    (entry,) = opened.tomograms
    truth = opened.read_picks("*:curation/0")
    write_result(folder, truth, tomograms=[entry.read()], specs=czii.OBJECTS)
    record = json.loads((folder / "run.json").read_text())
    record["runs"][0]["path"] = str(entry.path)
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_the_annotations_of_the_project_are_the_truth(project: Path, tmp_path: Path) -> None:
    folder = pick_the_truth(project, tmp_path / "result")
    _, document = report(folder)
    assert document["truth"] == str(project)
    assert all(rated["fp"] == rated["fn"] == 0 for rated in document["score"]["objects"].values())
    assert report(folder, with_truth=False)[1]["score"] is None


def test_two_annotators_are_no_truth_until_one_is_named(project: Path, tmp_path: Path) -> None:
    folder = pick_the_truth(project, tmp_path / "result")
    second = Picks.build("P_1", "ribosome", [[100, 100, 100]])
    write_picks_overlay(
        project.parent,
        second,
        user="other",
        session="1",
        voxel_spacings={"P_1": 10.012},
        runs=("P_1",),
        objects=["ribosome"],
    )
    try:
        _, document = report(folder)
        assert document["score"] is None
        assert any("--truth-uri" in line for line in document["warnings"])
        _, document = report(folder, truth_uri="*:curation/0")
        assert document["score"]["objects"]["ribosome"]["fp"] == 0
    finally:
        for path in project.parent.rglob("other_1_*.json"):
            path.unlink()


def test_a_project_is_found_only_if_it_holds_the_tomogram(project: Path, tmp_path: Path) -> None:
    (tomogram,) = project.parent.rglob("VoxelSpacing*/*.zarr")
    found = find_project(tomogram)
    assert found is not None
    assert found.path == project
    assert find_project(tmp_path / "ExperimentRuns" / "P_1" / "VoxelSpacing10.000" / "x.zarr") is None
    assert find_project(tmp_path / "x.mrc") is None


# ---- an input without picks ----


def test_an_input_shows_greys_spectrum_and_findings(project: Path, tmp_path: Path) -> None:
    out, document = report(project, out=tmp_path / "pages")
    assert document["kind"] == "input"
    page, numbers = open_page(out, document, "P_1")
    assert sum(numbers["grey_values"]["counts"]) > 1000
    assert len(numbers["spectrum"]["power"]) > 5
    assert any("voxel spacing" in line for line in numbers["findings"])
    assert sum(one["picks"] for one in numbers["objects"].values()) > 0
    assert len(page.data()["stacks"]) == 2


def test_a_single_file_is_an_input(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "TS_9.zarr", make_tomogram("TS_9"))
    out, document = report(tmp_path / "TS_9.zarr", out=tmp_path / "pages")
    _, numbers = open_page(out, document, "TS_9")
    assert numbers["shape_zyx"] == list(GRID.shape_zyx)
    assert numbers["objects"] == {}


@pytest.mark.parametrize("values", [(np.inf, np.inf), (np.inf, -np.inf), (np.nan, -np.inf)])
def test_voxels_that_are_no_numbers_do_not_stop_the_page(tmp_path: Path, values: tuple[float, float]) -> None:
    tomogram = make_tomogram("TS_9")
    volume = tomogram.volume_zyx.copy()
    volume[11:13, 20, 20] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the library that writes the file
        write_mrc(tmp_path / "TS_9.mrc", replace(tomogram, volume_zyx=volume))
    out, document = report(tmp_path / "TS_9.mrc", out=tmp_path / "pages")
    page, numbers = open_page(out, document, "TS_9")
    assert np.isfinite(numbers["spectrum"]["power"]).all()
    assert len(page.data()["stacks"]) == 2
