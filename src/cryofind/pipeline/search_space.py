"""Where a search looks: the `[search]` table of a recipe, checked against the recipe before anything runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from cryofind.config import Config, SearchConfig, StageConfig, parse_config
from cryofind.documents import merge_recipe, parse_document, set_value
from cryofind.errors import ConfigError

FORMS = "[low, high], {low = ..., high = ..., log = true}, or a list of choices"

# What does not change what is learnt, or changes how it is judged; trials could not be compared.
_NOT_SEARCHED_STAGES = {"predict", "tune", "score"}
_NOT_SEARCHED_KEYS = {
    "targets.segmentation",
    "targets.annotated_region",
    "targets.annotated_mask",
    "train.steps",
    "train.validate_every",
    "train.checkpoint_every",
    "train.seed",
    "train.devices",
    "train.memory_gigabytes",
    "train.profile",
}


class _RangeTable(StageConfig):
    low: float
    high: float
    log: bool = False


class _ChoicesTable(StageConfig):
    choices: tuple[Any, ...] = Field(min_length=2)


class _SearchTables(StageConfig):
    search: SearchConfig = SearchConfig()


@dataclass(frozen=True)
class NumberRange:
    """A key that takes any number from `low` to `high`, both included; whole ones if both ends are of type int."""

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[float, float]:
        """Values to check: where these fit the recipe, those between do."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Say whether a value of the recipe lies within."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def place(self, value: Any) -> float:
        """Return where a value lies, from 0 at `low` to 1 at `high`, by its logarithm if that is what is searched."""
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, float(value)))
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Choice:
    """A key that takes one of some values, which are JSON-ready."""

    key: str
    choices: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to check."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Say whether a value of the recipe is among them."""
        return value in self.choices

    def place(self, value: Any) -> float:
        """Return where a value lies, from 0 for the first to 1 for the last."""
        return self.choices.index(value) / (len(self.choices) - 1)


Dimension = NumberRange | Choice


@dataclass(frozen=True)
class SearchRecipe:
    """A recipe to start from, the budget of a search, and where it looks."""

    config: Config
    search: SearchConfig
    space: tuple[Dimension, ...]


def load_search(
    recipe: Path | None, settings: Sequence[str] = (), *, base: dict[str, Any] | None = None
) -> SearchRecipe:
    """Return a recipe with its `[search]` table; arguments as of `load_config`.

    Raises
    ------
    ConfigError
        If a key is unknown (with the nearest known one), a value or an end of a range does not fit, or a key is not one
        to search.
    """
    where = str(recipe) if recipe is not None else "--set"
    document = merge_recipe(recipe, settings, base=base)
    search = parse_document(_SearchTables, {"search": document.pop("search", {})}, where).search
    config = parse_config(document, where)
    space = tuple(_read_dimension(key, entry, config, where) for key, entry in _flatten(search.space))
    if not space:
        raise ConfigError(f"{where}: search.space", "names no key", "name keys of the recipe, or leave it out")
    return SearchRecipe(config, search, space)


def apply_parameters(config: Config, parameters: Mapping[str, Any]) -> Config:
    """Return the recipe with other values of some dotted keys.

    Raises
    ------
    ConfigError
        If a key or a value does not fit.
    """
    return _change(config, parameters, "search")


def read_value(config: Config, key: str) -> Any:
    """Return the JSON-ready value of a dotted key; None for one that a table of free names does not hold."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _flatten(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their entries; TOML makes tables of keys that are written without quotes."""
    leaf_keys = {*_RangeTable.model_fields, *_ChoicesTable.model_fields}
    for key, entry in space.items():
        if isinstance(entry, dict) and not entry.keys() & leaf_keys:
            yield from _flatten(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _read_dimension(key: str, entry: Any, config: Config, where: str) -> Dimension:
    where = f"{where}: search.space"
    _refuse_not_searched(key, config, where)
    if isinstance(entry, dict) and "choices" in entry:
        return _read_choice(key, parse_document(_ChoicesTable, entry, f"{where}: {key}").choices, config, where)
    if isinstance(entry, dict):
        return _read_range(key, parse_document(_RangeTable, entry, f"{where}: {key}"), config, where)
    if isinstance(entry, list) and len(entry) == 2 and all(type(number) in {int, float} for number in entry):
        low, high = entry
        table = parse_document(_RangeTable, {"low": low, "high": high}, f"{where}: {key}")
        return _read_range(key, table, config, where)
    if isinstance(entry, list) and len(entry) >= 2:
        return _read_choice(key, entry, config, where)
    raise ConfigError(f"{where}: {key}", f"is {entry!r}, expected {FORMS}", "change the value")


def _refuse_not_searched(key: str, config: Config, where: str) -> None:
    stage = key.partition(".")[0]
    if stage in _NOT_SEARCHED_STAGES or key in _NOT_SEARCHED_KEYS:
        problem = "is the same in all trials, so that they can be compared"
        raise ConfigError(f"{where}: {key}", problem, f"set it in [{stage}] instead")
    if key == "targets.kind" and config.targets.kind == "labels":
        problem = "cannot be searched from targets.kind 'labels', by which other objects are learnt than by picks"
        raise ConfigError(f"{where}: {key}", problem, "leave it out")


def _read_range(key: str, table: _RangeTable, config: Config, where: str) -> NumberRange:
    low, high = (_resolve(key, end, config, where) for end in (table.low, table.high))
    subject = f"{where}: {key}"
    if not all(type(end) in {int, float} for end in (low, high)):
        raise ConfigError(subject, "is a range, but its values are no numbers", "list the choices")
    if not low < high:
        raise ConfigError(subject, f"low is {low} and high {high}", "give a low below high")
    if table.log and low <= 0:
        raise ConfigError(subject, f"low is {low}, expected above 0 with log", "raise low, or leave log out")
    return NumberRange(key, low, high, table.log)


def _read_choice(key: str, choices: Sequence[Any], config: Config, where: str) -> Choice:
    resolved = tuple(_resolve(key, choice, config, where) for choice in choices)
    twice = next((choice for number, choice in enumerate(resolved) if choice in resolved[:number]), None)
    if twice is not None:
        raise ConfigError(f"{where}: {key}", f"names {twice!r} twice", "name every choice once")
    if key == "targets.kind" and "labels" in resolved:
        problem = "has the choice 'labels', by which other objects are learnt than by picks"
        raise ConfigError(f"{where}: {key}", problem, 'leave it out, or search with [targets] kind = "labels"')
    return Choice(key, resolved)


def _resolve(key: str, value: Any, config: Config, where: str) -> Any:
    """Return a value as the recipe takes it, JSON-ready: 8 where 8.0 is given for a whole number."""
    # A range holds floats; pydantic takes those without a fraction for whole numbers.
    return read_value(_change(config, {key: value}, where), key)


def _change(config: Config, parameters: Mapping[str, Any], where: str) -> Config:
    document = config.model_dump()
    for key, value in parameters.items():
        parts = key.split(".")
        if len(parts) < 2 or not all(parts):
            raise ConfigError(f"{where}: {key}", "is not of the form stage.key", "write e.g. train.learning_rate")
        set_value(document, parts, value, f"{where}: {key}")
    return parse_config(document, where)
