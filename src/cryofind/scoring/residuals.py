"""How far matched picks lie from their particles on average: what shows a shift, such as one by half a voxel."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from cryofind.scoring.verdicts import PickVerdicts
from cryofind.types import Picks, VoxelGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FloatTriple = tuple[float, float, float]

# A mean offset is worth a sentence beyond so many standard errors AND beyond this share of a voxel. Of few pairs, and
# of many means, the first grows: so that none is said of shifts by chance more often than of one mean of many pairs.
LARGEST_ERRORS = 3.0
LARGEST_SHARE = 0.1

# What a mean offset of about so many voxels along all axes usually is.
_USUAL_CAUSES = {
    0.5: "one side counts from the corner of a voxel, the other from its middle",
    1.0: "one side counts voxels from 1, the other from 0",
}
_NEAR = 0.15  # voxels


@dataclass(frozen=True)
class Residual:
    """Mean offset of picks from the particles that they hit, pick less particle.

    Parameters
    ----------
    object, run
        Which picks; empty: all objects, all runs.
    count
        Matched pairs of pick and particle.
    mean_zyx_angstrom
        Mean offset along z, y and x, Angstrom.
    error_zyx_angstrom
        Its standard error; infinite below two pairs.
    spread_zyx_angstrom
        Standard deviation of the offsets; 0 below two pairs.
    spacing_angstrom
        Voxel spacing of the tomograms (their mean), by which an offset is judged; None when it is not known.
    stands_out
        Along z, y and x: whether the mean lies beyond `LARGEST_ERRORS` standard errors and `LARGEST_SHARE` of a voxel.
        Of a part also beyond that from the pooled mean, where that one stands out: it says the same already.
    """

    object: str
    run: str
    count: int
    mean_zyx_angstrom: FloatTriple
    error_zyx_angstrom: FloatTriple
    spread_zyx_angstrom: FloatTriple
    spacing_angstrom: float | None
    stands_out: tuple[bool, bool, bool] = (False, False, False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary; None for an error that is not known."""
        document = asdict(self)
        document["error_zyx_angstrom"] = [e if np.isfinite(e) else None for e in self.error_zyx_angstrom]
        return document


@dataclass(frozen=True)
class Residuals:
    """Mean offsets, pooled and in parts.

    Parameters
    ----------
    pooled
        Of all objects and runs; None without a matched pick.
    by_object, by_run
        Of each object over all runs; of each run over all objects.
    by_object_and_run
        Of each object in each run.
    sentences
        What is out of place, by how much, and what it looks like; empty when nothing is.
    """

    pooled: Residual | None
    by_object: tuple[Residual, ...]
    by_run: tuple[Residual, ...]
    by_object_and_run: tuple[Residual, ...]
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all means as a JSON-ready dictionary."""
        return {
            "pooled": None if self.pooled is None else self.pooled.to_dict(),
            "by_object": [part.to_dict() for part in self.by_object],
            "by_run": [part.to_dict() for part in self.by_run],
            "by_object_and_run": [part.to_dict() for part in self.by_object_and_run],
            "sentences": list(self.sentences),
        }


def measure_residuals(
    candidates: Picks, truth: Picks, picks: PickVerdicts, grids: Mapping[str, VoxelGrid]
) -> Residuals:
    """Return the mean offset of the selected picks from the particles that they hit.

    Hits lie within the match radius: of a shift that comes near it, only the picks that still hit are seen, and the
    mean is too small.

    Parameters
    ----------
    candidates, truth
        The tables that were compared.
    picks
        The verdict on each candidate, from `analyse_failures`.
    grids
        Grid of each run's tomogram, as far as known; without any nothing stands out.
    """
    rows = np.flatnonzero(candidates.selected & (picks.hit_truths >= 0))
    if not len(rows):
        return Residuals(None, (), (), (), ())
    hit = picks.hit_truths[rows]
    offsets = candidates.positions_zyx_angstrom[rows] - truth.positions_zyx_angstrom[hit]
    objects, runs = candidates.objects[rows].tolist(), candidates.runs[rows].tolist()
    spacings = np.array([grids[run].spacing_angstrom if run in grids else np.nan for run in runs])
    all_objects = all_runs = [""] * len(rows)
    (pooled,) = _judge(_average(offsets, spacings, all_objects, all_runs), None)
    by_object = _judge(_average(offsets, spacings, objects, all_runs), pooled)
    by_run = _judge(_average(offsets, spacings, all_objects, runs), pooled)
    by_both = _judge(_average(offsets, spacings, objects, runs), pooled)
    sentences = tuple(_say(part) for part in (pooled, *by_object, *by_run) if any(part.stands_out))
    return Residuals(pooled, by_object, by_run, by_both, sentences)


def _average(offsets: Floats, spacings: Floats, objects: Sequence[str], runs: Sequence[str]) -> list[Residual]:
    """Return the mean offset of every combination of object and run, sorted."""
    names = sorted(set(zip(objects, runs, strict=True)))
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.array([code_of[name] for name in zip(objects, runs, strict=True)], dtype=np.int64)
    counts = np.bincount(codes)
    means = _sum_by_code(offsets, codes) / counts[:, None]
    squares = _sum_by_code((offsets - means[codes]) ** 2, codes)
    spreads = np.sqrt(squares / np.maximum(counts - 1, 1)[:, None])
    errors = np.where(counts[:, None] > 1, spreads / np.sqrt(counts)[:, None], np.inf)
    spacing_of = _sum_by_code(spacings[:, None], codes)[:, 0] / counts
    return [
        Residual(
            *name,
            int(counts[row]),
            _triple(means[row]),
            _triple(errors[row]),
            _triple(spreads[row]),
            float(spacing_of[row]) if np.isfinite(spacing_of[row]) else None,
        )
        for row, name in enumerate(names)
    ]


def _sum_by_code(values: Floats, codes: Ints) -> Floats:
    return np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)


def _triple(values: Floats) -> FloatTriple:
    z, y, x = values.tolist()
    return z, y, x


def _judge(parts: Sequence[Residual], pooled: Residual | None) -> tuple[Residual, ...]:
    """Mark what stands out from 0 and, where the pooled mean does so itself, from that one."""
    reference = np.zeros(3)
    if pooled is not None:
        reference = np.where(pooled.stands_out, pooled.mean_zyx_angstrom, 0.0)
    return tuple(replace(part, stands_out=_stands_out(part, reference, len(parts))) for part in parts)


def _stands_out(part: Residual, reference_zyx_angstrom: Floats, part_count: int) -> tuple[bool, bool, bool]:
    if part.spacing_angstrom is None or part.count < 2:
        return False, False, False
    mean = np.array(part.mean_zyx_angstrom)
    away = np.minimum(np.abs(mean), np.abs(mean - reference_zyx_angstrom))
    # As improbable as three standard errors of one mean of many pairs, by Student's distribution, over all axes.
    chance = ndtr(-LARGEST_ERRORS) / (3 * part_count)
    errors = max(LARGEST_ERRORS, -float(stdtrit(part.count - 1, chance)))
    is_beyond = (away > errors * np.array(part.error_zyx_angstrom)) & (away > LARGEST_SHARE * part.spacing_angstrom)
    z, y, x = is_beyond.tolist()
    return z, y, x


def _say(part: Residual) -> str:
    spacing = part.spacing_angstrom or np.nan
    axes = [axis for axis in range(3) if part.stands_out[axis]]
    shifts = [
        f"{part.mean_zyx_angstrom[axis]:+.2f} Angstrom along {'zyx'[axis]} "
        f"({part.mean_zyx_angstrom[axis] / spacing:+.2f} voxels, standard error "
        f"{part.error_zyx_angstrom[axis] / spacing:.2f})"
        for axis in axes
    ]
    what = f" of {part.object}" if part.object else f" in run {part.run}" if part.run else ""
    sentence = f"{part.count} matched picks{what} lie off their particles by {', '.join(shifts)} on average"
    cause = next((f", as when {cause}" for voxels, cause in _USUAL_CAUSES.items() if _fits(part, voxels)), "")
    return f"{sentence}{cause}."


def _fits(part: Residual, voxels: float) -> bool:
    """Say whether all three axes are off by so many voxels; those that do not stand out: as far as their errors tell.

    Who counts voxels in another way does so along every axis.
    """
    means, errors = (np.array(zyx) / part.spacing_angstrom for zyx in (part.mean_zyx_angstrom, part.error_zyx_angstrom))
    tolerance = np.where(part.stands_out, _NEAR, np.maximum(_NEAR, LARGEST_ERRORS * errors))
    return bool((np.abs(np.abs(means) - voxels) < tolerance).all())
