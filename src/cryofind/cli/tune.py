"""`cryofind tune`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options
from cryofind.cli.imports import without_collection


@click.command()
@click.argument("project", type=options.PATH)
@click.option("--model", "model", required=True, help="Model name or folder.")
@click.option("--out", required=True, type=options.PATH, help="Folder of the tuned model.")
@options.tomogram
@options.runs
@options.voxel_size
@options.allow_missing_chunks
@options.picks_uri
@options.in_sample
@options.settings
def command(project: Path, model: str, out: Path, in_sample: bool, settings: tuple[str, ...], **chosen: Any) -> None:
    """Set a model's thresholds and calibration from annotated runs of PROJECT that it never saw.

    The model itself stays as it is: the result is a new folder.
    """
    with without_collection():
        from cryofind.pipeline import load_model, tune_model

    selection = options.build_selection(chosen)
    picker = load_model(model, settings=settings)
    for line in tune_model(picker, project, out, selection=selection, in_sample=in_sample):
        click.echo(line)
