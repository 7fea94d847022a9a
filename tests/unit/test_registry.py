"""Names for interchangeable parts."""

from importlib.metadata import EntryPoint

import pytest

from cryofind import registry
from cryofind.errors import ConfigError
from cryofind.registry import Registry


def test_register_and_get() -> None:
    parts = Registry("part", "cryofind.nothing")
    parts.register("small")(dict)
    assert parts.get("small") is dict
    assert parts.names() == ("small",)


def test_same_name_twice_is_a_mistake() -> None:
    parts = Registry("part", "cryofind.nothing")
    parts.register("small")(dict)
    with pytest.raises(ValueError, match="registered twice"):
        parts.register("small")(list)


def test_unknown_name_gets_advice() -> None:
    parts = Registry("part", "cryofind.nothing")
    with pytest.raises(ConfigError, match="known: none"):
        parts.get("any")
    parts.register("res32")(dict)
    with pytest.raises(ConfigError, match=r"part 'res33'.*did you mean 'res32'"):
        parts.get("res33")


def test_plug_ins_are_loaded_once_and_never_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake_entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("plugged", "collections:OrderedDict", group), EntryPoint("own", "builtins:list", group)]

    monkeypatch.setattr(registry, "entry_points", fake_entry_points)
    parts = Registry("part", "cryofind.parts")
    parts.register("own")(dict)
    assert parts.get("own") is dict
    assert asked == []
    assert parts.names() == ("own", "plugged")
    assert parts.get("plugged")(a=1) == {"a": 1}
    assert parts.get("own") is dict
    assert asked == ["cryofind.parts"]
