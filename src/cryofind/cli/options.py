"""Options that several commands share."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from cryofind.pipeline import InputSelection

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)

settings: Decorator = click.option(
    "--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="Change one value of the recipe; repeatable."
)
recipe: Decorator = click.option("--recipe", type=PATH, help="TOML recipe with a table per stage.")
tomogram: Decorator = click.option(
    "--tomogram", "tomogram_uri", default="", metavar="TYPE[@SPACING]", help="Which tomograms, in copick's grammar."
)
runs: Decorator = click.option("--run", "runs", multiple=True, help="Only this run; repeatable.")
voxel_size: Decorator = click.option(
    "--voxel-size", "voxel_size", type=float, metavar="ANGSTROM", help="Voxel spacing, instead of what the files say."
)
allow_missing_chunks: Decorator = click.option(
    "--allow-missing-chunks", is_flag=True, help="Read absent zarr chunks as empty (some writers leave those out)."
)
picks_uri: Decorator = click.option(
    "--picks", "picks_uri", default="", metavar="URI", help="Whose picks of a project: OBJECT:USER/SESSION."
)
in_sample: Decorator = click.option(
    "--in-sample", is_flag=True, help="Accept runs that the model was trained on; the result says so."
)


def check_voxel_size(voxel_size: float | None) -> float | None:
    """Return a sane voxel spacing in Angstrom, or fail with a usage error."""
    if voxel_size is not None and not 0.1 <= voxel_size <= 1000:
        raise click.BadParameter(f"{voxel_size} is not between 0.1 and 1000 Angstrom", param_hint="--voxel-size")
    return voxel_size


def refuse_given(names: Collection[str], problem: str) -> None:
    """Fail with a usage error if any of these parameters of the command was given."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names and context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: {problem}")


def build_selection(chosen: dict[str, Any]) -> "InputSelection":
    """Return the selection that the options of a command ask for."""
    from cryofind.pipeline import InputSelection

    return InputSelection(
        tomogram_uri=chosen["tomogram_uri"],
        runs=chosen["runs"],
        voxel_spacing_angstrom=check_voxel_size(chosen["voxel_size"]),
        allow_missing_chunks=chosen["allow_missing_chunks"],
        picks_uri=chosen.get("picks_uri", ""),
    )


def tell_recipe(recipe: Path | None, named: tuple[Path, ...]) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the recipe and the projects of a command where the recipe may stand among the projects."""
    recipes = [*([recipe] if recipe else []), *(path for path in named if path.suffix == ".toml")]
    if len(recipes) > 1:
        raise click.UsageError(f"two recipes: {recipes[0]} and {recipes[1]}; give one")
    projects = tuple(path for path in named if path.suffix != ".toml")
    if not projects:
        raise click.UsageError("no project is named; give a copick configuration or a Kaggle folder")
    return (recipes[0] if recipes else None), projects


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return `Z,Y,X` as three whole numbers, or fail with a usage error."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise click.BadParameter(f"'{text}' is not three whole numbers such as 184,630,630", param_hint="--shape")
    z, y, x = map(int, parts)
    return z, y, x
