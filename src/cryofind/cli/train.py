"""`cryofind train`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options
from cryofind.cli.imports import without_collection


@click.command()
@click.argument("projects", nargs=-1, required=True, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder of the model.")
@options.recipe
@click.option("--init", "init_model", help="Start from this model: trunk and objects of the same name are kept.")
@click.option("--validation", "validation_runs", multiple=True, help="Hold this run out; repeatable.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate; as many as runs leaves one run out.")
@click.option(
    "--keep",
    type=click.Choice(["ensemble", "refit"]),
    help="With --folds: train once more on all runs (refit, the default), or keep the folds as an ensemble.",
)
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
    settings: tuple[str, ...],
    init_model: str | None,
    validation_runs: tuple[str, ...],
    folds: int | None,
    keep: str | None,
    **chosen: Any,
) -> None:
    """Train a model on the annotated runs of PROJECTS (copick configurations or Kaggle folders).

    One of PROJECTS may be a TOML recipe, as if given with --recipe. Several projects are learnt from
    together; --set train.project_weights=[1,0] and train.project_weights_end=[0.2,0.8] give each its share of the
    crops, in their order, from start to end.

    A call that was cut off goes on from its last checkpoint. With --folds the thresholds come from out-of-fold
    picks, which are written beside the model.
    """
    with without_collection():
        from cryofind.config import load_config
        from cryofind.pipeline import TrainRequest, stages_of_initial, train_model

    selection = options.build_selection(chosen)
    recipe, projects = options.tell_recipe(recipe, projects)
    if folds and validation_runs:
        raise click.UsageError("--validation and --folds exclude each other: folds hold every run out once")
    if keep and not folds:
        raise click.UsageError("--keep says what --folds leaves; give --folds too")
    request = TrainRequest(projects, out, selection, validation_runs, init_model, folds, keep or "refit")
    for line in train_model(request, load_config(recipe, settings, base=stages_of_initial(init_model))):
        click.echo(line)
