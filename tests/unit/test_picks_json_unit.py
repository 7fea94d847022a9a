"""Picks as copick JSON."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cryofind.errors import NameRefused
from cryofind.io.picks_json import picks_json_path, read_picks_json, write_picks_json, write_picks_overlay
from cryofind.types import Picks

QUARTER_ABOUT_Z_XYZ = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def document(**changes: object) -> dict[str, object]:
    identity = np.eye(4).tolist()
    return {
        "pickable_object_name": "ribosome",
        "user_id": "curation",
        "session_id": "0",
        "run_name": "TS_1",
        "voxel_spacing": None,
        "unit": "angstrom",
        "points": [{"location": {"x": 100.0, "y": 50, "z": 20.0}, "transformation_": identity, "instance_id": 0}],
        "trust_orientation": True,
        **changes,
    }


def test_layout_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "picks.json"
    picks = Picks.build("TS_1", "ribosome", [[20.0, 50.0, 100.0]], scores=[0.87])
    write_picks_json(path, picks, user="cryofind", session="1", voxel_spacing_angstrom=10.012)
    expected = {
        "pickable_object_name": "ribosome",
        "user_id": "cryofind",
        "session_id": "1",
        "run_name": "TS_1",
        "voxel_spacing": 10.012,
        "unit": "angstrom",
        "trust_orientation": False,
        "points": [
            {
                "location": {"x": 100.0, "y": 50.0, "z": 20.0},
                "transformation_": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
                "instance_id": 0,
                "score": 0.87,
            }
        ],
    }
    text = path.read_text()
    assert json.loads(text) == expected
    assert list(json.loads(text)) == list(expected)


def test_read_adds_the_translation_and_keeps_rotations(tmp_path: Path) -> None:
    transform = np.eye(4)
    transform[:3, :3] = QUARTER_ABOUT_Z_XYZ
    transform[:3, 3] = [1, 2, 3]
    points = [{"location": {"x": 100, "y": 50, "z": 20}, "transformation_": transform.tolist(), "score": 0.5}]
    path = tmp_path / "picks.json"
    path.write_text(json.dumps(document(points=points)))
    picks = read_picks_json(path)
    np.testing.assert_allclose(picks.positions_zyx_angstrom, [[23, 52, 101]])
    assert picks.rotations_zyx is not None
    # The particle's x axis points along the tomogram's y axis.
    np.testing.assert_allclose(picks.rotations_zyx[0] @ [0, 0, 1], [0, 1, 0])
    path.write_text(json.dumps(document(points=points, trust_orientation=False)))
    assert read_picks_json(path).rotations_zyx is None
    np.testing.assert_allclose(read_picks_json(path).positions_zyx_angstrom, [[23, 52, 101]])


def test_missing_options_have_copicks_defaults(tmp_path: Path) -> None:
    path = tmp_path / "picks.json"
    content = document(points=[{"location": {"x": 1, "y": 2, "z": 3}, "colour": "red"}], extra={"kept": 1})
    del content["trust_orientation"], content["voxel_spacing"]
    path.write_text("\ufeff" + json.dumps(content, indent=1).replace("\n", "\r\n"))
    picks = read_picks_json(path)
    assert picks.scores.tolist() == [1.0]
    assert picks.selected.all()
    assert picks.rotations_zyx is None
    named = read_picks_json(path, run="TS_2", object_name="apo-ferritin")
    assert (named.run_names, named.object_names) == (("TS_2",), ("apo-ferritin",))


def test_no_points(tmp_path: Path) -> None:
    path = tmp_path / "picks.json"
    write_picks_json(path, Picks.empty(), user="me", session="0", run="TS_1", object_name="ribosome")
    assert len(read_picks_json(path)) == 0
    with pytest.raises(ValueError, match="picks of one run expected"):
        write_picks_json(path, Picks.empty(), user="me", session="0")
    two = Picks.build(["TS_1", "TS_2"], "ribosome", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"found .'TS_1', 'TS_2'."):
        write_picks_json(path, two, user="me", session="0")


def test_overlay(tmp_path: Path) -> None:
    picks = Picks.build(["TS_1", "TS_2", "TS_1"], ["ribosome", "ribosome", "apo-ferritin"], np.ones((3, 3)))
    paths = write_picks_overlay(
        tmp_path, picks, user="me", session="2", voxel_spacings={"TS_1": 10.0}, runs=["TS_2"], objects=["apo-ferritin"]
    )
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "ExperimentRuns/TS_1/Picks/me_2_apo-ferritin.json",
        "ExperimentRuns/TS_1/Picks/me_2_ribosome.json",
        "ExperimentRuns/TS_2/Picks/me_2_apo-ferritin.json",
        "ExperimentRuns/TS_2/Picks/me_2_ribosome.json",
    ]
    assert [len(read_picks_json(path)) for path in paths] == [1, 1, 0, 1]
    assert json.loads(paths[0].read_text())["voxel_spacing"] == 10.0
    assert json.loads(paths[2].read_text())["voxel_spacing"] is None


@pytest.mark.parametrize(
    ("run", "user", "session", "name"),
    [
        ("..", "u", "1", "a"),
        ("/etc", "u", "1", "a"),
        ("TS_1", "a_b", "1", "a"),
        ("TS_1", "u", "../1", "a"),
        ("TS_1", "u", "1", "a/b"),
        ("TS_1", "u", "1", "=cmd"),
        ("T\0S", "u", "1", "a"),
    ],
)
def test_unsafe_names_leave_nothing_behind(tmp_path: Path, run: str, user: str, session: str, name: str) -> None:
    picks = Picks.build(["A", run], ["a", name], np.ones((2, 3)))
    with pytest.raises(NameRefused):
        write_picks_overlay(tmp_path / "out", picks, user=user, session=session)
    with pytest.raises(NameRefused):
        picks_json_path(tmp_path, run, user, session, name)
    assert not (tmp_path / "out").exists()


def test_real_files_equal_the_table_of_the_challenge(shared_data: Path) -> None:
    folder = shared_data / "czii" / "overlay" / "ExperimentRuns" / "TS_5_4" / "Picks"
    with open(shared_data / "czii" / "train_picks.csv", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["experiment"] == "TS_5_4"]
    total = 0
    for path in sorted(folder.glob("*.json")):
        picks = read_picks_json(path)
        assert picks.run_names == ("TS_5_4",)
        assert picks.object_names == (path.stem,)
        expected = sorted(
            (float(row["z"]), float(row["y"]), float(row["x"])) for row in table if row["particle_type"] == path.stem
        )
        np.testing.assert_allclose(sorted(picks.positions_zyx_angstrom.tolist()), expected, atol=1e-9)
        assert picks.rotations_zyx is None
        total += len(picks)
    assert total == len(table) == 140


def test_real_files_of_another_writer(shared_data: Path) -> None:
    folder = shared_data / "external" / "ExperimentRuns" / "EXT_1" / "Picks"
    counts = {path.stem.split("_")[-1]: len(read_picks_json(path)) for path in folder.glob("*.json")}
    assert counts == {
        "apo-ferritin": 42,
        "beta-galactosidase": 28,
        "ribosome": 22,
        "thyroglobulin": 27,
        "virus-like-particle": 10,
    }
