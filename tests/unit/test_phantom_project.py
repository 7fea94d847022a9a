"""A project of phantoms, read back."""

from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.errors import NameRefused
from cryofind.io import open_project
from cryofind.testing import make_phantom, write_phantom_project

SHAPE_ZYX = (25, 80, 72)


def test_project_reads_back_as_the_phantoms(tmp_path: Path) -> None:
    configuration = write_phantom_project(tmp_path / "project", runs=("TS_1", "TS_2"), seed=5, shape_zyx=SHAPE_ZYX)
    project = open_project(configuration)
    assert project.runs == ("TS_1", "TS_2")
    assert project.objects == czii.OBJECTS
    phantom = make_phantom(seed=(5, 1), shape_zyx=SHAPE_ZYX, run="TS_2")
    (entry,) = project.select_tomograms("denoised", runs=("TS_2",))
    tomogram = entry.read()
    np.testing.assert_array_equal(np.asarray(tomogram.volume_zyx), phantom.tomogram.volume_zyx)
    assert tomogram.grid == phantom.tomogram.grid
    picks = project.read_picks(runs=("TS_2",))
    assert len(picks) == len(phantom.picks)
    for name in phantom.picks.object_names:
        expected = phantom.picks.of_object(name)
        found = picks.of_object(name)
        np.testing.assert_allclose(found.positions_zyx_angstrom, expected.positions_zyx_angstrom, atol=1e-3)
        assert found.rotations_zyx is not None
        assert expected.rotations_zyx is not None
        np.testing.assert_allclose(found.rotations_zyx, expected.rotations_zyx, atol=1e-6)
    (segmentation,) = project.select_segmentations("particles", runs=("TS_2",))
    labels = segmentation.read({spec.label: spec.name for spec in czii.OBJECTS})
    np.testing.assert_array_equal(labels.labels_zyx, phantom.labels.labels_zyx)


def test_same_seed_same_project_and_runs_differ(tmp_path: Path) -> None:
    projects = [
        open_project(write_phantom_project(tmp_path / name, runs=("TS_1", "TS_2"), seed=seed, shape_zyx=(20, 64, 64)))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, second, other = (project.read_picks().positions_zyx_angstrom for project in projects)
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)
    volumes = [np.asarray(entry.read().volume_zyx) for entry in projects[0].select_tomograms()]
    assert not np.array_equal(volumes[0], volumes[1])


def test_unsafe_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NameRefused):
        write_phantom_project(tmp_path, runs=("../up",), shape_zyx=(20, 48, 48))
