"""Errors that end in what to do next."""

import pytest

from cryofind import errors
from cryofind.errors import CryofindError, advise_known_names, nearest_name


def test_message_is_one_line_with_advice() -> None:
    error = CryofindError("file.mrc", "is empty", "copy it again")
    assert str(error) == "file.mrc: is empty; copy it again"
    assert (error.subject, error.problem, error.advice) == ("file.mrc", "is empty", "copy it again")
    assert error.exit_code == errors.EXIT_USAGE == 2


def test_all_errors_are_cryofind_errors() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 5
    assert all(issubclass(value, CryofindError) for value in classes)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("Ribosome", "ribosome"), ("beta_amylase", "beta-amylase"), ("beta amylase ", "beta-amylase"), ("qq", None)],
)
def test_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, ["ribosome", "beta-amylase"]) == nearest


def test_advice_for_unknown_names() -> None:
    assert advise_known_names("ribosom", ["ribosome"]) == "did you mean 'ribosome'?"
    assert advise_known_names("x", iter(["ribosome", "vlp"])) == "known: ribosome, vlp"
    assert advise_known_names("x", []) == "known: none"
