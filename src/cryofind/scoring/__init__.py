"""Picks against the truth: counts, the weighted F-beta, and what was hit or missed."""

from cryofind.scoring.circumstances import (
    CIRCUMSTANCES,
    Circumstance,
    Recall,
    RecallTable,
    find_circumstances,
    recall_by_circumstance,
    wilson_interval,
)
from cryofind.scoring.f_beta import score, weighted_specs
from cryofind.scoring.match import Matches, ObjectMatches, match_candidates
from cryofind.scoring.segmentation import LabelOverlap, dice_from_overlaps, dice_per_object, measure_overlaps
from cryofind.scoring.tables import format_score_table

__all__ = [
    "CIRCUMSTANCES",
    "Circumstance",
    "LabelOverlap",
    "Matches",
    "ObjectMatches",
    "Recall",
    "RecallTable",
    "dice_from_overlaps",
    "dice_per_object",
    "find_circumstances",
    "format_score_table",
    "match_candidates",
    "measure_overlaps",
    "recall_by_circumstance",
    "score",
    "weighted_specs",
    "wilson_interval",
]
