"""Values as the text of a TOML file that people can read and change."""

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def format_key(key: str) -> str:
    """Return a key, in quotes where TOML asks for them."""
    return key if _BARE_KEY.fullmatch(key) else format_value(key)


def format_value(value: Any) -> str:
    """Return a JSON-ready value without nulls as TOML; a table becomes an inline one."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{format_key(key)} = {format_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Strings, booleans and finite numbers look the same in JSON and TOML, DEL excepted.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
