"""Differences of nested descriptions, short enough for a message."""

from cryofind.differences import list_differences

RUNS = [{"run": f"TS_{number}", "picks_sha256": f"{number}" * 64} for number in range(5)]


def differences(there: object, here: object) -> list[str]:
    return list(list_differences(there, here))


def test_what_is_equal_differs_in_nothing() -> None:
    assert differences({"a": {"b": [1, 2]}, "runs": RUNS}, {"a": {"b": [1, 2]}, "runs": list(RUNS)}) == []
    assert differences({"a": 1}, {"a": 1, "data": {}}) == []


def test_fields_are_named_and_missing_ones_said_to_be() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == [
        "a.b is 1 there and 3 here",
        "a.c is 2 there and missing here",
    ]


def test_short_lists_are_shown_whole() -> None:
    assert differences({"crop": [1, 2]}, {"crop": [1, 3]}) == ["crop is [1, 2] there and [1, 3] here"]


def test_long_lists_differ_in_entries() -> None:
    changed = [*RUNS[:2], {**RUNS[2], "run": "other"}, *RUNS[3:]]
    assert differences({"runs": RUNS}, {"runs": changed}) == ["runs[2].run is 'TS_2' there and 'other' here"]
    assert differences({"runs": RUNS}, {"runs": RUNS[:3]}) == ["runs has 5 entries there and 3 here"]


def test_long_values_are_shown_where_they_differ() -> None:
    (line,) = differences({"init": "/a" * 200 + "/old"}, {"init": "/a" * 200 + "/new" + "/b" * 200})
    assert line.startswith("init is ...a/a/a")
    assert "/old' there and ..." in line
    assert "/new" in line
    assert line.endswith("... here")
    assert len(line) < 100
