"""Documents of settings: TOML files changed by `table.key=value`, checked, with errors that say what to do."""

import copy
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cryofind.errors import ConfigError, nearest_name

Document = TypeVar("Document", bound=BaseModel)


def read_recipe(recipe: Path) -> dict[str, Any]:
    """Return the tables of a TOML recipe.

    Raises
    ------
    ConfigError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(recipe, f"cannot be read ({error.strerror})", "give the path of a TOML recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(recipe, f"is not TOML ({error})", "mend the file") from error


def merge_recipe(
    recipe: Path | None = None, settings: Sequence[str] = (), *, base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return `base`, changed by a TOML recipe, then by settings, as a nested dictionary.

    Raises
    ------
    ConfigError
        If the recipe cannot be read, or a setting has another form; keys and values are not checked.
    """
    document = copy.deepcopy(base or {})
    if recipe is not None:
        _merge(document, read_recipe(recipe))
    for setting in settings:
        apply_setting(document, setting)
    return document


def _merge(document: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value


def parse_document(kind: type[Document], document: dict[str, Any], where: str) -> Document:
    """Return a nested dictionary as a checked model; `where` names it in errors.

    Raises
    ------
    ConfigError
        If a key is unknown (with the nearest known one) or a value does not fit.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _as_config_error(error, where, kind) from error


def apply_setting(document: dict[str, Any], setting: str, *, example: str = "train.steps=500") -> None:
    """Change one value of a nested dictionary by a text such as `train.steps=500`; errors give an example.

    Raises
    ------
    ConfigError
        If the text has another form, or a table is named as if it were a value.
    """
    dotted, equals, text = setting.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set {setting}", "is not of the form stage.key=value", f"write e.g. {example}")
    set_value(document, keys, _parse_value(text.strip()), f"--set {setting}")


def set_value(document: dict[str, Any], keys: Sequence[str], value: Any, subject: str) -> None:
    """Change one value of a nested dictionary, whose tables are made where they are missing.

    Raises
    ------
    ConfigError
        About `subject`, if a key on the way is that of a value.
    """
    table = document
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(subject, f"'{key}' is a value, not a table", "check the key")
    table[keys[-1]] = value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None if text in {"none", "null"} else text


_EXPECTED = {
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "tuple_type": "should be a list, [...]",
    "list_type": "should be a list, [...]",
    "too_short": "should have more entries",
}


def _as_config_error(error: ValidationError, where: str, kind: type[BaseModel]) -> ConfigError:
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{where}: {dotted}", "is not a known key", _advise_key(first["loc"], kind))
    if first["type"] == "missing":
        return ConfigError(f"{where}: {dotted}", "is missing", "add it")
    found = json.dumps(first["input"], default=str)[:80]
    # The checks of pydantic speak of its own types.
    expected = _EXPECTED.get(first["type"], first["msg"].lower())
    return ConfigError(f"{where}: {dotted}", f"{expected}, found {found}", "change the value")


def _advise_key(location: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    table: type[BaseModel] | None = kind
    for part in location[:-1]:
        table = _table_of(table, str(part))
    if table is None:
        return "remove it"
    nearest = nearest_name(str(location[-1]), table.model_fields)
    if nearest is None:
        return f"known: {', '.join(table.model_fields)}"
    return f"did you mean '{'.'.join(map(str, (*location[:-1], nearest)))}'?"


def _table_of(table: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """Return the model of a table within a table; of a member of a dictionary of tables, the table of its values."""
    if table is None:
        return None
    if key not in table.model_fields:
        return table  # a name that the user chose, in a dictionary of tables
    annotation = table.model_fields[key].annotation
    values = get_args(annotation)[1:] if get_origin(annotation) is dict else (annotation,)
    return next((kind for kind in values if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
