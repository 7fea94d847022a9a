"""`cryofind demo`: the whole road on phantoms, without data and without a GPU."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.config import Config, load_config
from cryofind.io import open_project
from cryofind.pipeline.handover import submit_picks
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick import PICKS_NAME, pick_into_folder
from cryofind.pipeline.picker import load_model
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment
from cryofind.pipeline.scoring import score_paths
from cryofind.pipeline.train import TrainRequest, train_model
from cryofind.report import draw_slices
from cryofind.scoring import format_score_table
from cryofind.testing import write_phantom_project
from cryofind.types import Picks

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind demo"
SHIPPED_MODEL = "phantom"

LEARNING_RUNS = ("PHANTOM_1", "PHANTOM_2", "PHANTOM_3", "PHANTOM_4")
THRESHOLD_RUN = "PHANTOM_5"
HELD_OUT_RUN = "PHANTOM_6"
SHAPE_ZYX = (64, 256, 256)

# A small network for three minutes on two cores. The phantoms' annotation is complete, so nothing is spared as
# "unlabelled".
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
    """Make phantoms, train on some, pick the one held out, score it; return a summary, a line each.

    Parameters
    ----------
    out
        Folder to fill with `project`, `model`, `picks`, `submission.csv` and `picks.png`; a demo in it is made anew.
    shipped
        Pick with the shipped model instead of training one.
    seed
        Seed of phantoms and training.

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
    project = out / "project"
    runs = (HELD_OUT_RUN,) if shipped else (*LEARNING_RUNS, THRESHOLD_RUN, HELD_OUT_RUN)
    logger.info("making %d phantom tomograms of %s voxels", len(runs), " x ".join(map(str, SHAPE_ZYX)))
    configuration = write_phantom_project(project, runs=runs, seed=seed, shape_zyx=SHAPE_ZYX)
    model = SHIPPED_MODEL if shipped else str(_train(configuration, out / "model", seed))
    picker = load_model(model)
    pick_into_folder([configuration], out / "picks", picker, selection=InputSelection(runs=(HELD_OUT_RUN,)))
    report = score_paths(out / "picks", configuration)
    submit_picks(out / "picks", out / "submission.csv")
    _draw(configuration, out)
    return [
        f"score of {HELD_OUT_RUN}, which nothing was chosen on (a phantom: it says nothing about real tomograms)",
        format_score_table(report),
        f"picks: {out / 'picks' / PICKS_NAME}; submission: {out / 'submission.csv'}; picture: {out / 'picks.png'}",
        f"done in {time.perf_counter() - started:.0f} s",
    ]


def _train(configuration: Path, model: Path, seed: int) -> Path:
    request = TrainRequest(
        (configuration,),
        model,
        InputSelection(runs=(*LEARNING_RUNS, THRESHOLD_RUN)),
        validation_runs=(THRESHOLD_RUN,),
    )
    for line in train_model(request, demo_config([f"train.seed={seed}"])):
        logger.info("%s", line)
    return model


def _draw(configuration: Path, out: Path) -> None:
    project = open_project(configuration)
    tomogram = project.select_tomograms(runs=(HELD_OUT_RUN,))[0].read()
    picks = Picks.from_csv(out / "picks" / PICKS_NAME).only_selected()
    truth = project.read_picks(runs=(HELD_OUT_RUN,))
    draw_slices(tomogram, picks, project.objects, out / "picks.png", truth=truth)
