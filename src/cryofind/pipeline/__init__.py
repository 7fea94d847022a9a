"""The story: the stages in order, handed to each other. Everything that a command does is one function here."""

from cryofind.pipeline.demo import run_demo
from cryofind.pipeline.examine import describe, examine_computer, examine_input
from cryofind.pipeline.handover import export_folder, submit_picks
from cryofind.pipeline.importing import init_project
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.pick import PickSummary, pick_into_folder
from cryofind.pipeline.picker import Picker, PickResult, load_model
from cryofind.pipeline.scoring import score_paths, score_segmentations
from cryofind.pipeline.train import TrainRequest, stages_of_initial, train_model
from cryofind.pipeline.tune import tune_model

__all__ = [
    "InputSelection",
    "PickResult",
    "PickSummary",
    "Picker",
    "TrainRequest",
    "describe",
    "examine_computer",
    "examine_input",
    "export_folder",
    "init_project",
    "load_model",
    "pick_into_folder",
    "run_demo",
    "score_paths",
    "score_segmentations",
    "stages_of_initial",
    "submit_picks",
    "train_model",
    "tune_model",
]
