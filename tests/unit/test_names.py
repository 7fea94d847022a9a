"""Names that become paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.errors import NameRefused
from cryofind.types import check_name, check_run_name

BAD_ANYWHERE = [
    "", " ", " a", "a ", ".", "..", ".hidden", "a/b", "a\\b", "../up", "a\x00b", "a\nb", "a\x7fb", "a:b", "a*b", "a?b",
    "con", "NUL", "com1.txt", "a\u202eb", "a\u200fb", "=1+1", "+a", "-a", "@a", "a" * 201, "ü" * 101,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_ANYWHERE)
def test_refused_everywhere(name: str) -> None:
    with pytest.raises(NameRefused, match="run name"):
        check_run_name(name)
    with pytest.raises(NameRefused, match="object name"):
        check_name(name)


@pytest.mark.parametrize("name", ["TS_5_4", "run 1", "Tömogram", "a-b", "x.mrc", "a" * 200, "console"])
def test_run_names_accepted(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["beta-amylase", "80S", "VLP.v2", "ribosome"])
def test_object_names_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(("name", "advice"), [("beta_amylase", "beta-amylase"), ("my complex", "my-complex")])
def test_copick_names_get_advice(name: str, advice: str) -> None:
    with pytest.raises(NameRefused, match=f"call it '{advice}'"):
        check_name(name)


def test_multilabel_is_reserved_and_what_is_named() -> None:
    with pytest.raises(NameRefused, match="user 'x-multilabel'"):
        check_name("x-multilabel", "user")


def test_surrogates_do_not_crash() -> None:
    assert check_run_name("a\ud800") == "a\ud800"


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_accepted_names_are_one_path_component(name: str) -> None:
    try:
        check_run_name(name)
    except NameRefused:
        return
    assert "/" not in name
    assert "\\" not in name
    assert name not in {".", ".."}
    assert "\x00" not in name
