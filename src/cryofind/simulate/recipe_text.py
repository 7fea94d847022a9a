"""A recipe as the text of a TOML file that people can read and change."""

from collections.abc import Mapping, Sequence
from typing import Any

from cryofind.simulate.recipe import SimulationRecipe
from cryofind.toml_text import format_key, format_value


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
    lines += ["", f"description = {format_value(tables.pop('description'))}"]
    for name, values in tables.pop("species").items():
        lines += ["", f"[species.{format_key(name)}]", *_write_values(values, {})]
    for table, values in tables.items():
        own = {key.removeprefix(f"{table}."): text for key, text in remarks.items() if key.startswith(f"{table}.")}
        lines += ["", f"[{table}]", *_write_values(values, own)]
    return "\n".join(lines).strip() + "\n"


def _write_values(values: Mapping[str, Any], remarks: Mapping[str, str]) -> list[str]:
    return [
        f"{format_key(key)} = {format_value(value)}" + (f"  # {remarks[key]}" if key in remarks else "")
        for key, value in values.items()
    ]
