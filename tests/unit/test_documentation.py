"""The documentation says what the program does."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from cryofind.cli import application
from cryofind.config import Config, SearchConfig
from cryofind.simulate.recipe import SimulationRecipe, SpeciesRecipe

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
CONFIGURATION = REPOSITORY / "docs" / "reference" / "configuration.md"
RECIPE = REPOSITORY / "docs" / "reference" / "simulation-recipe.md"


def shell_lines() -> list[str]:
    blocks = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("cryofind ")})


@pytest.mark.parametrize("line", shell_lines())
def test_documented_commands_parse(line: str) -> None:
    """Every option exists, every required one is given: click parses the line without running it."""
    name, *arguments = shlex.split(line)[1:]
    command = application.get_command(click.Context(application), name)
    assert command is not None, f"there is no command {name}"
    command.make_context(name, arguments).close()


def test_every_command_is_documented() -> None:
    page = (REPOSITORY / "docs" / "reference" / "commands.md").read_text("utf-8")
    for name in application.list_commands(click.Context(application)):
        assert f"`cryofind {name} " in page, name


def read_defaults(page: Path) -> dict[tuple[str, str], object]:
    """Return the defaults that a page of settings states, by table and key."""
    rows = re.findall(r"^\| `([A-Za-z_.]+)\.([a-z0-9_]+)` \| `(.*?)` \|", page.read_text("utf-8"), re.MULTILINE)
    return {(stage, key): json.loads(value) for stage, key, value in rows}


def test_every_default_of_the_simulator_is_documented() -> None:
    recipe = SimulationRecipe(species={"any": SpeciesRecipe()}).model_dump(mode="json")
    tables = {"species.NAME": recipe["species"]["any"], **recipe}
    defaults = {
        (stage, key): value
        for stage, values in tables.items()
        if isinstance(values, dict) and stage != "species"
        for key, value in values.items()
    }
    assert read_defaults(RECIPE) == defaults, "run docs/write_configuration.py"


def test_every_default_is_documented() -> None:
    documented = read_defaults(CONFIGURATION)
    defaults = {
        (stage, key): value
        for stage, values in {
            **Config().model_dump(mode="json"),
            "search": SearchConfig().model_dump(mode="json"),
        }.items()
        for key, value in values.items()
    }
    assert documented == defaults, "run docs/write_configuration.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_makefile_help_lists_the_targets() -> None:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    for target in phony.split():
        assert target == "help" or f"make {target} " in text, target
        assert re.search(rf"^{target}:", text, re.MULTILINE), target
