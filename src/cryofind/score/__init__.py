"""Picks against the truth: counts, the weighted F-beta, and what was hit or missed."""

import sys
from types import ModuleType
from typing import Any

from cryofind.score.f_beta import score, weighted_specs
from cryofind.score.match import Matches, ObjectMatches, match_candidates
from cryofind.score.segmentation import LabelOverlap, dice_from_overlaps, dice_per_object, measure_overlaps
from cryofind.score.tables import format_score_table
from cryofind.types import Picks


def picks_fingerprint(truth: Picks) -> str:
    """Return what a run is recognised by: `Picks.fingerprint` of its true picks."""
    return truth.fingerprint()


class _CallableModule(ModuleType):
    """The module, callable: importing it makes Python bind `cryofind.score`, the function's name, to the module."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return score(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule

__all__ = [
    "LabelOverlap",
    "Matches",
    "ObjectMatches",
    "dice_from_overlaps",
    "dice_per_object",
    "format_score_table",
    "match_candidates",
    "measure_overlaps",
    "picks_fingerprint",
    "score",
    "weighted_specs",
]
