"""`cryofind pick`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options
from cryofind.cli.imports import without_collection


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder for picks.csv, copick overlay and run.json.")
@click.option("--model", "models", multiple=True, help="Model name or folder; several: an ensemble; none: the default.")
@options.tomogram
@options.runs
@options.voxel_size
@options.allow_missing_chunks
@click.option("--segmentation", is_flag=True, help="Also write a label volume (copick multilabel).")
@click.option(
    "--engine",
    type=click.Choice(("auto", "torch", "openvino")),
    help="What runs the network; auto (default): the fastest that is installed. Short for --set predict.engine=...",
)
@click.option(
    "--devices",
    metavar="NAME[,NAME...]",
    help="A process each: cuda:0,cuda:1; auto (default): all GPUs, else the CPU. Short for --set predict.devices=...",
)
@click.option(
    "--thresholds",
    type=click.Choice(("tuned", "expected")),
    help="tuned (default): those of the model; expected: of each tomogram the selection of the highest expected F-beta."
    " Short for --set locate.thresholds=...",
)
@options.recipe
@options.settings
def command(
    inputs: tuple[Path, ...],
    out: Path,
    models: tuple[str, ...],
    recipe: Path | None,
    settings: tuple[str, ...],
    segmentation: bool,
    engine: str | None,
    devices: str | None,
    thresholds: str | None,
    **chosen: Any,
) -> int:
    """Pick the particles of tomograms.

    INPUTS are copick configurations, Kaggle folders, MRC files (.mrc .rec .map) or OME-Zarr folders. A call that was
    cut off goes on where it stopped. Exit code 1 means that some tomograms failed; they are named.
    """
    with without_collection():
        from cryofind.models import DEFAULT_MODEL
        from cryofind.pipeline import describe_trust, load_model, pick_into_folder

    short_for = {"predict.engine": engine, "predict.devices": devices, "locate.thresholds": thresholds}
    settings += tuple(f"{key}={value}" for key, value in short_for.items() if value is not None)
    if not models:
        click.echo(f"picking with {DEFAULT_MODEL}, the default model (--model names another)", err=True)
    picker = load_model(*(models or (DEFAULT_MODEL,)), recipe=recipe, settings=settings)
    selection = options.build_selection(chosen)
    summary = pick_into_folder(inputs, out, picker, selection=selection, with_segmentation=segmentation)
    for record in summary.records:
        counts = ", ".join(f"{count} {name}" for name, count in record["selected"].items()) or "no picks"
        flavour = f" ({record['flavour']})" if record["flavour"] else ""
        click.echo(f"{record['run']}{flavour}: {counts}")
        click.echo(describe_trust(record["run"], record["trust"], record.get("familiarity")))
    for item in summary.failed:
        click.echo(f"cryofind: error: {item.error}", err=True)
    if summary.records:
        click.echo(f"{len(summary.records)} of {len(summary.records) + len(summary.failed)} tomograms picked -> {out}")
    return summary.exit_code
