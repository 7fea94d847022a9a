"""`cryofind report`."""

from pathlib import Path
from typing import Any

import click

from cryofind.cli import options


@click.command()
@click.argument("paths", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--out",
    type=options.PATH,
    help="Folder for the pages; default: report/ in a result or model, else cryofind-report/.",
)
@click.option(
    "--truth", type=options.PATH, help="What the picks are compared with; default: the project's annotations."
)
@click.option("--truth-uri", default="", metavar="URI", help="Whose picks of the truth: OBJECT:USER/SESSION.")
@click.option("--no-truth", is_flag=True, help="Compare with nothing.")
@click.option("--jobs", type=click.IntRange(min=1), help="Tomograms side by side; default: as many as there are cores.")
@options.picks_uri
@options.tomogram
@options.runs
@options.voxel_size
@options.settings
def command(
    paths: tuple[Path, ...],
    out: Path | None,
    truth: Path | None,
    truth_uri: str,
    no_truth: bool,
    jobs: int | None,
    settings: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Write pages that show picks on their tomograms, their score, and what went wrong.

    PATHS is a folder written by `cryofind pick`, or two of them to be compared; a model; or a project or tomogram
    without picks. The pages need no network and no server: open index.html.
    """
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} paths; give one, or two results to be compared")
    if no_truth and (truth is not None or truth_uri):
        raise click.UsageError("--no-truth leaves out what --truth and --truth-uri name; give one of them")
    from cryofind.pipeline import ReportRequest, write_report

    selection = options.build_selection({**chosen, "allow_missing_chunks": True})
    request = ReportRequest(paths, out, truth, not no_truth, truth_uri, selection, settings, jobs)
    for line in write_report(request).lines:
        click.echo(line)
