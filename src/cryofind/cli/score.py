"""`cryofind score`."""

import json
from pathlib import Path
from typing import Any

import click

from cryofind.cli import options


@click.command()
@click.argument("predictions", type=options.PATH)
@click.argument("truth", type=options.PATH)
@click.option("--mode", type=click.Choice(["kaggle", "one-to-one", "octopi"]), help="How picks are matched.")
@click.option("--beta", type=float, help="Weight of recall against precision (default 4).")
@click.option("--all-candidates", is_flag=True, help="Score every candidate, not only the selected ones.")
@click.option("--segmentation", is_flag=True, help="Also the Dice of the label volumes, by object.")
@click.option("--failures", is_flag=True, help="Also what went wrong: where, why, and what stands out.")
@click.option("--predictions-uri", default="", metavar="URI", help="Whose picks of a project: OBJECT:USER/SESSION.")
@click.option("--truth-uri", default="", metavar="URI", help="The same for TRUTH.")
@options.runs
@options.in_sample
@options.settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    predictions: Path,
    truth: Path,
    mode: str | None,
    beta: float | None,
    segmentation: bool,
    failures: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **chosen: Any,
) -> None:
    """Compare PREDICTIONS with TRUTH.

    Either side is a folder written by `cryofind pick`, a picks.csv, a submission.csv (id optional), a copick
    configuration, a Kaggle folder, or a folder of picks JSON.
    """
    from cryofind.pipeline.failures import explain_comparison
    from cryofind.pipeline.scoring import read_comparison, score_comparison, score_segmentations
    from cryofind.scoring import format_score_table

    changes = [f"score.{key}={value}" for key, value in (("mode", mode), ("beta", beta)) if value is not None]
    comparison = read_comparison(predictions, truth, settings=[*changes, *settings], **chosen)
    report = score_comparison(comparison)
    dice = score_segmentations(predictions, truth, runs=chosen["runs"]) if segmentation else None
    explained = explain_comparison(comparison) if failures else None
    if as_json:
        document = report.to_dict()
        document |= {} if dice is None else {"dice": dice}
        document |= {} if explained is None else {"failures": explained.to_dict()}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(format_score_table(report))
    mark = "  in-sample" if report.in_sample_runs else ""
    for name, value in (dice or {}).items():
        click.echo(f"Dice {name}: {value:.4f}{mark}")
    if explained is not None:
        click.echo(f"Failures{mark}\n{explained.describe()}")
