"""`cryofind demo`: the whole road on simulated tomograms, without data and without a GPU."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryofind.atomic import write_json
from cryofind.config import Config, load_config
from cryofind.io import open_project
from cryofind.io.copick import CONFIG_NAME
from cryofind.models import DEFAULT_MODEL
from cryofind.pipeline.handover import submit_picks
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.loading import load_model
from cryofind.pipeline.pick import pick_into_folder
from cryofind.pipeline.picked_runs import PICKS_NAME
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment
from cryofind.pipeline.report import ReportRequest, write_report
from cryofind.pipeline.scoring import score_paths
from cryofind.pipeline.simulate import SimulationRequest, simulate_project
from cryofind.pipeline.train import train_model
from cryofind.pipeline.trainer import TrainRequest
from cryofind.report import draw_slices
from cryofind.scoring import format_score_table
from cryofind.simulate import load_recipe
from cryofind.types import Picks

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind demo"


class _Sample(NamedTuple):
    """What is simulated; the last run is picked."""

    recipe: str
    settings: tuple[str, ...]
    shape_zyx: tuple[int, int, int]
    run_count: int


# The challenge's sample, half of its field.
PICKED = _Sample("czii", (), (184, 448, 448), 1)
# Thin ice, so filled that every run holds each species several times; the run before the last chooses the thresholds.
LEARNT = _Sample("easy", ("sample.crowding=[4, 6]",), (64, 256, 256), 6)

# A small network for three minutes on two cores. Simulated tomograms are annotated completely, so nothing is spared
# as "unlabelled".
SETTINGS = (
    'model.network="res16"',
    "train.steps=600",
    "train.batch_size=8",
    "train.crop_zyx=[48,64,64]",
    "train.learning_rate=2e-3",
    "train.validate_every=300",
    "train.checkpoint_every=300",
    "train.unlabelled_after=1.0",
)


def demo_config(settings: Sequence[str] = ()) -> Config:
    """Return the recipe of the demo's training."""
    return load_config(settings=[*SETTINGS, *settings])


def run_demo(out: Path, *, train: bool = False, seed: int = 0) -> list[str]:
    """Simulate a tomogram, pick it with the shipped model, score it, report; return a summary, a line each.

    Parameters
    ----------
    out
        Folder to fill with `project`, `model` (if trained), `picks`, `report`, `submission.csv` and `picks.png`; a demo
        in it is made anew.
    train
        Simulate several tomograms of an easier sample, train on some and pick one that was held out instead.
    seed
        Seed of simulation and training.

    Raises
    ------
    OutputError
        If `out` holds something that no demo made.
    """
    started = time.perf_counter()
    claim_folder(out, MADE_BY)
    for part in ("project", "model", "picks", "report"):
        shutil.rmtree(out / part, ignore_errors=True)
    write_json(out / RECORD_NAME, {"made_by": MADE_BY, "environment": describe_environment()})
    runs, configuration = _simulate(LEARNT if train else PICKED, out / "project", seed)
    picked = runs[-1]
    model = str(_train(configuration, out / "model", runs[:-1], seed)) if train else DEFAULT_MODEL
    picker = load_model(model)
    pick_into_folder([configuration], out / "picks", picker, selection=InputSelection(runs=(picked,)))
    report = score_paths(out / "picks", configuration)
    submit_picks(out / "picks", out / "submission.csv")
    _draw(configuration, picked, out)
    pages = write_report(ReportRequest((out / "picks",), out / "report", truth=configuration))
    return [
        _say_what_it_shows(picked, train=train),
        format_score_table(report),
        f"picks: {out / 'picks' / PICKS_NAME}; submission: {out / 'submission.csv'}; picture: {out / 'picks.png'}",
        f"report, to open in a browser: {pages.index}",
        f"done in {time.perf_counter() - started:.0f} s",
    ]


def _say_what_it_shows(picked: str, *, train: bool) -> str:
    """Return what the score is worth."""
    if train:
        return f"score of {picked}, which nothing was chosen on (easy, and simulated: real tomograms are harder)"
    return (
        f"score of {picked}, a tomogram simulated just now, by the shipped model {DEFAULT_MODEL}, which learnt from "
        "others, simulated likewise. It shows that everything works; real tomograms are harder."
    )


def _simulate(sample: _Sample, project: Path, seed: int) -> tuple[list[str], Path]:
    """Make the demo's runs; return their names and the configuration."""
    what = "a tomogram" if sample.run_count == 1 else f"{sample.run_count} tomograms"
    logger.info("simulating %s of %s voxels", what, " x ".join(map(str, sample.shape_zyx)))
    request = SimulationRequest(project, sample.recipe, sample.run_count, sample.shape_zyx, seed)
    for line in simulate_project(load_recipe(sample.recipe, sample.settings), request):
        logger.info("%s", line)
    return [request.run_name(number) for number in range(1, sample.run_count + 1)], project / CONFIG_NAME


def _train(configuration: Path, model: Path, runs: Sequence[str], seed: int) -> Path:
    request = TrainRequest((configuration,), model, InputSelection(runs=tuple(runs)), validation_runs=(runs[-1],))
    for line in train_model(request, demo_config([f"train.seed={seed}"])):
        logger.info("%s", line)
    return model


def _draw(configuration: Path, run: str, out: Path) -> None:
    project = open_project(configuration)
    tomogram = project.select_tomograms(runs=(run,))[0].read()
    picks = Picks.from_csv(out / "picks" / PICKS_NAME).only_selected()
    truth = project.read_picks(runs=(run,))
    draw_slices(tomogram, picks, project.objects, out / "picks.png", truth=truth)
