"""Picks JSON that is wrong: refused in one line that names the file and the field."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.errors import PicksError
from cryofind.io import text
from cryofind.io.picks_json import read_picks_json

IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
GOOD: dict[str, Any] = {
    "pickable_object_name": "ribosome",
    "user_id": "u",
    "session_id": "1",
    "run_name": "TS_1",
    "voxel_spacing": 10.0,
    "unit": "angstrom",
    "trust_orientation": True,
    "points": [
        {"location": {"x": 1.5, "y": 2.5, "z": 3.5}, "transformation_": IDENTITY, "instance_id": 0, "score": 0.5},
        {"location": {"x": 4.5, "y": 5.5, "z": 6.5}, "transformation_": IDENTITY, "instance_id": 0, "score": 0.25},
    ],
}
DELETED = object()


def changed(keys: list[str | int], value: object) -> str:
    content = copy.deepcopy(GOOD)
    target: Any = content
    for key in keys[:-1]:
        target = target[key]
    if value is DELETED:
        del target[keys[-1]]
    else:
        target[keys[-1]] = value
    return json.dumps(content)


TABLE: list[tuple[list[str | int], object, str, str]] = [
    (["points"], DELETED, "points", "is missing"),
    (["points"], None, "points", "is null, expected a list"),
    (["points"], {}, "points", "is an object"),
    (["points", 1], 7, r"points\[1\]", "is 7, expected an object"),
    (["points", 1, "location"], DELETED, r"points\[1\].location", "is missing"),
    (["points", 1, "location"], [1, 2, 3], r"points\[1\].location", r"is \[1, 2, 3\]"),
    (["points", 1, "location", "y"], DELETED, r"points\[1\].location.y", "is missing"),
    (["points", 1, "location", "y"], "5.5", r"points\[1\].location.y", 'is "5.5", expected a finite number'),
    (["points", 1, "location", "y"], True, r"points\[1\].location.y", "is true"),
    (["points", 1, "location", "y"], None, r"points\[1\].location.y", "is null"),
    (["points", 1, "location", "y"], float("nan"), r"points\[1\].location.y", "is NaN"),
    (["points", 1, "location", "y"], float("-inf"), r"points\[1\].location.y", "is -Infinity"),
    (["points", 1, "location", "y"], 10**400, r"points\[1\].location.y", "is a number beyond any length"),
    (["points", 0, "score"], "high", r"points\[0\].score", 'is "high"'),
    (["points", 0, "score"], float("nan"), r"points\[0\].score", "is NaN"),
    (["points", 0, "transformation_"], 1, r"points\[0\].transformation_", "is 1, expected 4 rows of 4"),
    (["points", 0, "transformation_"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "transformation_", "expected 4 rows"),
    (["points", 0, "transformation_", 2], [0, 0, 1, None], r"transformation_\[2\]\[3\]", "is null"),
    (["points", 0, "transformation_", 3], [0, 0, 0, 2], r"transformation_\[3\]", r"expected \[0, 0, 0, 1\]"),
    (["points", 0, "transformation_", 0], [2, 0, 0, 0], r"points\[0\].transformation_", "is no rotation"),
    (["points", 0, "transformation_", 0], [-1, 0, 0, 0], r"points\[0\].transformation_", "is no rotation"),
    (["points", 0, "transformation_", 0], [1e300, 0, 0, 0], r"points\[0\].transformation_", "is no rotation"),
    (["unit"], "nanometer", "unit", 'is "nanometer", expected "angstrom"'),
    (["unit"], DELETED, "unit", "is missing"),
    (["trust_orientation"], "yes", "trust_orientation", 'is "yes", expected true or false'),
    (["run_name"], DELETED, "run_name", "is missing"),
    (["run_name"], 7, "run_name", "is 7, expected a name"),
    (["run_name"], "../x", "run_name", "is '../x'"),
    (["pickable_object_name"], "beta_amylase", "pickable_object_name", "call it 'beta-amylase'"),
    (["pickable_object_name"], "", "pickable_object_name", "is empty"),
]


@pytest.mark.parametrize(("keys", "value", "field", "message"), TABLE)
def test_wrong_fields(tmp_path: Path, keys: list[str | int], value: object, field: str, message: str) -> None:
    path = tmp_path / "picks.json"
    path.write_text(changed(keys, value))
    with pytest.raises(PicksError, match=f"picks.json: .*{field}.*{message}") as caught:
        read_picks_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


CONTENTS: list[tuple[bytes, str]] = [
    (b"", "line 1, column 1: is not JSON"),
    (b'{"points": [', "line 1, column 13: is not JSON"),
    (b"[]", r"is \[\], expected an object"),
    (b'{"a": 1,\n"a": 2}', "picks.json: a: is given twice"),
    (b'{"points": [{"location": {"x": 1, "y": 2, "z": 3, "x": 4}}]}', "picks.json: x: is given twice"),
    (b"[" * 200_000, "nested too deeply"),
    (b'{"run_name": "\xff"}', "byte 14 is 0xff, which is not UTF-8"),
    (b'\xef\xbb\xbf{"run_name": "\xff"}', "byte 17 is 0xff"),
    (b'{"x": ' + b"9" * 5000 + b"}", "is not JSON that can be read"),
    (b'{"run_name": "TS_1" // comment\n}', "line 1, column 21"),
]


@pytest.mark.parametrize(("content", "message"), CONTENTS)
def test_wrong_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "picks.json"
    path.write_bytes(content)
    with pytest.raises(PicksError, match=message):
        read_picks_json(path)


def test_no_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PicksError, match="does not exist"):
        read_picks_json(tmp_path / "absent.json")
    with pytest.raises(PicksError, match="is not a regular file"):
        read_picks_json(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(PicksError, match="is not a regular file"):
        read_picks_json(tmp_path / "pipe.json")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    with pytest.raises(PicksError, match=r"loop.json"):
        read_picks_json(tmp_path / "loop.json")
    with pytest.raises(PicksError, match=r"does not exist|cannot be read"):
        read_picks_json("a\0b")
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 10)
    (tmp_path / "large.json").write_text(json.dumps(GOOD))
    with pytest.raises(PicksError, match="at most 0 MiB are read; split it"):
        read_picks_json(tmp_path / "large.json")


@pytest.mark.parametrize("cut", range(0, len(json.dumps(GOOD)) - 1, 7))
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "picks.json"
    path.write_text(json.dumps(GOOD)[:cut])
    with pytest.raises(PicksError):
        read_picks_json(path)


def test_many_points(tmp_path: Path) -> None:
    content = dict(GOOD, points=GOOD["points"] * 5_000)
    path = tmp_path / "picks.json"
    path.write_text(json.dumps(content))
    assert len(read_picks_json(path)) == 10_000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
PLACES: list[list[str | int]] = [keys for keys, _, _, _ in TABLE]


@settings(deadline=None, max_examples=200)
@given(place=st.sampled_from(PLACES), value=JSON_VALUES)
def test_any_value_anywhere_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: list[str | int], value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(changed(place, value))
    message = str(path)
    try:
        read_picks_json(path)
    except PicksError as error:
        message = str(error)
    assert message.startswith(str(path))
    assert "\n" not in message
