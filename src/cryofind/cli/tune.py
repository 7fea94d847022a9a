"""`cryofind tune`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options
from cryofind.cli.imports import without_collection


@click.command()
@click.argument("projects", nargs=-1, required=True, type=options.PATH)
@click.option("--model", "models", multiple=True, required=True, help="Model name or folder; several: an ensemble.")
@click.option("--soup", is_flag=True, help="Average the weights of several models into one, as fast as each.")
@click.option("--out", required=True, type=options.PATH, help="Folder of the tuned model.")
@options.tomogram
@options.runs
@options.voxel_size
@options.allow_missing_chunks
@options.picks_uri
@options.in_sample
@options.settings
def command(
    projects: tuple[Path, ...],
    models: tuple[str, ...],
    soup: bool,
    out: Path,
    in_sample: bool,
    settings: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Set a model's thresholds and calibration from annotated runs of PROJECTS that it never saw.

    Runs of several kinds, from several projects, give thresholds that hold on more than one kind. The models
    themselves stay as they are: the result is a new folder. With --soup they should have been fine-tuned from the
    same model (train --init).
    """
    with without_collection():
        from cryofind.pipeline import average_models, load_model, tune_model

    selection = options.build_selection(chosen)
    picker = load_model(*models, settings=settings)
    if soup:
        picker = average_models(picker, name=out.resolve().name)
    for line in tune_model(picker, projects, out, selection=selection, in_sample=in_sample):
        click.echo(line)
