"""Unlabelled tomograms, measured so that a recipe can be fitted to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofind.config import PreprocessConfig
from cryofind.errors import TomogramError
from cryofind.io import TomogramEntry
from cryofind.pipeline.inputs import InputSelection, collect_tomograms
from cryofind.preprocess.contrast import detect_polarity
from cryofind.preprocess.normalize import normalize_volume
from cryofind.simulate.measure import LEAST_VOXELS, TomogramMeasurement, measure_tomogram
from cryofind.types import Tomogram
from cryofind.types.grid import IntTriple

SPACING_LIMITS_ANGSTROM = (3.0, 40.0)
# Voxel spacings of several tomograms that one recipe can stand for, and axes of one tomogram, agree to this share.
SPACING_TOLERANCE = 0.02
# A voxel spacing that differs by more than this factor from the usual one is worth a note.
SPACING_NOTE_FACTOR = 1.25
# Share of voxels that may be NaN or infinite; they become the median.
MAX_NONFINITE_FRACTION = 0.01


@dataclass(frozen=True, eq=False)
class MeasuredTomogram:
    """What was measured on a tomogram.

    Parameters
    ----------
    run
        Its name.
    measured
        The numbers.
    notes
        What had to be assumed or mended, a line each.
    """

    run: str
    measured: TomogramMeasurement
    notes: tuple[str, ...]


def collect_all_tomograms(inputs: Sequence[Path], selection: InputSelection) -> tuple[TomogramEntry, ...]:
    """Return the tomograms of inputs; any that cannot be opened is an error, lest the fit be quietly another.

    Raises
    ------
    CryofindError
        Of the first input that failed.
    """
    collected = collect_tomograms(inputs, selection)
    for failed in collected.failed:
        raise failed.error
    return collected.entries


def measure_entry(
    entry: TomogramEntry, selection: InputSelection, *, usual_spacing_angstrom: float
) -> MeasuredTomogram:
    """Read and measure a tomogram; a bright one is inverted.

    Parameters
    ----------
    entry
        Where it is.
    selection
        Voxel spacing and missing chunks.
    usual_spacing_angstrom
        Voxel spacing of the starting recipe, for a note.

    Raises
    ------
    TomogramError
        If it cannot be read, is too small, constant or damaged, or has voxels of an unusable size.
    """
    tomogram = entry.read(
        voxel_spacing_angstrom=selection.voxel_spacing_angstrom, allow_missing_chunks=selection.allow_missing_chunks
    )
    subject = f"run '{tomogram.run}'"
    _refuse_unusable_grid(tomogram, subject)
    spacing = tomogram.grid.spacing_angstrom
    notes = list(tomogram.notes)
    if max(spacing / usual_spacing_angstrom, usual_spacing_angstrom / spacing) > SPACING_NOTE_FACTOR:
        notes.append(f"the starting recipe has {usual_spacing_angstrom:g} Angstrom per voxel: changed to {spacing:g}")
    config = PreprocessConfig(max_nonfinite_fraction=MAX_NONFINITE_FRACTION)
    values = normalize_volume(tomogram.volume_zyx, config, subject=subject)
    if not values.any():
        raise TomogramError(subject, "has no contrast: all voxels are equal", "give another tomogram")
    polarity = detect_polarity(values)
    if polarity == "bright":
        np.negative(values, out=values)
        notes.append("particles look bright: it was inverted, and simulated tomograms have dark ones")
    if polarity == "unclear":
        notes.append("particles look neither dark nor bright: taken to be dark")
    measured = measure_tomogram(values, spacing)
    if measured.tilts.axis == "x":
        notes.append("its tilt axis lies along x, that of simulated tomograms along y: training turns by quarters")
    return MeasuredTomogram(tomogram.run, measured, tuple(notes))


def refuse_mixed_spacings(tomograms: Sequence[MeasuredTomogram]) -> None:
    """Refuse tomograms of different voxel spacing.

    Raises
    ------
    TomogramError
        With the first that differs.
    """
    first = tomograms[0]
    for other in tomograms[1:]:
        spacings = (first.measured.spacing_angstrom, other.measured.spacing_angstrom)
        if max(spacings) > (1 + SPACING_TOLERANCE) * min(spacings):
            problem = f"has {spacings[1]:g} Angstrom per voxel, run '{first.run}' {spacings[0]:g}"
            raise TomogramError(f"run '{other.run}'", problem, "fit a recipe to each kind")


def refuse_small(shape_zyx: IntTriple, subject: str) -> None:
    """Refuse a tomogram that shows too little to be measured.

    Raises
    ------
    TomogramError
        If so.
    """
    if min(shape_zyx) < LEAST_VOXELS:
        shown = " x ".join(map(str, shape_zyx))
        problem = f"has {shown} voxels (z, y, x), but {LEAST_VOXELS} are needed along each axis to be measured"
        raise TomogramError(subject, problem, "give a larger one")


def _refuse_unusable_grid(tomogram: Tomogram, subject: str) -> None:
    refuse_small(tomogram.grid.shape_zyx, subject)
    spacing = tomogram.grid.spacing_angstrom
    low, high = SPACING_LIMITS_ANGSTROM
    if not low <= spacing <= high:
        problem = f"has {spacing:g} Angstrom per voxel, expected {low:g} to {high:g}"
        raise TomogramError(subject, problem, "bin it, or correct it with --voxel-size")
    spacings = tomogram.grid.spacing_zyx_angstrom
    if max(spacings) > (1 + SPACING_TOLERANCE) * min(spacings):
        problem = f"has {', '.join(f'{size:g}' for size in spacings)} Angstrom per voxel along z, y, x, which differ"
        raise TomogramError(subject, problem, "resample it to equal ones")
