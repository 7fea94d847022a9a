"""The steps before the network, in order."""

from dataclasses import replace

import numpy as np

from cryofind.config import PreprocessConfig
from cryofind.preprocess.contrast import Polarity, detect_polarity
from cryofind.preprocess.normalize import fill_nonfinite, normalize_finite
from cryofind.preprocess.resample import match_spacing
from cryofind.types import Tomogram


def preprocess_tomogram(
    tomogram: Tomogram,
    config: PreprocessConfig,
    *,
    spacing_angstrom: float | None = None,
    polarity: Polarity | None = None,
    may_overwrite: bool = False,
) -> Tomogram:
    """Return the tomogram as a network expects it: damage mended, resampled, of one contrast, normalised.

    Parameters
    ----------
    tomogram
        As read.
    config
        How to normalise, and whether to invert.
    spacing_angstrom
        Voxel spacing of the model, Angstrom; None leaves the tomogram's.
    polarity
        Contrast of the model; None or `unclear` leaves the tomogram's.
    may_overwrite
        The tomogram's voxels are needed no more: a writable, contiguous float32 volume is normalised in place, which
        saves a volume of memory. By default they stay as they are.

    Returns
    -------
    Tomogram
        float32 voxels of zero mean and unit spread; `notes` is extended by a line for each thing that was done
        beyond normalising.

    Raises
    ------
    TomogramError
        If too many voxels are NaN or infinite, or the voxel spacing is too far from the model's.
    """
    filled, fill_notes = fill_nonfinite(tomogram.volume_zyx, config, subject=f"run '{tomogram.run}'")
    at_spacing = replace(tomogram, volume_zyx=filled, notes=tomogram.notes + fill_notes)
    if spacing_angstrom is not None:
        at_spacing = match_spacing(at_spacing, spacing_angstrom)
    # What was filled or resampled here is ours.
    is_ours = may_overwrite or at_spacing.volume_zyx is not tomogram.volume_zyx
    normalized, notes = normalize_finite(at_spacing.volume_zyx, config, may_overwrite=is_ours)
    inverts, polarity_notes = compare_polarity(normalized, polarity, config)
    if inverts:
        np.negative(normalized, out=normalized)
    return replace(at_spacing, volume_zyx=normalized, notes=at_spacing.notes + notes + polarity_notes)


def compare_polarity(
    volume_zyx: np.ndarray[tuple[int, ...], np.dtype[np.float32]], wanted: Polarity | None, config: PreprocessConfig
) -> tuple[bool, tuple[str, ...]]:
    """Say whether to invert a volume, and what there is to say about its contrast."""
    if wanted is None or wanted == "unclear":
        return False, ()
    found = detect_polarity(volume_zyx)
    if found in {"unclear", wanted}:
        return False, ()
    seen = f"particles look {found}, the model was trained on {wanted} ones"
    if config.polarity == "match":
        return True, (f"{seen}: the tomogram was inverted",)
    return False, (f"{seen}: if so, set preprocess.polarity to match",)
