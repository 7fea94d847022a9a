"""Networks and a preprocessed tomogram -> probabilities -> candidates with raw scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from cryofind.config import Config, LocateConfig
from cryofind.locate import Candidates, locate_candidates, settle_candidates
from cryofind.models import OUTPUT_STRIDE
from cryofind.pipeline.device_candidates import can_locate_on_device, locate_on_device
from cryofind.predict import EngineChoice, ReadyNetworks, predict_tensor
from cryofind.predict.engine import Activation
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, Tomogram, VoxelGrid


@dataclass(frozen=True, eq=False)
class Prediction:
    """What networks say about a tomogram, where they said it: probabilities cross from a GPU only when asked for.

    Parameters
    ----------
    run
        Name of the run.
    tensor
        Probabilities (object, z, y, x), float32, on the device that computed them.
    objects
        Names of the channels.
    tomogram_grid
        Where the voxels of the tomogram lie.
    engine
        What ran the networks; None where that is not known.
    """

    run: str
    tensor: Tensor
    objects: tuple[str, ...]
    tomogram_grid: VoxelGrid
    engine: EngineChoice | None = None

    @property
    def grid(self) -> VoxelGrid:
        """Where the cells lie."""
        return self.tomogram_grid.coarsened(OUTPUT_STRIDE)

    @cached_property
    def volume(self) -> ProbabilityVolume:
        """The probabilities in main memory."""
        return ProbabilityVolume(self.run, self.tensor.cpu().numpy(), self.grid, self.objects)

    def locate(self, specs: Sequence[ParticleSpec], config: LocateConfig) -> Candidates:
        """Return every place that may hold a particle; on a GPU maxima are found there."""
        if self.tensor.device.type == "cpu" or not can_locate_on_device(config):
            return locate_candidates(self.volume, specs, config)
        return locate_on_device(self.tensor, self.objects, self.grid, specs, config, run=self.run)

    def find_picks(self, specs: Sequence[ParticleSpec], config: LocateConfig) -> Picks:
        """Return every candidate with its raw score."""
        candidates = self.locate(specs, config)
        return settle_candidates(candidates, self.objects, specs, config, run=self.run, grid=self.tomogram_grid)


def predict_tomogram(
    networks: ReadyNetworks,
    prepared: Tomogram,
    specs: Sequence[ParticleSpec],
    activation: Activation,
    config: Config,
    *,
    room_bytes: float | None = None,
) -> Prediction:
    """Return what networks say about a preprocessed tomogram; `room_bytes` as of `predict_tensor`."""
    tensor, engine = predict_tensor(
        networks,
        np.asarray(prepared.volume_zyx, dtype=np.float32),
        run=prepared.run,
        object_count=len(specs),
        activation=activation,
        config=config.predict,
        room_bytes=room_bytes,
    )
    return Prediction(prepared.run, tensor, tuple(spec.name for spec in specs), prepared.grid, engine)


def find_candidates(
    networks: Sequence[nn.Module],
    prepared: Tomogram,
    specs: Sequence[ParticleSpec],
    activation: Activation,
    config: Config,
) -> Picks:
    """Return every candidate in a preprocessed tomogram, with raw scores."""
    ready = ReadyNetworks.choose(networks, config.predict)
    return predict_tomogram(ready, prepared, specs, activation, config).find_picks(specs, config.locate)
