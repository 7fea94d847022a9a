"""Networks and a preprocessed tomogram -> probability volumes -> candidates with raw scores."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import nn

from cryofind.config import Config
from cryofind.locate import find_picks
from cryofind.predict import predict_probabilities
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, Tomogram

Activation = Literal["softmax", "sigmoid"]


def predict_tomogram(
    networks: Sequence[nn.Module],
    prepared: Tomogram,
    specs: Sequence[ParticleSpec],
    activation: Activation,
    config: Config,
) -> ProbabilityVolume:
    """Return what networks say about a preprocessed tomogram."""
    return predict_probabilities(
        networks,
        np.asarray(prepared.volume_zyx, dtype=np.float32),
        prepared.grid,
        run=prepared.run,
        objects=[spec.name for spec in specs],
        activation=activation,
        config=config.predict,
    )


def find_candidates(
    networks: Sequence[nn.Module],
    prepared: Tomogram,
    specs: Sequence[ParticleSpec],
    activation: Activation,
    config: Config,
) -> Picks:
    """Return every candidate in a preprocessed tomogram, with raw scores."""
    probabilities = predict_tomogram(networks, prepared, specs, activation, config)
    return find_picks(probabilities, specs, config.locate, grid=prepared.grid)
