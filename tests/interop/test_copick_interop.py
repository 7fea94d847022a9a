"""What cryofind writes, the copick package reads, and the other way round."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryofind import czii
from cryofind.coordinates import rotations_xyz_from_zyx, rotations_zyx_from_xyz, xyz_from_zyx
from cryofind.io import open_project
from cryofind.io.picks_json import write_picks_overlay
from cryofind.testing import make_phantom, write_phantom_project
from cryofind.types import Picks

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("run_in_copick.py")
SHAPE_ZYX = (25, 80, 72)
RUNS = ("TS_1", "TS_2")


def run_copick(action: str, place: Path) -> str:
    python = os.environ.get("CRYOFIND_COPICK_PYTHON")
    if not python:
        pytest.skip("CRYOFIND_COPICK_PYTHON does not name a python with copick (see tests/interop/README.md)")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    done = subprocess.run(
        [python, str(SCRIPT), action, str(place)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def seen_by_copick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ours")
    configuration = write_phantom_project(folder, runs=RUNS, seed=3, shape_zyx=SHAPE_ZYX)
    write_picks_overlay(folder, scored_picks(), user="cryofind", session="1", voxel_spacings={"TS_1": 10.012})
    seen: dict[str, Any] = json.loads(run_copick("read", configuration))
    return seen


def scored_picks() -> Picks:
    return Picks.build("TS_1", "ribosome", [[10.0, 20.0, 30.0], [1.5, 2.5, 3.5]], scores=[0.25, 0.875])


def test_copick_sees_our_runs_and_objects(seen_by_copick: dict[str, Any]) -> None:
    assert sorted(seen_by_copick["runs"]) == list(RUNS)
    for spec in czii.OBJECTS:
        seen = seen_by_copick["objects"][spec.name]
        assert seen["radius"] == spec.radius_angstrom
        assert seen["label"] == spec.label
        assert tuple(seen["color"]) == spec.color
        assert seen["is_particle"] is True


@pytest.mark.parametrize("number", [0, 1])
def test_copick_reads_our_truth_with_rotations(seen_by_copick: dict[str, Any], number: int) -> None:
    phantom = make_phantom(seed=(3, number), shape_zyx=SHAPE_ZYX, run=RUNS[number])
    lists = seen_by_copick["runs"][RUNS[number]]["picks"]
    seen = {entry["object"]: entry["points"] for entry in lists if entry["user"] == "curation"}
    for name in phantom.picks.object_names:
        rows = phantom.picks.of_object(name)
        np.testing.assert_allclose([p["xyz"] for p in seen[name]], xyz_from_zyx(rows.positions_zyx_angstrom), atol=1e-6)
        matrices = np.array([p["matrix"] for p in seen[name]])
        assert rows.rotations_zyx is not None
        np.testing.assert_allclose(matrices[:, :3, :3], rotations_xyz_from_zyx(rows.rotations_zyx), atol=1e-6)
        np.testing.assert_array_equal(matrices[:, :3, 3], 0.0)


def test_copick_reads_our_scores(seen_by_copick: dict[str, Any]) -> None:
    lists = [entry for entry in seen_by_copick["runs"]["TS_1"]["picks"] if entry["user"] == "cryofind"]
    assert [(entry["object"], entry["session"]) for entry in lists] == [("ribosome", "1")]
    assert [point["score"] for point in lists[0]["points"]] == [0.25, 0.875]
    assert [point["xyz"] for point in lists[0]["points"]] == [[30.0, 20.0, 10.0], [3.5, 2.5, 1.5]]


def test_copick_reads_our_tomogram_and_labels(seen_by_copick: dict[str, Any]) -> None:
    phantom = make_phantom(seed=(3, 1), shape_zyx=SHAPE_ZYX, run="TS_2")
    run = seen_by_copick["runs"]["TS_2"]
    (tomogram,) = run["tomograms"]
    volume = phantom.tomogram.volume_zyx
    assert (tomogram["type"], tomogram["spacing"], tomogram["shape"]) == ("denoised", 10.012, list(SHAPE_ZYX))
    assert tomogram["corner"] == pytest.approx(float(volume[1, 2, 3]))
    assert tomogram["mean"] == pytest.approx(float(volume.mean(dtype=np.float64)), abs=1e-6)
    (segmentation,) = run["segmentations"]
    assert segmentation["is_multilabel"] is True
    assert (segmentation["name"], segmentation["user"], segmentation["session"]) == ("particles", "curation", "0")
    values, counts = np.unique(phantom.labels.labels_zyx, return_counts=True)
    assert segmentation["counts"] == {str(v): int(c) for v, c in zip(values, counts, strict=True)}


def test_we_read_what_copick_writes(tmp_path: Path) -> None:
    run_copick("write", tmp_path / "theirs")
    project = open_project(tmp_path / "theirs" / "copick.json")
    assert project.runs == ("TS_1",)
    assert [(spec.name, spec.radius_angstrom, spec.is_particle) for spec in project.objects] == [
        ("ribosome", 150.0, True),
        ("membrane", None, False),
    ]
    (entry,) = project.select_tomograms("denoised@10.012")
    tomogram = entry.read()
    expected = np.arange(12 * 20 * 28, dtype=np.float32).reshape(12, 20, 28)
    np.testing.assert_array_equal(np.asarray(tomogram.volume_zyx), expected)
    assert tomogram.grid.spacing_zyx_angstrom == pytest.approx((10.012,) * 3)
    picks = project.read_picks("ribosome:tester/7")
    np.testing.assert_allclose(picks.positions_zyx_angstrom, [[20.0, 50.0, 100.0], [30.036, 20.024, 10.012]])
    assert picks.rotations_zyx is not None
    turn = rotations_zyx_from_xyz([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(picks.rotations_zyx, [np.eye(3), turn])
    (segmentation,) = project.select_segmentations("particles:tester/7")
    labels = segmentation.read({1: "ribosome", 2: "membrane"})
    assert segmentation.is_multilabel
    assert np.count_nonzero(labels.labels_zyx == 1) == 2 * 3 * 4
    assert np.count_nonzero(labels.labels_zyx == 2) == 20 * 28
