"""`cryofind info`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.argument("path", type=options.PATH)
def command(path: Path) -> None:
    """Say what PATH holds: a project, a tomogram, a list of picks, a model or a result."""
    from cryofind.pipeline import describe

    for line in describe(path):
        click.echo(line)
