"""Find and name protein complexes in cryo-electron tomograms.

The stages, in the order in which data flows through them:

io -> preprocess -> targets -> models, train -> predict -> locate -> score -> export, report

The public API, all on this screen; each name is imported on first use, so that `import cryofind` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryofind.config import Config as Config
    from cryofind.config import load_config as load_config
    from cryofind.errors import CryofindError as CryofindError
    from cryofind.io import open_project as open_project
    from cryofind.io import read_tomogram as read_tomogram
    from cryofind.pipeline import Picker as Picker
    from cryofind.pipeline import load_model as load_model
    from cryofind.scoring import score as score
    from cryofind.types import LabelVolume as LabelVolume
    from cryofind.types import ParticleSpec as ParticleSpec
    from cryofind.types import Picks as Picks
    from cryofind.types import ProbabilityVolume as ProbabilityVolume
    from cryofind.types import ScoreReport as ScoreReport
    from cryofind.types import Tomogram as Tomogram
    from cryofind.types import VoxelGrid as VoxelGrid

__version__ = "0.1.0"

_HOMES = {
    "Config": "cryofind.config",
    "load_config": "cryofind.config",
    "CryofindError": "cryofind.errors",
    "open_project": "cryofind.io",
    "read_tomogram": "cryofind.io",
    "Picker": "cryofind.pipeline",
    "load_model": "cryofind.pipeline",
    "score": "cryofind.scoring",
    "LabelVolume": "cryofind.types",
    "ParticleSpec": "cryofind.types",
    "Picks": "cryofind.types",
    "ProbabilityVolume": "cryofind.types",
    "ScoreReport": "cryofind.types",
    "Tomogram": "cryofind.types",
    "VoxelGrid": "cryofind.types",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cryofind' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
