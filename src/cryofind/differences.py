"""Where two nested descriptions differ, in words short enough for a message."""

from collections.abc import Iterator, Mapping
from typing import Any

# Lists whose text is at most this long are compared whole, longer ones entry by entry.
SHORT_LIST_CHARACTERS = 60
# What is shown of a long value, and how much of that before the first difference.
SHOWN_CHARACTERS = 28
LEAD_CHARACTERS = 8

# How many differences a message names.
SHOWN_DIFFERENCES = 3

_MISSING = object()


def describe_differences(there: Any, here: Any) -> str:
    """Return the first differences of two JSON-ready values, and how many more there are; empty without any."""
    differences = list(list_differences(there, here))
    more = len(differences) - SHOWN_DIFFERENCES
    return "; ".join(differences[:SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def list_differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """Yield `NAME is X there and Y here` for every field in which two JSON-ready values differ.

    Parameters
    ----------
    there, here
        Nested mappings, lists and scalars.
    name
        Name of the values, which the names of their fields extend: `data.learning[2].run`.
    """
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted(there.keys() | here.keys()):
            field = f"{name}.{key}" if name else str(key)
            yield from list_differences(there.get(key, _MISSING), here.get(key, _MISSING), field)
    elif isinstance(there, list) and isinstance(here, list) and not _are_short(there, here):
        if len(there) != len(here):
            yield f"{name} has {len(there)} entries there and {len(here)} here"
        for index, (one, other) in enumerate(zip(there, here, strict=False)):
            yield from list_differences(one, other, f"{name}[{index}]")
    elif there != here and not (_is_nothing(there) and _is_nothing(here)):
        shown_there, shown_here = _shorten(_describe(there), _describe(here))
        yield f"{name} is {shown_there} there and {shown_here} here"


def _are_short(*values: Any) -> bool:
    return all(len(repr(value)) <= SHORT_LIST_CHARACTERS for value in values)


def _is_nothing(value: Any) -> bool:
    """Say whether a field is missing or a mapping without fields, which is the same here."""
    return value is _MISSING or value == {}


def _describe(value: Any) -> str:
    return "missing" if value is _MISSING else repr(value)


def _shorten(there: str, here: str) -> tuple[str, str]:
    """Return both texts, of long ones only the part round the first character in which they differ."""
    if max(len(there), len(here)) <= SHOWN_CHARACTERS + LEAD_CHARACTERS:
        return there, here
    pairs = enumerate(zip(there, here, strict=False))
    differing = next((index for index, (one, other) in pairs if one != other), min(len(there), len(here)))
    first = max(0, differing - LEAD_CHARACTERS)
    return _cut(there, first), _cut(here, first)


def _cut(text: str, first: int) -> str:
    last = first + SHOWN_CHARACTERS
    return f"{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}"
