"""The nouns that the stages exchange: frozen and checked, free of files and of torch."""

from cryofind.types.calibration import Calibration, CandidateCounts
from cryofind.types.grid import VoxelGrid
from cryofind.types.labels import LabelVolume
from cryofind.types.names import check_name, check_run_name
from cryofind.types.particles import ParticleSpec, find_spec
from cryofind.types.picks import UNNAMED_RUN, Picks
from cryofind.types.probability import ProbabilityVolume
from cryofind.types.scores import ObjectScore, ScoreReport
from cryofind.types.tomogram import Tomogram

__all__ = [
    "UNNAMED_RUN",
    "Calibration",
    "CandidateCounts",
    "LabelVolume",
    "ObjectScore",
    "ParticleSpec",
    "Picks",
    "ProbabilityVolume",
    "ScoreReport",
    "Tomogram",
    "VoxelGrid",
    "check_name",
    "check_run_name",
    "find_spec",
]
