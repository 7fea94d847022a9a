"""`cryofind demo`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.option("--out", type=options.PATH, default=Path("demo-output"), show_default=True, help="Folder to fill.")
@click.option("--shipped", is_flag=True, help="Pick with the shipped model instead of training one (about a minute).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the simulation and the training.")
def command(out: Path, shipped: bool, seed: int) -> None:
    """Simulate tomograms, train on some, pick one that was held out, and score it: no data, no GPU.

    Leaves the project, the model, picks.csv, submission.csv and a picture of slices with picks drawn on.
    """
    from cryofind.pipeline import run_demo

    for line in run_demo(out, shipped=shipped, seed=seed):
        click.echo(line)
