"""What `info` says."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryofind.errors import CryofindError
from cryofind.io import (
    describe_path,
    diagnose_tomogram,
    format_description,
    picks_json_path,
    write_copick_config,
    write_mrc,
    write_picks_json,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.io.layout import segmentation_zarr_path, tomogram_zarr_path
from cryofind.types import LabelVolume, ParticleSpec, Picks, Tomogram, VoxelGrid

GRID = VoxelGrid((4, 6, 8), (10.0, 10.0, 10.001))
VOLUME = np.random.default_rng(2).normal(size=GRID.shape_zyx)


def test_findings_of_a_sound_tomogram() -> None:
    findings = diagnose_tomogram(Tomogram("a", VOLUME, GRID, notes=("a note",)))
    low, high, mean, deviation = VOLUME.min(), VOLUME.max(), VOLUME.mean(), VOLUME.std()
    assert findings == (
        "4 x 6 x 8 voxels (z, y, x) of type float64",
        "voxel spacing 10, 10, 10.001 A",
        f"grey values {low:.4g} to {high:.4g}, mean {mean:.4g}, deviation {deviation:.4g}",
        "a note",
    )


def test_findings_of_damaged_tomograms() -> None:
    def diagnose(volume: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
        return "\n".join(diagnose_tomogram(Tomogram("a", volume, GRID)))

    holes = VOLUME.copy()
    holes[0, 0, 0], holes[1] = np.nan, np.inf
    assert "49 voxels (25.5 %) are NaN or infinite" in diagnose(holes)
    assert "1 of 4 sections are constant" in diagnose(holes)
    assert "constant: every voxel is 3" in diagnose(np.full(GRID.shape_zyx, 3.0))
    assert "no voxel is a finite number" in diagnose(np.full(GRID.shape_zyx, np.nan))


def test_findings_about_the_grid() -> None:
    tall = Tomogram("a", VOLUME.reshape(12, 4, 4), VoxelGrid.isotropic((12, 4, 4), 10.012))
    findings = "\n".join(diagnose_tomogram(tall, folder_spacing_angstrom=10.0))
    assert "z is the longest axis" in findings
    assert "the folder says 10.000 A" in findings


def test_integers_are_measured_too() -> None:
    volume = np.arange(192, dtype=np.int16).reshape(GRID.shape_zyx)
    assert "grey values 0 to 191, mean 95.5" in "\n".join(diagnose_tomogram(Tomogram("a", volume, GRID)))


def test_single_tomograms_and_picks_are_described(tmp_path: Path) -> None:
    tomogram = Tomogram("a", VOLUME, GRID)
    write_mrc(tmp_path / "a.mrc", tomogram)
    write_tomogram_zarr(tmp_path / "a.zarr", tomogram, levels=2)
    picks = Picks.build("TS_1", "ribosome", [[1, 2, 3]])
    write_picks_json(tmp_path / "ribosome.json", picks, user="curation", session="0")
    picks.to_csv(tmp_path / "picks.csv")
    for name, expected in (
        ("a.mrc", "level a.mrc: 4 x 6 x 8 float32"),
        ("a.zarr", "level 1: 2 x 3 x 4 float32, spacing 20, 20, 20.002 A, 1 of 1 chunks"),
        ("ribosome.json", "1 pick in TS_1: ribosome 1"),
        ("picks.csv", "1 pick in TS_1: ribosome 1"),
    ):
        description = describe_path(tmp_path / name)
        json.dumps(description)
        assert any(expected in line for line in format_description(description))
        assert description["problems"] == []


def test_damaged_tomograms_are_described_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_bytes(b"x" * 50)
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), levels=1)
    (tmp_path / "a.zarr/0/0/0/0").unlink()
    assert "an MRC header has 1024" in format_description(describe_path(tmp_path / "a.mrc"))[-1]
    lines = format_description(describe_path(tmp_path / "a.zarr"))
    assert any("0 of 1 chunks" in line for line in lines)
    assert lines[-1].startswith("problem: ")
    with pytest.raises(CryofindError, match="does not exist"):
        describe_path(tmp_path / "missing")


def test_project_is_described(tmp_path: Path) -> None:
    objects = (ParticleSpec("ribosome", 150.0, 1), ParticleSpec("membrane", None, 2, is_particle=False))
    write_copick_config(tmp_path / "copick.json", name="demo", objects=objects, overlay_root=tmp_path)
    for run in ("TS_1", "TS_2"):
        write_tomogram_zarr(tomogram_zarr_path(tmp_path, run, 10.0, "wbp"), Tomogram(run, VOLUME, GRID))
        picks = Picks.build(run, "ribosome", [[1, 2, 3]] * 2)
        write_picks_json(
            picks_json_path(tmp_path, run, "curation", "0", "ribosome"), picks, user="curation", session="0"
        )
    labels = LabelVolume("TS_1", np.zeros(GRID.shape_zyx, np.uint8), GRID, {})
    write_segmentation_zarr(segmentation_zarr_path(tmp_path, "TS_1", 10.0, "u", "1", "membrane"), labels)
    lines = format_description(describe_path(tmp_path))
    assert lines == [
        f"copick {tmp_path / 'copick.json'}",
        "2 objects: ribosome (radius 150 A), membrane",
        "2 runs: TS_1, TS_2",
        "tomogram wbp@10.000: 2 runs, 4 x 6 x 8 voxels (z, y, x), spacing 10, 10, 10.001 A",
        "segmentation membrane:u/1@10.000?multilabel=true: 1 run",
        "picks of curation/0: 4 (ribosome 4)",
    ]
    (tomogram_zarr_path(tmp_path, "TS_1", 10.0, "wbp") / "0/0/0/0").unlink()
    (tomogram_zarr_path(tmp_path, "TS_2", 10.0, "wbp") / "0/.zarray").unlink()
    picks_json_path(tmp_path, "TS_1", "curation", "0", "ribosome").write_text("{")
    problems = describe_path(tmp_path)["problems"]
    assert len(problems) == 3
    assert any("0 of 1 chunks" in problem for problem in problems)


def test_czii_metadata_without_voxels_are_described(shared_data: Path) -> None:
    lines = "\n".join(format_description(describe_path(shared_data / "czii/static_metadata")))
    assert "spacing 10.0124 A" in lines
    assert "level 2: 0 of 1 chunks" in lines
