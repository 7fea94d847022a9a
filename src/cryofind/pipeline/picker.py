"""A model ready to pick: tomogram in, picks out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cryofind.config import Config, LocateConfig
from cryofind.errors import ConfigError, advise_known_names
from cryofind.models import ModelCard, SeenRun
from cryofind.pipeline.candidates import Prediction, predict_tomogram
from cryofind.pipeline.column_plan import ColumnPlan
from cryofind.pipeline.familiarity import Familiarity, compare_volume, warnings_of
from cryofind.pipeline.timing import timed
from cryofind.pipeline.trust import Selection, select_picks
from cryofind.pipeline.tuning import Tuning
from cryofind.predict import EngineChoice, ReadyNetworks, segment_probabilities
from cryofind.preprocess import preprocess_tomogram
from cryofind.types import UNNAMED_RUN, LabelVolume, ParticleSpec, Picks, ProbabilityVolume, Tomogram, VoxelGrid


@dataclass(frozen=True, eq=False)
class PickResult:
    """Everything that came out of one tomogram.

    Parameters
    ----------
    picks
        Every candidate above the floor; `selected` marks those above the object's threshold.
    notes
        What was assumed, mended or found odd, a line each.
    seconds
        Wall time by stage.
    engine
        What ran the networks.
    prediction
        What the network said; None where it was not kept, or never in memory as a whole.
    plan
        How the tomogram was cut; None where it was picked as a whole.
    trust
        How many particles are expected and what to expect of the picks, as in `run.json`.
    familiarity
        How the tomogram compares with those that the model learned from; None where nothing is known of these.
    """

    picks: Picks
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    engine: EngineChoice
    prediction: Prediction | None = None
    plan: ColumnPlan | None = None
    trust: Mapping[str, Any] = field(default_factory=dict)
    familiarity: Familiarity | None = None

    @property
    def probabilities(self) -> ProbabilityVolume | None:
        """What the network said, in main memory."""
        return self.prediction.volume if self.prediction is not None else None


@dataclass(frozen=True, eq=False)
class Picker:
    """One model, or an ensemble of models with the same objects and activation.

    Parameters
    ----------
    networks
        The members, in evaluation mode.
    cards
        Their model cards, in the same order; thresholds and calibration come from the first.
    folders
        Where they were loaded from.
    config
        The resolved recipe.
    """

    networks: tuple[nn.Module, ...]
    cards: tuple[ModelCard, ...]
    folders: tuple[Path, ...]
    config: Config

    @property
    def card(self) -> ModelCard:
        """The first member's card."""
        return self.cards[0]

    @property
    def seen_runs(self) -> tuple[SeenRun, ...]:
        """Runs that any member was trained, validated or tuned on."""
        return tuple(run for card in self.cards for run in card.training_runs)

    @property
    def specs(self) -> tuple[ParticleSpec, ...]:
        """What the model looks for, in channel order."""
        return self.card.specs()

    @property
    def tuning(self) -> Tuning:
        """Thresholds and calibration."""
        return Tuning(self.card.thresholds, self.card.calibration, {})

    @property
    def locate_config(self) -> LocateConfig:
        """Options of location where thresholds are known: with the floors that derive from them.

        Raises
        ------
        ConfigError
            If an option by object names what is no object of the model.
        """
        objects = [spec.name for spec in self.specs]
        for key in ("floors", "separation_factors"):
            for name in getattr(self.config.locate, key):
                if name not in objects:
                    advice = advise_known_names(name, objects)
                    raise ConfigError(f"locate.{key}.{name}", "is not an object of the model", advice)
        return self.tuning.with_floors(self.config.locate, objects)

    @cached_property
    def ready_networks(self) -> ReadyNetworks:
        """The networks with what runs them on this computer, chosen once; their weights must stay as they are.

        Raises
        ------
        ConfigError
            If the device or engine that the recipe asks for is not there, or does not suit the precision.
        """
        return ReadyNetworks.choose(self.networks, self.config.predict)

    def on_device(self, device: str) -> "Picker":
        """Return the picker with its networks on a device of that name, and nowhere else."""
        predict = self.config.predict.model_copy(update={"device": device, "devices": "auto"})
        return (
            self
            if predict == self.config.predict
            else replace(self, config=self.config.model_copy(update={"predict": predict}))
        )

    def pick(self, volume_zyx: NDArray[np.generic], *, voxel_spacing_angstrom: float, run: str = UNNAMED_RUN) -> Picks:
        """Pick the particles of one tomogram.

        Parameters
        ----------
        volume_zyx
            Real-valued array indexed [z, y, x], raw grey values.
        voxel_spacing_angstrom
            Angstrom per voxel.
        run
            Name of the run in the result.

        Returns
        -------
        Picks
            Every candidate above the floor, positions zyx in Angstrom with index 0 at 0; `selected` marks those
            above their object's threshold.
        """
        grid = VoxelGrid.isotropic(volume_zyx.shape, voxel_spacing_angstrom)
        return self.pick_tomogram(Tomogram(run, volume_zyx, grid)).picks

    def pick_tomogram(self, tomogram: Tomogram) -> PickResult:
        """Pick the particles of one tomogram and keep what led to them.

        Raises
        ------
        TomogramError
            If the voxel spacing is too far from the model's, or voxels are not finite.
        """
        seconds: dict[str, float] = {}
        with timed(seconds, "preprocess"):
            prepared = self.prepare(tomogram)
        result = self.pick_prepared(prepared)
        return replace(result, seconds={**seconds, **result.seconds})

    def pick_prepared(self, prepared: Tomogram, *, room_bytes: float | None = None) -> PickResult:
        """Pick the particles of a tomogram that `prepare` returned.

        Parameters
        ----------
        prepared
            The tomogram.
        room_bytes
            Main memory that networks on a CPU may take beside it; None: see `predict.memory_gigabytes`.

        Raises
        ------
        CryofindError
            As in `pick_tomogram`.
        """
        seconds: dict[str, float] = {}
        with timed(seconds, "network"):
            familiarity = compare_volume(prepared.volume_zyx, self.networks[0], self.card)
            prediction = self._predict(prepared, room_bytes)
        with timed(seconds, "locate"):
            selection = self.select(prediction.find_picks(self.specs, self.locate_config))
        engine = prediction.engine or self.ready_networks.choice
        notes = prepared.notes + warnings_of(familiarity)
        return PickResult(selection.picks, notes, seconds, engine, prediction, None, selection.trust, familiarity)

    def select(self, candidates: Picks) -> Selection:
        """Return the candidates of one tomogram, with raw scores, calibrated and selected; see `select_picks`."""
        return select_picks(candidates, self.tuning, self.specs, self.config)

    def prepare(self, tomogram: Tomogram, *, may_overwrite: bool = False) -> Tomogram:
        """Return a tomogram with the voxel spacing, grey values and contrast that the model expects.

        With `may_overwrite` the given voxels are needed no more, and may become the result's.
        """
        return preprocess_tomogram(
            tomogram,
            self.config.preprocess,
            spacing_angstrom=self.card.voxel_spacing_angstrom,
            polarity=self.card.polarity,
            may_overwrite=may_overwrite,
        )

    def find_candidates(self, tomogram: Tomogram) -> Picks:
        """Return the candidates of a tomogram as it was read, before calibration and thresholds."""
        return self.predict(self.prepare(tomogram)).find_picks(self.specs, self.config.locate)

    def predict(self, prepared: Tomogram) -> Prediction:
        """Return what the networks say about a tomogram that `prepare` returned."""
        return self._predict(prepared)

    def _predict(self, prepared: Tomogram, room_bytes: float | None = None) -> Prediction:
        return predict_tomogram(
            self.ready_networks, prepared, self.specs, self.card.activation, self.config, room_bytes=room_bytes
        )

    def segment(self, probabilities: ProbabilityVolume, grid: VoxelGrid) -> LabelVolume:
        """Return the label volume of a tomogram with this grid."""
        threshold = self.config.predict.segmentation_threshold
        return segment_probabilities(probabilities, self.specs, threshold=threshold, grid=grid)
