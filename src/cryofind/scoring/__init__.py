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
from cryofind.scoring.curves import CurvePoint, ScoreCurve, trace_curves
from cryofind.scoring.f_beta import score, weighted_specs
from cryofind.scoring.failures import FailureAnalysis, analyse_failures
from cryofind.scoring.match import Matches, ObjectMatches, match_candidates
from cryofind.scoring.residuals import Residual, Residuals, measure_residuals
from cryofind.scoring.segmentation import LabelOverlap, dice_from_overlaps, dice_per_object, measure_overlaps
from cryofind.scoring.tables import format_score_table

__all__ = [
    "CIRCUMSTANCES",
    "Circumstance",
    "CurvePoint",
    "FailureAnalysis",
    "LabelOverlap",
    "Matches",
    "ObjectMatches",
    "Recall",
    "RecallTable",
    "Residual",
    "Residuals",
    "ScoreCurve",
    "analyse_failures",
    "dice_from_overlaps",
    "dice_per_object",
    "find_circumstances",
    "format_score_table",
    "match_candidates",
    "measure_overlaps",
    "measure_residuals",
    "recall_by_circumstance",
    "score",
    "trace_curves",
    "weighted_specs",
    "wilson_interval",
]
