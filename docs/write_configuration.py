"""Write the pages of settings in `reference/`: `.venv/bin/python docs/write_configuration.py`."""

import ast
import inspect
import json
import re
from pathlib import Path

from pydantic import BaseModel

from cryofind import config
from cryofind.atomic import write_text
from cryofind.simulate import recipe

FOLDER = Path(__file__).resolve().parent / "reference"

CONFIGURATION_HEAD = """\
# Configuration

A recipe is a TOML file with a table per stage; `--set stage.key=value` changes one value. Defaults are in `config.py`;
an unknown key is refused with the nearest known one. `cryofind config` prints the resolved recipe,
`cryofind config --schema` its JSON schema.

```toml
[model]
network = "res16"

[train]
steps = 6000
crop_zyx = [64, 64, 64]

[targets.radius_factors]
ribosome = 0.4
```
"""

RECIPE_HEAD = """\
# Simulation recipe

What `cryofind simulate RECIPE` reads: a TOML file with a table per stage and one for each species. A value is a number
or a range `[low, high]` that every run draws from; `--set table.key=value` changes one. Shipped: `czii`, `czii-hard`
(lower dose, more crowding, worse alignment), `czii-wide` (all of it, drawn widely) and `easy`.
How to write one: [simulate](../how-to/simulate.md).

```toml
[species.ribosome]          # a shipped body of that name, the challenge's radius
count = [23, 74]

[species.proteasome]        # any molecule: a density map or an atomic model
body = "proteasome.mrc"
mass_kilodalton = 700
count = [20, 60]

[microscope]
defocus_micrometre = [2, 5]
```
"""


def describe_stage(stage: str, model: type[BaseModel]) -> list[str]:
    """Return the section of one stage: its docstring and a row for every key."""
    source = inspect.getsource(model)
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    rows = ["", f"## `{stage}`", "", inspect.getdoc(model).splitlines()[0], "", "| Key | Default | Meaning |"]
    rows.append("|---|---|---|")
    for node in definition.body:
        if isinstance(node, ast.AnnAssign):
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            rows.append(describe_key(stage, node, text, model.model_fields[node.target.id]))
    return rows


def describe_key(stage: str, node: ast.AnnAssign, text: str, field) -> str:
    """Return the row of one key: default, choices of a Literal, and the comment beside it."""
    choices = re.search(r"Literal\[([^\]]*)\]", ast.unparse(node.annotation))
    comment = re.search(r"#\s*(.*)$", text, re.MULTILINE)
    meaning = ["one of " + choices.group(1).replace("'", "")] if choices else []
    meaning += [comment.group(1).replace("|", "/")] if comment else []
    default = json.dumps(field.default, default=lambda value: value.model_dump(mode="json"))
    return f"| `{stage}.{node.target.id}` | `{default}` | {'; '.join(meaning)} |"


def write_page(name: str, head: str, stages: dict[str, type[BaseModel]]) -> None:
    """Write one page: a head and a section for every stage."""
    sections = [line for stage, model in stages.items() for line in describe_stage(stage, model)]
    write_text(FOLDER / name, head + "\n".join(sections) + "\n")


def recipe_stages() -> dict[str, type[BaseModel]]:
    """Return the tables of a simulation recipe, the species' first."""
    tables = {name: field.annotation for name, field in recipe.SimulationRecipe.model_fields.items()}
    stages = {name: table for name, table in tables.items() if inspect.isclass(table) and issubclass(table, BaseModel)}
    return {"species.NAME": recipe.SpeciesRecipe, **stages}


if __name__ == "__main__":
    configuration = {name: field.annotation for name, field in config.Config.model_fields.items()}
    write_page("configuration.md", CONFIGURATION_HEAD, {**configuration, "search": config.SearchConfig})
    write_page("simulation-recipe.md", RECIPE_HEAD, recipe_stages())
