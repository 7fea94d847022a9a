"""`cryofind init`."""

from pathlib import Path

import click

from cryofind.cli import options


@click.command()
@click.argument("files", nargs=-1, required=True, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder of the new copick project.")
@click.option(
    "--picks", "picks_files", multiple=True, type=options.PATH, help="RELION .star, .coords, .tbl, .em, .csv."
)
@click.option("--object", "objects", multiple=True, metavar="NAME:RADIUS_A", help="What is picked; repeatable.")
@click.option("--pixel-size", type=float, metavar="ANGSTROM", help="Pixel size of the picks, where the file has none.")
@options.voxel_size
@click.option("--flavour", default="imported", show_default=True, help="Name of this kind of tomogram.")
def command(
    files: tuple[Path, ...],
    out: Path,
    picks_files: tuple[Path, ...],
    objects: tuple[str, ...],
    pixel_size: float | None,
    voxel_size: float | None,
    flavour: str,
) -> None:
    """Make a copick project from loose tomograms (FILES) and pick files of other programs.

    Says the unit, pixel size and extent of what it understood, and refuses picks that lie outside their tomogram.
    With one --object, all picks are of it; with several, a picks file is matched by the object's name in its name.
    """
    from cryofind.pipeline import init_project

    lines = init_project(
        files,
        out,
        picks_files=picks_files,
        objects=objects,
        pixel_size_angstrom=pixel_size,
        voxel_spacing_angstrom=options.check_voxel_size(voxel_size),
        flavour=flavour,
    )
    for line in lines:
        click.echo(line)
