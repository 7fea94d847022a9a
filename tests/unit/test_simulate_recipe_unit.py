"""Recipes of the simulator: ranges, drawing, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from cryofind.documents import parse_document
from cryofind.errors import ConfigError
from cryofind.simulate import Range, SimulationRecipe, find_recipe, load_recipe, recipe_names
from cryofind.simulate.recipe import DRAWN_FOR_EACH


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", ["czii", "czii-hard", "czii-wide", "easy"])
def test_shipped_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert name in recipe_names()
    assert recipe.species
    assert not recipe.is_drawn


def test_drawing_fixes_every_range_within_its_ends() -> None:
    recipe = load_recipe("czii")
    drawn = recipe.draw(random())
    assert drawn.is_drawn
    for stage in ("sample", "surroundings", "microscope", "reconstruction", "denoising"):
        for name, range_ in getattr(recipe, stage):
            if isinstance(range_, Range) and name not in DRAWN_FOR_EACH:
                value = getattr(getattr(drawn, stage), name).value
                assert range_.low <= value <= range_.high, name


def test_a_drawn_recipe_is_a_recipe() -> None:
    drawn = load_recipe("czii").draw(random(3))
    again = parse_document(SimulationRecipe, drawn.model_dump(mode="json"), "drawn")
    assert again == drawn
    assert again.draw(random(4)) == drawn


def test_drawing_depends_on_the_seed_alone() -> None:
    recipe = load_recipe("czii")
    assert recipe.draw(random(1)) == recipe.draw(random(1))
    assert recipe.draw(random(1)) != recipe.draw(random(2))


def test_the_deconvolution_constant_is_drawn_by_its_logarithm() -> None:
    recipe = load_recipe("czii", ["reconstruction.deconvolution_constant=[0.0001, 1.0]"])
    values = [recipe.draw(random(seed)).reconstruction.deconvolution_constant.value for seed in range(200)]
    # Uniform in the logarithm, half lie below 0.01; uniform in the value, one in a hundred.
    assert 0.35 < np.mean(np.array(values) < 0.01) < 0.65


def test_a_range_that_was_not_drawn_has_no_value() -> None:
    with pytest.raises(ValueError, match="has not been drawn from"):
        _ = Range.of(1, 2).value
    assert Range.of(2).value == 2


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("microscope.tilt_maximum_degrees=0", "should be greater than 0"),
        ("microscope.tilt_maximum_degrees=[30,89]", "should be 80 or less"),
        ("microscope.defocus_micrometre=[5,2]", "ascending order"),
        ("microscope.defocus_micrometre=[1,2,3]", r"should be a number or \[low, high\]"),
        ("microscope.defocus_micrometre=true", r"should be a number or \[low, high\]"),
        ("microscope.dose=3", "is not a known key"),
        ("microscope.defocus_micrometer=3", "did you mean 'microscope.defocus_micrometre'"),
        ("species.ribosome.cuont=3", "did you mean 'species.ribosome.count'"),
        ("species.ribosome.count=-1", "should be 0 or more"),
        ("sample.overlap=1.5", "should be 1 or less"),
        ('output.flavours=["raw"]', "found"),
        ("output.flavours=[]", "should have more entries"),
        ('output.flavours=["wbp", "wbp"]', "should name each flavour once"),
        ("microscope.tilt_step_degrees=[0.1, 3]", "should be 0.25 or more"),
        ("sample.slab_tilt_y_degrees=[-31, 0]", "should be -30 or more"),
        ("sample.slab_tilt_x_degrees=31", "should be 30 or less"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(setting: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        load_recipe("czii", [setting])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'czii-hard'"):
        find_recipe("czi-hard")


def test_a_recipe_without_species_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("[species]\n")
    with pytest.raises(ConfigError, match="species: is empty"):
        load_recipe(tmp_path / "empty.toml")


def test_errors_say_where_a_value_came_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^recipe czii with --set: sample\.overlap"):
        load_recipe("czii", ["sample.overlap=2"])
    path = tmp_path / "own.toml"
    path.write_text("[species.ribosome]\n[sample]\noverlap = 2\n")
    with pytest.raises(ConfigError, match=r"own\.toml: sample\.overlap"):
        load_recipe(path)
    with pytest.raises(ConfigError, match=r"own\.toml with --set: sample\.overlap"):
        load_recipe(path, ["sample.crowding=2"])


def test_files_of_bodies_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the document from its folder, those of settings from the working folder; names stay names."""
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "own.toml"
    path.write_text(f"""
        [species]
        ribosome = {{}}
        named = {{body = "ribosome"}}
        near = {{body = "maps/near.mrc"}}
        far = {{body = "{tmp_path}/far.pdb"}}
        changed = {{body = "old.mrc"}}
    """)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    recipe = load_recipe(path, ['species.changed.body="new.cif"', 'species.added={body="../added.mrc"}'])
    assert {name: species.body for name, species in recipe.species.items()} == {
        "ribosome": "",
        "named": "ribosome",
        "near": str(tmp_path / "recipes" / "maps" / "near.mrc"),
        "far": str(tmp_path / "far.pdb"),
        "changed": str(tmp_path / "work" / "new.cif"),
        "added": str(tmp_path / "work" / ".." / "added.mrc"),
    }


@pytest.mark.parametrize("text", ["species = 3\n", "[species]\nribosome = 3\n", "[species.a]\nbody = 3\n"])
def test_species_of_another_kind_cost_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ConfigError, match="species"):
        load_recipe(tmp_path / "odd.toml")
