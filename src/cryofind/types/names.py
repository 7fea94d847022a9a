"""Names that are safe in files: checked before any path is built from them."""

import re

from cryofind.errors import NameRefused

MAX_NAME_LENGTH = 200
_WINDOWS_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?$")
_UNSAFE_ANYWHERE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_UNSAFE_IN_COPICK = re.compile(r"[\s_]")


def check_run_name(name: str) -> str:
    """Return `name` if it can name a run (and so a folder), else raise `NameRefused`."""
    return _check(name, "run name")


def check_name(name: str, what: str = "object name") -> str:
    """Return `name` if copick lets it name an object, user or session: also no white space and no underscore.

    Raises
    ------
    NameRefused
        With the nearest name that would be accepted.
    """
    _check(name, what)
    if _UNSAFE_IN_COPICK.search(name):
        fixed = _UNSAFE_IN_COPICK.sub("-", name).strip("-")
        raise NameRefused(f"{what} {name!r}", "underscores and white space are not allowed", f"call it '{fixed}'")
    if "multilabel" in name:
        raise NameRefused(f"{what} {name!r}", "'multilabel' marks segmentations in copick", "choose another name")
    return name


def _check(name: str, what: str) -> str:
    problem = _find_problem(name)
    if problem is not None:
        raise NameRefused(f"{what} {name[:60]!r}", problem, "rename it")
    return name


def _find_problem(name: str) -> str | None:
    if not name or name != name.strip():
        return "it is empty or begins or ends in white space"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        return f"it is longer than {MAX_NAME_LENGTH} bytes"
    if name.startswith(".") or _WINDOWS_RESERVED.match(name):
        return "it is reserved by file systems"
    if name[0] in "=+-@":
        return "spreadsheets would run it as a formula"
    unsafe = _UNSAFE_ANYWHERE.search(name)
    if unsafe is not None:
        return f"it holds the character {unsafe.group()!r}"
    return None
