"""`cryofind demo`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.option("--out", type=options.PATH, default=Path("demo-output"), show_default=True, help="Folder to fill.")
@click.option("--train", is_flag=True, help="Train a small network on simulated tomograms first (about five minutes).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the simulation and the training.")
def command(out: Path, train: bool, seed: int) -> None:
    """Simulate a tomogram, pick it with the shipped model, score it, and report: no data, no GPU, a minute.

    Leaves the project, picks.csv, submission.csv, a picture of slices with picks, and pages to open in a browser.
    """
    from cryofind.pipeline import run_demo

    for line in run_demo(out, train=train, seed=seed):
        click.echo(line)
