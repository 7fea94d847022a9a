"""Where recipes come from: those of the package, files of the user, and changes by `table.key=value`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryofind.documents import apply_setting, parse_document, read_recipe
from cryofind.errors import ConfigError, advise_known_names
from cryofind.simulate.recipe import SimulationRecipe

RECIPES_FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml")))


def find_recipe(name: str | Path) -> Path:
    """Return the file of a shipped recipe, or the path itself if it ends in `.toml`.

    Raises
    ------
    ConfigError
        If there is no such recipe, with the nearest known one.
    """
    if Path(name).suffix.lower() == ".toml":
        return Path(name)
    if str(name) in recipe_names():
        return RECIPES_FOLDER / f"{name}.toml"
    raise ConfigError(
        f"recipe '{name}'", "is neither shipped nor a .toml file", advise_known_names(str(name), recipe_names())
    )


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> SimulationRecipe:
    """Return a shipped recipe or one of the user's, changed by `table.key=value` settings.

    Files of bodies become absolute: those of the recipe from its folder, those of settings from the working folder.

    Raises
    ------
    ConfigError
        If there is no such recipe, a key is unknown or a value does not fit.
    """
    path = find_recipe(name)
    document = read_recipe(path)
    _resolve_body_files(document, path.parent)
    for setting in settings:
        apply_setting(document, setting, example="microscope.voltage_kilovolts=200")
    _resolve_body_files(document, Path())
    where = f"recipe {path.stem}" if path.parent == RECIPES_FOLDER else str(path)
    where += " with --set" if settings else ""
    recipe = parse_document(SimulationRecipe, document, where)
    if not recipe.species:
        raise ConfigError(f"{where}: species", "is empty", "add a table [species.NAME]")
    return recipe


def _resolve_body_files(document: dict[str, Any], folder: Path) -> None:
    """Make the bodies that are files absolute; the document may hold anything."""
    species = document.get("species")
    for name, table in species.items() if isinstance(species, dict) else ():
        source = (table.get("body") or name) if isinstance(table, dict) else None
        if isinstance(source, str) and Path(source).suffix:  # names of shipped bodies have none
            table["body"] = str((folder / source).absolute())
