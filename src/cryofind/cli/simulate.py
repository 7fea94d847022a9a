"""`cryofind simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofind.cli import options

if TYPE_CHECKING:
    from cryofind.pipeline import SimulationRequest

_OF_LIKE = ("flavour", "simulations", "tomogram_uri", "runs", "voxel_size", "allow_missing_chunks")
_WITHOUT_LIKE = (
    "only with --like; else say how many by --runs, of what kind by --set output.flavours='[\"wbp\"]', and how fine by "
    "--set output.voxel_spacing_angstrom=10"
)
_OF_PROJECT = ("count", "shape", "with_density")


@click.command()
@click.argument("recipe", default="czii")
@click.option("--out", type=options.PATH, help="Folder of the copick project; a cut-off call goes on.")
@click.option("--runs", "count", type=click.IntRange(min=1), default=1, show_default=True, help="How many tomograms.")
@click.option("--shape", metavar="Z,Y,X", help="Voxels of each; default: 184,630,630, or the tomogram's with --like.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--jobs", type=click.IntRange(min=1), help="Made side by side; default: what cores and memory allow.")
@click.option("--density", "with_density", is_flag=True, help="Also write the clean density, as type `density`.")
@click.option("--like", "inputs", multiple=True, type=options.PATH, help="Tomogram or project to be like; repeatable.")
@click.option("--save-recipe", type=options.PATH, metavar="FILE", help="Only write the recipe.")
@click.option("--flavour", default="", help="With --like: wbp, ctfdeconvolved or denoised; default: the nearest.")
@click.option(
    "--simulations", type=click.IntRange(min=8), default=80, show_default=True, help="With --like: about how many."
)
@options.tomogram
@options.runs
@options.voxel_size
@options.allow_missing_chunks
@options.settings
def command(recipe: str, inputs: tuple[Path, ...], **chosen: Any) -> None:
    """Simulate tomograms with their true picks and segmentations, as a copick project.

    RECIPE is `czii` (the default), `czii-hard`, `easy`, or a TOML file with a table per stage, whose values are numbers
    or ranges [low, high]; what was drawn for a run is written beside it.

    With --like, RECIPE gives the species and what cannot be seen; the rest is measured on the tomograms or fitted to
    them by small simulations. The fitted recipe is `recipe.toml` in --out; --save-recipe writes it alone. Without
    --like, --save-recipe writes RECIPE as a file to change.
    """
    out, save_recipe = chosen["out"], chosen["save_recipe"]
    if (out is None) == (save_recipe is None):
        raise click.UsageError("give either --out or --save-recipe")
    if not inputs:
        options.refuse_given(_OF_LIKE, _WITHOUT_LIKE)
    if save_recipe is not None:
        unused = _OF_PROJECT if inputs else (*_OF_PROJECT, "seed", "jobs")
        options.refuse_given(unused, "not with --save-recipe, which makes no tomograms")
    for line in _simulate_like(recipe, inputs, chosen) if inputs else _simulate(recipe, chosen):
        click.echo(line)


def _simulate(recipe: str, chosen: dict[str, Any]) -> list[str]:
    from cryofind import czii
    from cryofind.pipeline import simulate_project
    from cryofind.pipeline.simulate_like import save_recipe
    from cryofind.simulate import find_recipe, load_recipe

    path = find_recipe(recipe)
    if chosen["save_recipe"] is not None:
        return save_recipe(load_recipe(path, chosen["settings"]), chosen["save_recipe"], of=path.stem)
    request = _build_request(path.stem, czii.TOMOGRAM_GRID.shape_zyx, chosen)
    return simulate_project(load_recipe(path, chosen["settings"]), request)


def _simulate_like(recipe: str, inputs: tuple[Path, ...], chosen: dict[str, Any]) -> list[str]:
    from cryofind.pipeline.simulate_like import LikeRequest, save_fitted_recipe, simulate_like, take_shape

    search = {key: chosen[key] for key in ("settings", "flavour", "simulations", "seed", "jobs")}
    like = LikeRequest(inputs, options.build_selection(chosen), recipe, **search)
    if chosen["save_recipe"] is not None:
        return save_fitted_recipe(like, chosen["save_recipe"])
    return simulate_like(like, _build_request(f"{Path(recipe).stem}_like", take_shape(like), chosen))


def _build_request(name: str, default_shape: tuple[int, int, int], chosen: dict[str, Any]) -> "SimulationRequest":
    from cryofind.pipeline import SimulationRequest

    shape = default_shape if chosen["shape"] is None else options.parse_shape(chosen["shape"])
    return SimulationRequest(
        chosen["out"], name, chosen["count"], shape, chosen["seed"], chosen["jobs"], chosen["with_density"]
    )
