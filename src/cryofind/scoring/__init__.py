"""Picks against the truth: counts, the weighted F-beta, and what was hit or missed."""

from cryofind.scoring.f_beta import score, weighted_specs
from cryofind.scoring.match import Matches, ObjectMatches, match_candidates
from cryofind.scoring.segmentation import LabelOverlap, dice_from_overlaps, dice_per_object, measure_overlaps
from cryofind.scoring.tables import format_score_table

__all__ = [
    "LabelOverlap",
    "Matches",
    "ObjectMatches",
    "dice_from_overlaps",
    "dice_per_object",
    "format_score_table",
    "match_candidates",
    "measure_overlaps",
    "score",
    "weighted_specs",
]
