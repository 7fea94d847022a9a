"""`cryofind submit`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.argument("folder", type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="The submission CSV to write.")
@click.option("--all-candidates", is_flag=True, help="Write every candidate, not only the selected ones.")
@options.picks_uri
def command(folder: Path, out: Path, all_candidates: bool, picks_uri: str) -> None:
    """Write the picks of FOLDER as a Kaggle submission and check it strictly.

    FOLDER was written by `cryofind pick`; a picks.csv is accepted too, and a submission CSV, which is
    checked before it is written anew.
    """
    from cryofind.pipeline import submit_picks

    count, notes = submit_picks(folder, out, all_candidates=all_candidates, picks_uri=picks_uri)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{count} picks -> {out}")
