"""`cryofind config`."""

import json
from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@options.recipe
@options.settings
@click.option("--schema", is_flag=True, help="Print the JSON schema instead.")
def command(recipe: Path | None, settings: tuple[str, ...], schema: bool) -> None:
    """Print the resolved recipe as JSON: the defaults, changed by --recipe and --set."""
    from cryofind.config import Config, load_config

    document = Config.model_json_schema() if schema else load_config(recipe, settings).model_dump(mode="json")
    click.echo(json.dumps(document, indent=2))
