"""The story: the stages in order, handed to each other. Everything that a command does is one function here.

Each name is imported on first use: simulating needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryofind.pipeline.demo import run_demo as run_demo
    from cryofind.pipeline.examine import describe as describe
    from cryofind.pipeline.examine import examine_computer as examine_computer
    from cryofind.pipeline.examine import examine_input as examine_input
    from cryofind.pipeline.handover import export_folder as export_folder
    from cryofind.pipeline.handover import submit_picks as submit_picks
    from cryofind.pipeline.importing import init_project as init_project
    from cryofind.pipeline.inputs import InputSelection as InputSelection
    from cryofind.pipeline.loading import load_model as load_model
    from cryofind.pipeline.pick import PickSummary as PickSummary
    from cryofind.pipeline.pick import pick_into_folder as pick_into_folder
    from cryofind.pipeline.picker import Picker as Picker
    from cryofind.pipeline.picker import PickResult as PickResult
    from cryofind.pipeline.report import ReportRequest as ReportRequest
    from cryofind.pipeline.report import write_report as write_report
    from cryofind.pipeline.scoring import score_paths as score_paths
    from cryofind.pipeline.scoring import score_segmentations as score_segmentations
    from cryofind.pipeline.search import search_recipe as search_recipe
    from cryofind.pipeline.search_runner import SearchRequest as SearchRequest
    from cryofind.pipeline.search_space import load_search as load_search
    from cryofind.pipeline.simulate import SimulationRequest as SimulationRequest
    from cryofind.pipeline.simulate import simulate_project as simulate_project
    from cryofind.pipeline.soups import average_models as average_models
    from cryofind.pipeline.train import stages_of_initial as stages_of_initial
    from cryofind.pipeline.train import train_model as train_model
    from cryofind.pipeline.trainer import TrainRequest as TrainRequest
    from cryofind.pipeline.trust import describe_trust as describe_trust
    from cryofind.pipeline.tune import tune_model as tune_model
    from cryofind.pipeline.view import ViewRequest as ViewRequest
    from cryofind.pipeline.view import open_view as open_view

_HOMES = {
    "run_demo": "cryofind.pipeline.demo",
    "describe": "cryofind.pipeline.examine",
    "examine_computer": "cryofind.pipeline.examine",
    "examine_input": "cryofind.pipeline.examine",
    "export_folder": "cryofind.pipeline.handover",
    "submit_picks": "cryofind.pipeline.handover",
    "init_project": "cryofind.pipeline.importing",
    "InputSelection": "cryofind.pipeline.inputs",
    "load_model": "cryofind.pipeline.loading",
    "PickSummary": "cryofind.pipeline.pick",
    "pick_into_folder": "cryofind.pipeline.pick",
    "PickResult": "cryofind.pipeline.picker",
    "Picker": "cryofind.pipeline.picker",
    "ReportRequest": "cryofind.pipeline.report",
    "write_report": "cryofind.pipeline.report",
    "score_paths": "cryofind.pipeline.scoring",
    "score_segmentations": "cryofind.pipeline.scoring",
    "search_recipe": "cryofind.pipeline.search",
    "load_search": "cryofind.pipeline.search_space",
    "SearchRequest": "cryofind.pipeline.search_runner",
    "SimulationRequest": "cryofind.pipeline.simulate",
    "simulate_project": "cryofind.pipeline.simulate",
    "average_models": "cryofind.pipeline.soups",
    "stages_of_initial": "cryofind.pipeline.train",
    "train_model": "cryofind.pipeline.train",
    "TrainRequest": "cryofind.pipeline.trainer",
    "describe_trust": "cryofind.pipeline.trust",
    "tune_model": "cryofind.pipeline.tune",
    "ViewRequest": "cryofind.pipeline.view",
    "open_view": "cryofind.pipeline.view",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cryofind.pipeline' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
