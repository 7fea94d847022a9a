"""What a training page shows, as plain data; the pipeline gathers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryofind.types import ParticleSpec
from cryofind.types.calibration import CandidateCounts

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]

LOSS, GRADIENT_NORM, LEARNING_RATE, F_BETA = "loss", "gradient_norm", "learning_rate", "f_beta"
F_BETA_OF, TIME_OF = f"{F_BETA}/", "time/"
STEP_SECONDS = "step_seconds"


class Curve(NamedTuple):
    """One quantity over the steps of a training: shape (n,) each, steps rising; a value that was not finite is NaN."""

    steps: Floats
    values: Floats


@dataclass(frozen=True, eq=False)
class TrainingHistory:
    """What one training wrote down.

    Parameters
    ----------
    name
        `training`, or the fold.
    curves
        By name of the quantity: `loss`, `f_beta/OBJECT`, `time/PART` and so on.
    planned_steps
        Steps it is to take; None if that is not known.
    last_written
        When its last line was written, UTC, in words.
    recipe
        Its resolved recipe, empty if not known.
    broken_lines
        Lines that could not be read.
    """

    name: str
    curves: Mapping[str, Curve]
    planned_steps: int | None = None
    last_written: str = ""
    recipe: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    broken_lines: int = 0

    @property
    def steps(self) -> int:
        """Steps that are done; 0 before the first."""
        return int(max((curve.steps[-1] for curve in self.curves.values()), default=0))

    @property
    def is_complete(self) -> bool:
        """Whether it took all its steps."""
        return self.planned_steps is not None and self.steps >= self.planned_steps

    def curve(self, name: str) -> Curve:
        """Return a quantity, empty if it was never written."""
        return self.curves.get(name, Curve(np.zeros(0), np.zeros(0)))

    def last(self, name: str) -> float | None:
        """Return the last finite value of a quantity, None if there is none."""
        values = self.curve(name).values
        known = values[np.isfinite(values)]
        return float(known[-1]) if len(known) else None

    def setting(self, stage: str, key: str) -> Any:
        """Return an option of the recipe, None if it is not known."""
        table = self.recipe.get(stage)
        return table.get(key) if isinstance(table, Mapping) else None


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """How the raw scores of an object become probabilities, and the candidates that this was learnt from.

    Parameters
    ----------
    log_odds
        Of raw scores, shape (n,), rising.
    probabilities
        What they become, shape (n,).
    counts
        None where the card does not say.
    """

    log_odds: Floats
    probabilities: Floats
    counts: CandidateCounts | None


class SeenRow(NamedTuple):
    """A run that a model has seen: what for, and the hashes of its voxels and picks."""

    run: str
    role: str
    volume_sha256: str
    picks_sha256: str


@dataclass(frozen=True, eq=False)
class CardFacts:
    """What a model says about itself.

    Parameters
    ----------
    name
        Its name.
    specs
        Its objects; the threshold of each is None where it has the default.
    lines
        Pairs of a word and what there is to say: network, voxel spacing, kinds of tomograms and so on.
    f_beta
        F-beta by object, as the model was saved; empty if it was not measured.
    f_beta_source
        What that was measured on, in words.
    f_beta_total
        The same for all objects together, if known.
    calibration
        By object.
    runs
        What it has seen.
    recipe
        The resolved recipe.
    versions
        Of the software that made it.
    """

    name: str
    specs: tuple[ParticleSpec, ...]
    lines: tuple[tuple[str, str], ...]
    f_beta: Mapping[str, float]
    f_beta_source: str
    f_beta_total: float | None
    calibration: Mapping[str, CalibrationCurve]
    runs: tuple[SeenRow, ...]
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ExampleCrop:
    """A small part of a tomogram around a particle: what is there, what was asked for, what the network says.

    Parameters
    ----------
    run, object_name
        Whose.
    position_zyx_angstrom
        Of the particle.
    grey
        One slice, shape (h, w), even sizes.
    target, prediction
        Of every object, shape (K, h / 2, w / 2), 0 to 1: each cell lies over 2 x 2 pixels.
    center
        Where the particle is in the slice: row and column.
    radius_pixels
        Of the particle; None if it has no radius.
    pixel_angstrom
        Side of a pixel.
    score
        The highest prediction of the particle's own object near its centre.
    other, other_score
        The object that is predicted most besides, and how much.
    """

    run: str
    object_name: str
    position_zyx_angstrom: tuple[float, float, float]
    grey: Float32s
    target: Float32s
    prediction: Float32s
    center: tuple[float, float]
    radius_pixels: float | None
    pixel_angstrom: float
    score: float
    other: str
    other_score: float


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """All that is on a training page.

    Parameters
    ----------
    name
        Of the model.
    folder
        Where it is.
    finished
        When its training ended, as in `run.json`; None if it has not, or that is not known.
    is_running_or_cut
        Whether a training was begun in the folder and has not ended.
    card
        None before the model is written.
    histories
        One for each training in the folder: several with folds.
    examples
        Crops, by object.
    examples_source
        What they are of, in words.
    notes
        What could not be shown, a line each.
    environment
        What made it: pairs of a word and what there is to say.
    """

    name: str
    folder: str
    finished: str | None
    is_running_or_cut: bool
    card: CardFacts | None
    histories: tuple[TrainingHistory, ...]
    examples: tuple[ExampleCrop, ...] = ()
    examples_source: str = ""
    notes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
