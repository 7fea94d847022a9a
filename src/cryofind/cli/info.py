"""`cryofind info`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.argument("path", type=options.PATH)
def command(path: Path) -> int:
    """Say what PATH holds: a project, a tomogram, a list of picks, a model or a result."""
    from cryofind.pipeline import describe

    findings = describe(path)
    for line in findings.lines:
        click.echo(line)
    return 1 if findings.has_problems else 0
