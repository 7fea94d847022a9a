"""`cryofind search`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options
from cryofind.cli.imports import without_collection


@click.command()
@click.argument("projects", nargs=-1, required=True, type=options.PATH, metavar="[RECIPE] PROJECTS...")
@click.option("--out", required=True, type=options.PATH, help="Folder of the search.")
@options.recipe
@click.option("--trials", type=click.IntRange(min=1), help="How many trials; default: search.trials of the recipe.")
@click.option("--minutes", type=float, help="For all trials together; default: search.minutes, without limit.")
@click.option("--init", "init_model", help="Start every trial from this model.")
@click.option("--validation", "validation_runs", multiple=True, help="Judge by this run; repeatable.")
@options.tomogram
@options.runs
@options.voxel_size
@options.allow_missing_chunks
@options.picks_uri
@options.settings
def command(
    projects: tuple[Path, ...],
    out: Path,
    recipe: Path | None,
    trials: int | None,
    minutes: float | None,
    init_model: str | None,
    validation_runs: tuple[str, ...],
    settings: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Search a better RECIPE for training on PROJECTS: many short trainings, judged by runs that are held out.

    RECIPE is a TOML file for `cryofind train` with a further table [search] that says which keys to search and how
    far; without one, learning rate, foreground weight, target radius and some augmentation are searched.

    --out holds the best recipe, a picture of what mattered, and the trials. A call that was cut off goes on; so does
    one with more --trials or --minutes. Needs the extra `tune`.
    """
    with without_collection():
        from cryofind.pipeline import SearchRequest, load_search, search_recipe, stages_of_initial

    recipe, projects = options.tell_recipe(recipe, projects)
    settings += tuple(
        f"search.{name}={value}" for name, value in (("trials", trials), ("minutes", minutes)) if value is not None
    )
    request = SearchRequest(projects, out, options.build_selection(chosen), validation_runs, init_model)
    for line in search_recipe(request, load_search(recipe, settings, base=stages_of_initial(init_model))):
        click.echo(line)
