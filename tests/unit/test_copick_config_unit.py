"""Configurations of copick: where roots lead, what is refused, what other programs write."""

import json
from pathlib import Path
from typing import Any

import pytest

from cryofind.errors import ProjectError
from cryofind.io import open_project, write_copick_config
from cryofind.io.copick import point_copick_config
from cryofind.types import ParticleSpec
from tests.copick_projects import OBJECTS, write_copick_project


@pytest.fixture
def copick(tmp_path: Path) -> Path:
    return write_copick_project(tmp_path)


def test_relative_roots_start_at_the_configuration(copick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(copick.read_text())
    expected = open_project(copick)
    monkeypatch.chdir(copick.parent)
    for overlay, static in (
        ("overlay", "./static/"),
        ("local://overlay", "local://static"),
        (f"file://{copick.parent}/overlay", f"{copick.parent}/static"),
    ):
        copick.write_text(json.dumps(document | {"overlay_root": overlay, "static_root": static}))
        for path in (copick, Path("copick.json")):
            project = open_project(path)
            assert project.runs == expected.runs
            assert [entry.path.resolve() for entry in project.tomograms] == [e.path for e in expected.tomograms]


def test_one_root_is_enough_and_the_overlay_may_not_exist_yet(copick: Path) -> None:
    document = json.loads(copick.read_text())
    del document["static_root"]
    copick.write_text(json.dumps(document))
    assert open_project(copick).tomograms == ()
    document = document | {"overlay_root": "new", "static_root": "static"}
    copick.write_text(json.dumps(document))
    assert len(open_project(copick).tomograms) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config_type": "cryoet_data_portal"}, "config_type: is 'cryoet_data_portal'"),
        ({"overlay_root": "s3://bucket/x"}, "is on 's3://'"),
        ({"static_root": "ssh://host/x"}, "static_root: is on 'ssh://'"),
        ({"overlay_root": None}, "overlay_root: is missing"),
        ({"overlay_root": 7}, "overlay_root: is '7'"),
        ({"overlay_root": "gone", "static_root": None}, "is not a folder; mend the path"),
        ({"overlay_root": "a\0b"}, "expected a path"),
        ({"pickable_objects": 7}, "pickable_objects: is not a list"),
        ({"pickable_objects": [{"label": 1}]}, r"pickable_objects\[0\].name: is 'None'"),
        ({"pickable_objects": [{"name": "beta_x", "radius": 1}]}, "call it 'beta-x'"),
        ({"pickable_objects": [{"name": "..", "radius": 1}]}, "reserved by file systems"),
        ({"pickable_objects": [{"name": "a"}]}, "radius"),
        ({"pickable_objects": [{"name": "a", "radius": "big"}]}, "radius: is 'big', expected a number"),
        ({"pickable_objects": [{"name": "a", "radius": 10**400}]}, "radius: is out of range"),
        ({"pickable_objects": [{"name": "a", "radius": -1}]}, "positive"),
        ({"pickable_objects": [{"name": "a", "radius": 1, "label": 0}]}, "label"),
        ({"pickable_objects": [{"name": "a", "radius": 1, "label": "1"}]}, "expected a whole number"),
        ({"pickable_objects": [{"name": "a", "radius": 1, "color": [1, 2, 300, 4]}]}, "color"),
        ({"pickable_objects": [{"name": "a", "radius": 1, "metadata": 7}]}, "metadata: is not an object"),
        ({"pickable_objects": [{"name": "a", "radius": 1, "metadata": {"weight": "x"}}]}, "metadata.weight: is 'x'"),
        ({"pickable_objects": [{"name": "a", "radius": 1}] * 2}, "name 'a' is there twice"),
        ({"pickable_objects": [{"name": "a", "radius": 1}, {"name": "b", "radius": 1}]}, "label 1 is there twice"),
    ],
)
def test_configurations_that_make_no_sense_are_refused_by_field(
    copick: Path, change: dict[str, Any], message: str
) -> None:
    copick.write_text(json.dumps(json.loads(copick.read_text()) | change))
    with pytest.raises(ProjectError, match=message) as caught:
        open_project(copick)
    assert str(copick) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_configuration_of_other_programs_is_read(copick: Path) -> None:
    objects = [
        {"name": "a", "is_particle": True, "radius": 60, "label": 3, "color": [1, 2, 3], "metadata": {"weight": 0}},
        {"name": "b", "is_particle": False, "label": 9, "go_id": "GO:1", "pdb_id": None},
        {"name": "c", "radius": 90.5, "metadata": {"score_weight": 2, "weight": 1, "score_threshold": 0.3, "x": 1}},
    ]
    document = json.loads(copick.read_text()) | {"pickable_objects": objects, "future": {"key": 1}, "name": None}
    del document["config_type"]
    copick.write_text(json.dumps(document))
    project = open_project(copick)
    assert project.name == "copick"
    assert project.objects == (
        ParticleSpec("a", 60.0, 3, (1, 2, 3, 255), 0.0),
        ParticleSpec("b", None, 9, is_particle=False),
        ParticleSpec("c", 90.5, 1, score_weight=2.0, score_threshold=0.3),
    )


def test_comments_in_the_configuration_get_advice(copick: Path) -> None:
    copick.write_text("{\n  // my project\n" + copick.read_text()[1:])
    with pytest.raises(ProjectError, match="JSON allows no comments"):
        open_project(copick)


def test_a_moved_project_is_read_where_it_lies(copick: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = copick.parent / "static/copick.json"
    write_copick_config(moved, name="x", objects=OBJECTS, overlay_root="/gone/away")
    project = open_project(moved)
    assert project.overlay_root == moved.parent
    assert project.tomograms
    assert all(entry.path.is_relative_to(moved.parent) for entry in project.tomograms)
    assert "overlay_root '/gone/away' is not there; the ExperimentRuns beside it is read" in caplog.text


def test_a_root_that_is_gone_needs_advice(tmp_path: Path) -> None:
    write_copick_config(tmp_path / "copick.json", name="x", objects=OBJECTS, overlay_root="/gone/away")
    with pytest.raises(ProjectError, match="'/gone/away' is not a folder; mend the path"):
        open_project(tmp_path)


def test_a_copied_configuration_that_reads_the_original_says_so(copick: Path, caplog: pytest.LogCaptureFixture) -> None:
    copied = copick.parent / "static/copick.json"
    (copick.parent / "other").mkdir()
    write_copick_config(copied, name="x", objects=OBJECTS, overlay_root=copick.parent / "other")
    open_project(copied)
    assert f"reads {copick.parent / 'other'}, not the ExperimentRuns beside it" in caplog.text
    caplog.clear()
    point_copick_config(copied, copied.parent)
    assert open_project(copied).tomograms
    assert not caplog.text
