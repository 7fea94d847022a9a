"""Probability volumes to picks: peaks or regions, one per particle, and the thresholds that select them."""

from cryofind.locate.calibrate import apply_calibration, find_new_hits, fit_calibration, undo_calibration
from cryofind.locate.expected import Abundance, count_candidates, count_expected_best, estimate_abundance
from cryofind.locate.find import Candidates, find_picks, locate_candidates, settle_candidates
from cryofind.locate.peaks import Peaks, find_peaks
from cryofind.locate.refine import recentre_peaks, refine_peaks
from cryofind.locate.split_merge import Regions, find_regions
from cryofind.locate.suppress import suppress_neighbours
from cryofind.locate.thresholds import Threshold, ThresholdCurve, fit_threshold

__all__ = [
    "Abundance",
    "Candidates",
    "Peaks",
    "Regions",
    "Threshold",
    "ThresholdCurve",
    "apply_calibration",
    "count_candidates",
    "count_expected_best",
    "estimate_abundance",
    "find_new_hits",
    "find_peaks",
    "find_picks",
    "find_regions",
    "fit_calibration",
    "fit_threshold",
    "locate_candidates",
    "recentre_peaks",
    "refine_peaks",
    "settle_candidates",
    "suppress_neighbours",
    "undo_calibration",
]
