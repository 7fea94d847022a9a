"""Tomogram to tomogram: voxel spacing, contrast and grey values as a network expects them."""

from cryofind.preprocess.contrast import Polarity, central_box, detect_polarity
from cryofind.preprocess.normalize import count_unusable, fill_nonfinite, normalize_volume
from cryofind.preprocess.piecewise import Evidence, Preparation, choose_stride, plan_preparation
from cryofind.preprocess.resample import build_interpolation, match_spacing, needs_resampling, resample_volume
from cryofind.preprocess.tomogram import preprocess_tomogram
from cryofind.preprocess.traits import measure_traits, place_blocks

__all__ = [
    "Evidence",
    "Polarity",
    "Preparation",
    "build_interpolation",
    "central_box",
    "choose_stride",
    "count_unusable",
    "detect_polarity",
    "fill_nonfinite",
    "match_spacing",
    "measure_traits",
    "needs_resampling",
    "normalize_volume",
    "place_blocks",
    "plan_preparation",
    "preprocess_tomogram",
    "resample_volume",
]
