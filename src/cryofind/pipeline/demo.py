"""`cryofind demo`: the whole road on simulated tomograms, without data and without a GPU."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.config import Config, load_config
from cryofind.io import open_project
from cryofind.io.copick import CONFIG_NAME
from cryofind.pipeline.handover import submit_picks
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick import PICKS_NAME, pick_into_folder
from cryofind.pipeline.picker import load_model
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment
from cryofind.pipeline.scoring import score_paths
from cryofind.pipeline.simulate import SimulationRequest, simulate_project
from cryofind.pipeline.train import TrainRequest, train_model
from cryofind.report import draw_slices
from cryofind.scoring import format_score_table
from cryofind.simulate import load_recipe
from cryofind.types import Picks

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind demo"
SHIPPED_MODEL = "czii-sim-small"

# Thin ice, so filled that every run holds each species several times.
RECIPE = "easy"
RECIPE_SETTINGS = ("sample.crowding=[4, 6]",)
SHAPE_ZYX = (64, 256, 256)
RUN_COUNT = 6  # the last is held out; the one before chooses the thresholds

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
    """Return the recipe of the demo."""
    return load_config(settings=[*SETTINGS, *settings])


def run_demo(out: Path, *, shipped: bool = False, seed: int = 0) -> list[str]:
    """Simulate tomograms, train on some, pick the one held out, score it; return a summary, a line each.

    Parameters
    ----------
    out
        Folder to fill with `project`, `model`, `picks`, `submission.csv` and `picks.png`; a demo in it is made anew.
    shipped
        Pick with the shipped model instead of training one.
    seed
        Seed of simulation and training.

    Raises
    ------
    OutputError
        If `out` holds something that no demo made.
    """
    started = time.perf_counter()
    claim_folder(out, MADE_BY)
    for part in ("project", "model", "picks"):
        shutil.rmtree(out / part, ignore_errors=True)
    write_json(out / RECORD_NAME, {"made_by": MADE_BY, "environment": describe_environment()})
    runs, configuration = _simulate(out / "project", seed)
    held_out = runs[-1]
    model = SHIPPED_MODEL if shipped else str(_train(configuration, out / "model", runs[:-1], seed))
    picker = load_model(model)
    pick_into_folder([configuration], out / "picks", picker, selection=InputSelection(runs=(held_out,)))
    report = score_paths(out / "picks", configuration)
    submit_picks(out / "picks", out / "submission.csv")
    _draw(configuration, held_out, out)
    return [
        f"score of {held_out}, which nothing was chosen on (easy, and simulated: real tomograms are harder)",
        format_score_table(report),
        f"picks: {out / 'picks' / PICKS_NAME}; submission: {out / 'submission.csv'}; picture: {out / 'picks.png'}",
        f"done in {time.perf_counter() - started:.0f} s",
    ]


def _simulate(project: Path, seed: int) -> tuple[list[str], Path]:
    """Make the demo's runs; return their names and the configuration."""
    logger.info("simulating %d tomograms of %s voxels", RUN_COUNT, " x ".join(map(str, SHAPE_ZYX)))
    request = SimulationRequest(project, RECIPE, RUN_COUNT, SHAPE_ZYX, seed)
    for line in simulate_project(load_recipe(RECIPE, RECIPE_SETTINGS), request):
        logger.info("%s", line)
    return [request.run_name(number) for number in range(1, RUN_COUNT + 1)], project / CONFIG_NAME


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
