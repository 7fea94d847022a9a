"""Tomogram to tomogram: voxel spacing, contrast and grey values as a network expects them."""

from cryofind.preprocess.contrast import Polarity, detect_polarity
from cryofind.preprocess.normalize import fill_nonfinite, normalize_volume
from cryofind.preprocess.resample import build_interpolation, match_spacing, resample_volume
from cryofind.preprocess.tomogram import preprocess_tomogram

__all__ = [
    "Polarity",
    "build_interpolation",
    "detect_polarity",
    "fill_nonfinite",
    "match_spacing",
    "normalize_volume",
    "preprocess_tomogram",
    "resample_volume",
]
