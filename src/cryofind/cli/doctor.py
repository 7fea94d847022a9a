"""`cryofind doctor`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.argument("path", required=False, type=options.PATH)
@click.option("--model", help="Also say whether this model fits the tomograms of PATH.")
def command(path: Path | None, model: str | None) -> int:
    """Say what this computer can do and, with PATH, what is wrong with its tomograms and picks."""
    if model is not None and path is None:
        raise click.UsageError("--model is compared with tomograms; name a PATH too")
    from cryofind.pipeline import examine_computer, examine_input

    for line in examine_computer():
        click.echo(line)
    if path is None:
        return 0
    findings = examine_input(path, model)
    for line in findings.lines:
        click.echo(line)
    return 1 if findings.has_problems else 0
