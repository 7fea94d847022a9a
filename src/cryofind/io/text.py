"""Text files and the numbers in them, read strictly."""

import math
import re
from pathlib import Path

from cryofind.errors import CryofindError, PicksError

MAX_TEXT_BYTES = 512 * 2**20  # a million points take less than half of it; more is no list of picks

_UTF8_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_bytes(path: Path, *, error: type[CryofindError] = PicksError) -> bytes:
    """Return the content of a regular file of at most `MAX_TEXT_BYTES`.

    Raises
    ------
    CryofindError
        Of class `error`, if the file is missing, no regular file, too large, or cannot be read.
    """
    try:
        if not path.is_file():
            found = "is not a regular file" if path.exists() else "does not exist"
            raise error(path, found, "give the path of a file")
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            limit = f"{MAX_TEXT_BYTES // 2**20} MiB"
            raise error(path, f"has {size / 2**20:.0f} MiB, at most {limit} are read", "split it by run or object")
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        raise error(path, f"cannot be read ({problem})", "check the path and its permissions") from problem


def read_text(path: Path, *, error: type[CryofindError] = PicksError) -> str:
    """Return a UTF-8 text with its byte order mark removed and its line ends made plain newlines.

    Raises
    ------
    CryofindError
        Of class `error`, if the file cannot be read or is not UTF-8 (with the offset of the first wrong byte).
    """
    content = read_bytes(path, error=error)
    start = len(_UTF8_BOM) if content.startswith(_UTF8_BOM) else 0
    try:
        text = content[start:].decode("utf-8")
    except UnicodeDecodeError as problem:
        offset = start + problem.start
        found = f"byte {offset} is 0x{content[offset]:02x}, which is not UTF-8"
        raise error(path, found, "save the file as UTF-8") from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_number(text: str) -> float | None:
    """Return the finite number that `text` spells with a decimal point, or None.

    Python's `float` is laxer: it also takes `nan`, `inf` and `1_000`.
    """
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None


def advise_number(text: str) -> str:
    """Return what to do about a text that `parse_number` refused."""
    if re.fullmatch(r"\s*[+-]?[\d.]+,\d+\s*", text):
        return "write the number with a decimal point, not a comma"
    return "give a finite number with a decimal point"
