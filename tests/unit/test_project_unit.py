"""Projects of every kind: what is found, selected and read."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.errors import NameRefused, PicksError, ProjectError, TomogramError
from cryofind.io import (
    Project,
    open_project,
    picks_json_path,
    read_tomogram,
    segmentation_zarr_path,
    tomogram_zarr_path,
    write_copick_config,
    write_mrc,
)
from cryofind.types import Tomogram, VoxelGrid
from tests.copick_projects import GRID, OBJECTS, VOLUME, add_picks, add_tomogram, write_copick_project


@pytest.fixture
def copick(tmp_path: Path) -> Path:
    return write_copick_project(tmp_path)


def test_copick_project_is_found_whole(copick: Path) -> None:
    project = open_project(copick)
    assert (project.name, project.kind, project.path) == ("demo", "copick", copick)
    assert project.objects == OBJECTS
    assert project.runs == ("TS_1", "TS_2")
    assert (project.overlay_root, project.static_root) == (copick.parent / "overlay", copick.parent / "static")
    assert [(entry.run, entry.uri) for entry in project.tomograms] == [
        ("TS_1", "denoised@10.012"),
        ("TS_1", "wbp@10.012"),
        ("TS_1", "wbp@20.000"),
        ("TS_2", "denoised@10.012"),
        ("TS_2", "wbp@10.012"),
    ]
    assert [entry.uri for entry in project.segmentations] == [
        "membrane:cryofind/1@10.012",
        "predict:cryofind/1@10.012?multilabel=true",
    ]
    assert [(entry.run, entry.uri) for entry in project.picks_entries] == [
        ("TS_1", "ribosome:curation/0"),
        ("TS_2", "ribosome:curation/0"),
    ]


def test_folder_with_one_configuration_is_the_project(copick: Path) -> None:
    assert open_project(copick.parent).name == "demo"
    copick.rename(copick.with_name("other.json"))
    (copick.parent / "notes.json").write_text("[]")
    (copick.parent / "broken.json").write_text("{")
    assert open_project(str(copick.parent)).name == "demo"
    shutil.copy(copick.with_name("other.json"), copick.with_name("third.json"))
    with pytest.raises(ProjectError, match=r"several copick configurations \(other.json, third.json\)"):
        open_project(copick.parent)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("", 5),
        ("*", 5),
        ("wbp", 3),
        ("wbp@*", 3),
        ("wbp@10.012", 2),
        ("w*@20", 1),
        ("*@10.0*", 4),
        ("re:wbp|denoised@10\\.012", 4),
        (" denoised ", 2),
    ],
)
def test_tomograms_are_selected_by_uri(copick: Path, uri: str, found: int) -> None:
    assert len(open_project(copick).select_tomograms(uri)) == found


def test_selection_by_run_and_what_matches_nothing(copick: Path) -> None:
    project = open_project(copick)
    assert [entry.run for entry in project.select_tomograms("wbp@10.012", runs=["TS_2"])] == ["TS_2"]
    with pytest.raises(ProjectError, match="did you mean 'TS_1'"):
        project.select_tomograms(runs=["ts_1"])
    with pytest.raises(ProjectError, match=r"'isonet': matches nothing; found: denoised@10.012, wbp@10.012, wbp@20.0"):
        project.select_tomograms("isonet")
    for uri in ("a:b", "re:(", "wbp@re:("):
        with pytest.raises(ProjectError):
            project.select_tomograms(uri)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("", 2),
        ("predict", 1),
        ("*:cryofind/1", 2),
        ("*:cryofind@10.012", 2),
        ("*?multilabel=true", 1),
        ("*:*/*@*?multilabel=no", 1),
    ],
)
def test_segmentations_are_selected_by_uri(copick: Path, uri: str, found: int) -> None:
    assert len(open_project(copick).select_segmentations(uri)) == found


def test_segmentations_are_read_with_their_labels(copick: Path) -> None:
    project = open_project(copick)
    names = {1: "ribosome", 2: "membrane"}
    multilabel = project.select_segmentations("predict")[0].read(names)
    np.testing.assert_array_equal(multilabel.labels_zyx, VOLUME > 0)
    membrane = project.select_segmentations("membrane")[0].read(names)
    np.testing.assert_array_equal(membrane.labels_zyx, 2 * (VOLUME > 0))
    mask = project.select_segmentations("membrane")[0].read({})
    np.testing.assert_array_equal(mask.labels_zyx, VOLUME > 0)
    with pytest.raises(ProjectError, match="matches nothing"):
        project.select_segmentations("nothing")


def test_picks_are_read_by_run_and_uri(copick: Path) -> None:
    project = open_project(copick)
    assert len(project.read_picks()) == 4
    picks = project.read_picks("ribosome:cur*", runs=["TS_2"])
    assert picks.run_names == ("TS_2",)
    np.testing.assert_allclose(picks.positions_zyx_angstrom, np.arange(6).reshape(2, 3))
    with pytest.raises(ProjectError, match="found: ribosome:curation/0"):
        project.read_picks("apo-ferritin")
    with pytest.raises(ProjectError, match="more than one ':'"):
        project.read_picks("a:b:c")


def test_picks_of_two_users_are_no_truth_unless_asked_for(copick: Path) -> None:
    add_picks(copick.parent / "overlay", "TS_1", user="cryofind", count=5)
    project = open_project(copick)
    with pytest.raises(PicksError, match=r"several picks of 'ribosome'.*'\*:curation/0'"):
        project.read_picks()
    assert len(project.read_picks("*:curation")) == 4
    assert len(project.read_picks("*")) == 9


def test_overlay_hides_the_static_root(copick: Path) -> None:
    path = add_tomogram(copick.parent / "overlay", "TS_1")
    add_picks(copick.parent / "static", "TS_1", count=9)
    project = open_project(copick)
    assert project.select_tomograms("wbp@10.012", runs=["TS_1"])[0].path == path
    assert len(project.tomograms) == 5
    assert len(project.read_picks(runs=["TS_1"])) == 2


def test_names_come_from_the_layout_and_spacing_from_the_metadata(copick: Path) -> None:
    project = open_project(copick)
    entry = project.select_tomograms("wbp@20", runs=["TS_1"])[0]
    tomogram = entry.read()
    assert (tomogram.run, tomogram.flavour, tomogram.grid) == ("TS_1", "wbp", GRID)
    assert tomogram.notes == ("the folder says 20.000 A per voxel, 10.012 A is used",)
    assert entry.read_grid() == GRID
    assert read_tomogram(entry.path).run == "TS_1"
    assert entry.read(voxel_spacing_angstrom=20.0).grid.spacing_angstrom == 20.0


def test_grid_of_run(copick: Path) -> None:
    project = open_project(copick)
    assert project.grid_of_run("TS_1") == GRID
    shutil.rmtree(copick.parent / "static/ExperimentRuns/TS_1/VoxelSpacing10.012/denoised.zarr/0")
    assert project.grid_of_run("TS_1") == GRID
    add_picks(copick.parent / "overlay", "TS_3")
    assert open_project(copick).grid_of_run("TS_3") is None
    with pytest.raises(ProjectError, match="is not there"):
        project.grid_of_run("TS_9")


def test_what_is_not_for_us_is_skipped(copick: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = copick.parent / "static/ExperimentRuns"
    elsewhere = copick.parent / "elsewhere"
    for path in (
        runs / ".partial/VoxelSpacing10.012/a.zarr",
        runs / "@eaDir",
        runs / "TS_1/VoxelSpacing10.012/.wbp.zarr.partial.1",
        runs / "TS_1/VoxelSpacing10.012/wbp_pca_features.zarr",
        runs / "TS_1/VoxelSpacing10.012/notes",
        runs / "TS_1/VoxelSpacingX/b.zarr",
        runs / "TS_1/Segmentations/odd.zarr",
        elsewhere / "wbp.zarr",
    ):
        path.mkdir(parents=True)
    (runs / "readme.txt").write_text("")
    (runs / "TS_1/VoxelSpacing10.012/linked.zarr").symlink_to(elsewhere / "wbp.zarr")
    (runs / "TS_1/VoxelSpacing10.012/inside.zarr").symlink_to(runs / "TS_1/VoxelSpacing10.012/wbp.zarr")
    (runs / "TS_1/VoxelSpacing10.012/loop.zarr").symlink_to(runs / "TS_1/VoxelSpacing10.012/loop.zarr")
    (runs / "TS_9").symlink_to(elsewhere)
    (runs / "TS_1/Picks").mkdir()
    for name in ("a_b", "a_b_c_d", "curation_0_con", "curation_0_x y"):
        (runs / f"TS_1/Picks/{name}.json").write_text("{}")
    with caplog.at_level(logging.WARNING, logger="cryofind"):
        project = open_project(copick)
    assert project.runs == ("TS_1", "TS_2")
    assert len(project.tomograms) == 6
    assert {entry.flavour for entry in project.tomograms} == {"wbp", "denoised", "inside"}
    assert len(project.picks_entries) == 2
    skipped = "\n".join(caplog.messages)
    for name in ("@eaDir", "linked.zarr", "TS_9", "a_b.json", "a_b_c_d.json", "curation_0_con.json", "x y.json"):
        assert name in skipped


def test_runs_that_differ_in_case_only_are_refused(copick: Path) -> None:
    add_tomogram(copick.parent / "overlay", "ts_1")
    with pytest.raises(ProjectError, match="cannot be told from"):
        open_project(copick)


def test_folders_that_may_not_be_read_are_refused(copick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(ProjectError, match=r"cannot be listed .Permission denied"):
        open_project(copick)
    monkeypatch.setattr("cryofind.io.project.is_zarr", refuse)
    with pytest.raises(ProjectError, match=r"cannot be read .Permission denied"):
        open_project(copick.parent)


def test_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "picks.json").write_text('{"points": []}')
    for name, message in (
        ("empty", "holds no tomograms and no project"),
        ("missing", "does not exist"),
        ("a.txt", "neither a tomogram nor a project"),
        ("picks.json", "no 'pickable_objects'"),
    ):
        with pytest.raises(ProjectError, match=message):
            open_project(tmp_path / name)
    write_mrc(tmp_path / "=1+1.mrc", Tomogram("x", VOLUME, GRID))
    with pytest.raises(NameRefused):
        open_project(tmp_path / "=1+1.mrc")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", "x" * 300, "a b", "nul"])
def test_paths_are_built_from_safe_names_only(tmp_path: Path, name: str) -> None:
    builds: tuple[Callable[[], Path], ...] = (
        lambda: tomogram_zarr_path(tmp_path, "TS_1", 10.0, name),
        lambda: segmentation_zarr_path(tmp_path, "TS_1", 10.0, "u", "1", name),
        lambda: segmentation_zarr_path(tmp_path, "TS_1", 10.0, name, "1", "n"),
        lambda: picks_json_path(tmp_path, "TS_1", "u", name, "n"),
    )
    for build in builds:
        with pytest.raises(NameRefused):
            build()


def test_external_project(shared_data: Path) -> None:
    project: Project = open_project(shared_data / "external")
    assert project.runs == ("EXT_1",)
    assert {spec.name: spec.score_weight for spec in project.objects}["thyroglobulin"] == 2
    counts = {name: len(project.read_picks(name)) for name in project.read_picks().object_names}
    assert counts == {
        "apo-ferritin": 42,
        "beta-galactosidase": 28,
        "ribosome": 22,
        "thyroglobulin": 27,
        "virus-like-particle": 10,
    }
    for flavour in ("denoised", "wbp", "filtered"):
        (entry,) = project.select_tomograms(flavour)
        assert entry.read_grid() == VoxelGrid.isotropic((120, 320, 320), 10.0)
    tomogram = project.select_tomograms("wbp@10")[0].read()
    assert np.isfinite(tomogram.volume_zyx).all()


def test_czii_metadata_without_voxels(shared_data: Path, tmp_path: Path) -> None:
    write_copick_config(
        tmp_path / "copick.json",
        name="czii",
        objects=czii.OBJECTS,
        overlay_root=shared_data / "czii/overlay",
        static_root=shared_data / "czii/static_metadata",
    )
    project = open_project(tmp_path)
    assert project.runs == ("TS_5_4",)
    assert len(project.read_picks()) == 140
    assert project.grid_of_run("TS_5_4") is None
    with pytest.raises(TomogramError, match="level 2: 0 of 1 chunks"):
        project.tomograms[0].read()
