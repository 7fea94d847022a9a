"""`cryofind export`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options

FORMATS = ("relion5", "relion4", "copick", "csv", "em", "dynamo", "coords")


@click.command()
@click.argument("folder", type=options.PATH)
@click.option("--format", "format_name", required=True, type=click.Choice(FORMATS))
@click.option("--out", required=True, type=options.PATH, help="Folder for the files.")
@click.option("--tilt-series-pixel-size", type=float, metavar="ANGSTROM", help="Unbinned pixel size, for RELION.")
@click.option("--tomograms-star", type=options.PATH, help="RELION's tomograms.star: unbinned sizes and pixel sizes.")
@click.option(
    "--centre",
    type=click.Choice(["half", "half-minus-one"]),
    default="half",
    show_default=True,
    help="RELION 5: where the tomogram's centre is (size/2, or size/2 - 1).",
)
@click.option("--all-candidates", is_flag=True, help="Write every candidate, not only the selected ones.")
@options.picks_uri
def command(
    folder: Path,
    format_name: str,
    out: Path,
    tilt_series_pixel_size: float | None,
    **chosen: Any,
) -> None:
    """Write the picks of FOLDER (from `cryofind pick`) for another program."""
    from cryofind.pipeline import export_folder

    lines = export_folder(
        folder,
        out,
        format_name=format_name,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size,
        **chosen,
    )
    for line in lines:
        click.echo(line)
