"""The variants of experiments.py: `experiments.toml`, read and checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from cryofind.config import Config, StageConfig, load_config
from cryofind.documents import parse_document, read_recipe
from cryofind.errors import ConfigError, advise_known_names

BASELINE = "common"


class Variant(StageConfig):
    """One table of `experiments.toml`.

    What it asks, its changes as of `--set`, whose picks are learnt from, and the model whose false picks are learnt
    from as an object of their own.
    """

    asks: str
    set: tuple[str, ...] = ()
    picks: str = ""
    decoys_of: str = ""


class Experiments(StageConfig):
    """The whole of `experiments.toml`: the common recipe, and what is changed of it."""

    base: dict[str, dict[str, Any]]
    variants: dict[str, Variant] = Field(min_length=1)

    def config_of(self, name: str, **train: int) -> Config:
        """Return the recipe of a variant; `train` are further values of that stage."""
        more = [f"train.{key}={value}" for key, value in train.items()]
        return load_config(None, [*self.variants[name].set, *more], base=self.base)

    def describe(self, name: str, config: Config) -> dict[str, Any]:
        """Return what a variant's training depends on beside its sets, JSON-ready."""
        variant = self.variants[name]
        decoys = {"decoys_of": variant.decoys_of} if variant.decoys_of else {}
        return {"config": config.model_dump(mode="json"), "picks": variant.picks, **decoys}


def read_experiments(path: Path) -> Experiments:
    """Return the variants of a file, the common recipe first; all of them are checked.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a value does not fit.
    """
    found = parse_document(Experiments, read_recipe(path), str(path))
    if BASELINE in found.variants:
        raise ConfigError(f"{path}: variants.{BASELINE}", "is the name of the common recipe", "choose another")
    everything = {BASELINE: Variant(asks="the common recipe"), **found.variants}
    experiments = found.model_copy(update={"variants": everything})
    for name in everything:
        try:
            experiments.config_of(name)
        except ConfigError as error:
            raise ConfigError(f"{path}: variants.{name}: {error.subject}", error.problem, error.advice) from error
    return experiments


def choose_variants(experiments: Experiments, asked: Sequence[str]) -> list[str]:
    """Return the variants that are asked for, all if none is, and always the common recipe.

    Raises
    ------
    ConfigError
        If one is not known, with the nearest.
    """
    for name in asked:
        if name not in experiments.variants:
            raise ConfigError(f"variant '{name}'", "is not known", advise_known_names(name, experiments.variants))
    return [name for name in experiments.variants if not asked or name in {BASELINE, *asked}]
