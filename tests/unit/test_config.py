"""Recipes and settings."""

from pathlib import Path

import pytest

from cryofind.config import Config, load_config, parse_config
from cryofind.errors import ConfigError


def test_defaults_without_anything() -> None:
    assert load_config() == Config()


def test_recipe_then_settings(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[train]\nsteps = 10\nseed = 3\n[model]\nnetwork = "res16"\n')
    config = load_config(recipe, ["train.steps=20", "train.crop_zyx=[32, 48, 48]"])
    assert config.train.steps == 20
    assert config.train.seed == 3
    assert config.train.crop_zyx == (32, 48, 48)
    assert config.model.network == "res16"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.learning_rate=3e-4", 3e-4),
        ("train.devices=cuda:2", "cuda:2"),
        ("train.keep_best=false", False),
        ("train.devices = cpu", "cpu"),
    ],
)
def test_settings_are_read_as_toml_or_text(setting: str, value: object) -> None:
    key = setting.partition("=")[0].strip().removeprefix("train.")
    assert getattr(load_config(settings=[setting]).train, key) == value


def test_none_unsets_what_has_a_default() -> None:
    assert load_config(settings=["predict.memory_gigabytes=none"]).predict.memory_gigabytes is None


def test_nested_settings() -> None:
    config = load_config(settings=["targets.radius_factors.ribosome=0.4", "model.options.depth=3"])
    assert config.targets.radius_factors == {"ribosome": 0.4}
    assert config.model.options == {"depth": 3}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rat=1", "did you mean 'train.learning_rate'"),
        ("treain.steps=1", "did you mean 'train'"),
        ("train.zzz=1", "known: steps"),
        ("train.steps=0", "greater than or equal to 1"),
        ("train.steps=many", 'found "many"'),
        ("train.learning_rate=nan", "finite"),
        ("preprocess.clip_percentiles=[99, 1]", r"clip_percentiles: should be two ascending numbers.*found \[99, 1\]"),
        ("preprocess.clip_percentiles=[5.0, 5.0]", "two ascending numbers from 0 to 100"),
        ("preprocess.clip_percentiles=[-1, 50]", "two ascending numbers from 0 to 100"),
        ("preprocess.clip_percentiles=[0, 101]", "two ascending numbers from 0 to 100"),
        ("steps=1", "not of the form"),
        ("train.steps", "not of the form"),
        ("train..steps=1", "not of the form"),
        ("train.steps.more=1", "valid integer"),
        ("model.network.name=1", "valid string"),
    ],
)
def test_bad_settings_name_the_key(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(settings=[setting])


def test_setting_below_a_value(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[train]\nsteps = 10\n")
    with pytest.raises(ConfigError, match="'steps' is a value"):
        load_config(recipe, ["train.steps.more=1"])


def test_bad_recipes_name_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(recipe)
    recipe.write_text("[train\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(recipe)
    recipe.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(recipe)
    recipe.write_text("[train]\nstep = 1\n")
    with pytest.raises(ConfigError, match=r"did you mean 'train\.steps'") as caught:
        load_config(recipe)
    assert str(recipe) in str(caught.value)


def test_unknown_key_below_a_field_that_is_no_stage() -> None:
    with pytest.raises(ConfigError):
        parse_config({"train": {"crop_zyx": {"z": 1}}}, "test")


def test_resolved_config_reads_back() -> None:
    config = load_config(settings=["predict.tile_zyx=[64, 64, 64]", "loss.object_weights.ribosome=2.0"])
    assert parse_config(config.model_dump(mode="json"), "again") == config
