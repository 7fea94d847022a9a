"""A recipe as the text of a TOML file that people can read and change."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryofind.simulate.recipe import SimulationRecipe

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def write_recipe_text(
    recipe: SimulationRecipe, header: Sequence[str] = (), remarks: Mapping[str, str] | None = None
) -> str:
    """Return a recipe as TOML, every table in full, of species what differs from the defaults.

    Parameters
    ----------
    recipe
        What to write; reading the text gives it back.
    header
        Lines to begin with, as comments.
    remarks
        Comments to `table.key`.
    """
    remarks = remarks or {}
    tables = recipe.model_dump(mode="json", exclude_none=True)
    tables["species"] = recipe.model_dump(mode="json", include={"species"}, exclude_defaults=True)["species"]
    lines = [f"# {line}".rstrip() for line in header]
    lines += ["", f"description = {_write(tables.pop('description'))}"]
    for name, values in tables.pop("species").items():
        lines += ["", f"[species.{_write_key(name)}]", *_write_values(values, {})]
    for table, values in tables.items():
        own = {key.removeprefix(f"{table}."): text for key, text in remarks.items() if key.startswith(f"{table}.")}
        lines += ["", f"[{table}]", *_write_values(values, own)]
    return "\n".join(lines).strip() + "\n"


def _write_values(values: Mapping[str, Any], remarks: Mapping[str, str]) -> list[str]:
    return [
        f"{_write_key(key)} = {_write(value)}" + (f"  # {remarks[key]}" if key in remarks else "")
        for key, value in values.items()
    ]


def _write_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _write(key)


def _write(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Strings, booleans and finite numbers look the same in JSON and TOML, DEL excepted.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
