"""Projects that are no copick project: the challenge's folders, and loose files."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cryofind import czii
from cryofind.errors import ProjectError
from cryofind.io import open_project, write_mrc, write_tomogram_zarr
from cryofind.types import Tomogram
from tests.copick_projects import GRID, VOLUME, add_picks, add_tomogram


def kaggle(root: Path, *, parts: Sequence[str] = ("train",)) -> Path:
    for part in parts:
        runs = ("TS_5_4", "TS_6_4") if part == "train" else ("TS_5_4", "TS_99")
        for run in runs:
            add_tomogram(root / part / "static", run, "denoised", 10.0)
    for run in ("TS_5_4", "TS_6_4"):
        path = add_picks(root / "train/overlay", run, "apo-ferritin")
        path.rename(path.with_name("apo-ferritin.json"))
    return root


def test_kaggle_layout_is_found_at_every_depth(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data")
    for path in (root, root / "train"):
        project = open_project(path)
        assert (project.kind, project.objects) == ("kaggle", czii.OBJECTS)
        assert project.runs == ("TS_5_4", "TS_6_4")
        assert [entry.uri for entry in project.tomograms] == ["denoised@10.000"] * 2
        assert project.read_picks().object_names == ("apo-ferritin",)
        assert [entry.uri for entry in project.picks_entries] == ["apo-ferritin:curation/0"] * 2
        assert (project.overlay_root, project.static_root) == (root / "train/overlay", root / "train/static")
    static = open_project(root / "train/static")
    assert (static.runs, len(static.tomograms), static.picks_entries) == (("TS_5_4", "TS_6_4"), 2, ())


def test_kaggle_train_and_test_are_never_mixed(tmp_path: Path) -> None:
    root = kaggle(tmp_path, parts=("train", "test"))
    with pytest.raises(ProjectError, match="both train and test"):
        open_project(root)
    assert "TS_99" in open_project(root / "test").runs
    assert "TS_99" not in open_project(root / "train").runs


def test_kaggle_file_is_hidden_by_the_same_picks_with_a_prefix(tmp_path: Path) -> None:
    root = kaggle(tmp_path)
    add_picks(root / "train/overlay", "TS_5_4", "apo-ferritin", count=7)
    assert len(open_project(root).read_picks(runs=["TS_5_4"])) == 7


def test_loose_files_and_single_ones(tmp_path: Path) -> None:
    tomogram = Tomogram("x", VOLUME, GRID)
    write_mrc(tmp_path / "TS_2.rec", tomogram)
    write_mrc(tmp_path / "TS_1.mrc", tomogram)
    write_tomogram_zarr(tmp_path / "TS_3.ome.zarr", tomogram)
    (tmp_path / "readme.txt").write_text("")
    (tmp_path / ".TS_9.mrc").write_text("")
    project = open_project(tmp_path)
    assert (project.kind, project.objects, project.runs) == ("folder", (), ("TS_1", "TS_2", "TS_3"))
    for entry in project.select_tomograms():
        assert entry.read().grid.spacing_angstrom == pytest.approx(10.012)
        assert entry.uri == ""
        single = open_project(entry.path)
        assert (single.kind, single.runs, single.tomograms[0].path) == ("tomogram", (entry.run,), entry.path)
    assert len(project.read_picks()) == 0
    write_mrc(tmp_path / "ts_2.mrc", tomogram)
    with pytest.raises(ProjectError, match="cannot be told from"):
        open_project(tmp_path)
