"""Write `reference/configuration.md` from `config.py`: `.venv/bin/python docs/write_configuration.py`."""

import ast
import inspect
import json
import re
from pathlib import Path

from cryofind import config
from cryofind.atomic import write_text

PAGE = Path(__file__).resolve().parent / "reference" / "configuration.md"

HEAD = """\
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


def describe_stage(stage: str) -> list[str]:
    """Return the section of one stage: its docstring and a row for every key."""
    model = config.Config.model_fields[stage].annotation
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
    return f"| `{stage}.{node.target.id}` | `{json.dumps(field.default)}` | {'; '.join(meaning)} |"


if __name__ == "__main__":
    sections = [line for stage in config.Config.model_fields for line in describe_stage(stage)]
    write_text(PAGE, HEAD + "\n".join(sections) + "\n")
