"""How much memory a tomogram takes on its way through the networks, as a whole or a column at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from cryofind.config import PredictConfig
from cryofind.models import OUTPUT_STRIDE
from cryofind.predict.augment_test import choose_views
from cryofind.predict.engine import MAX_ELEMENTS, estimate_bytes
from cryofind.predict.engines import choose_engine, load_ensemble
from cryofind.predict.ensemble import Ensemble
from cryofind.predict.tiling import IntTriple, round_up

# Voxels as read and as prepared, float32 both.
VOXEL_BYTES = 8
# Below blocks of this side, surroundings computed twice cost more than the rest.
_LEAST_TILE_SIDE = 128


@dataclass(frozen=True)
class MemoryNeeds:
    """What networks need, known without a tomogram.

    Parameters
    ----------
    ensemble
        The networks, without themselves: what they need.
    passes
        How many logits are averaged: networks times views.
    tile_zyx
        Blocks that were asked for; None where the choice is free.
    """

    ensemble: Ensemble
    passes: int
    tile_zyx: IntTriple | None = None

    @classmethod
    def of(cls, networks: Sequence[nn.Module], config: PredictConfig) -> "MemoryNeeds":
        """Return what networks need with these settings; errors as in `predict_probabilities`."""
        choice = choose_engine(networks, config)
        if choice.precision == "int8":
            # Would be calibrated on a tomogram; float32 needs more.
            choice = replace(choice, precision="float32")
        with torch.inference_mode():
            ensemble = load_ensemble(networks, choice, np.zeros((0, 0, 0), np.float32))
        passes = len(networks) * len(choose_views(config.test_time_augmentation))
        return cls(replace(ensemble, members=()), passes, config.tile_zyx)

    @property
    def runs_in_main_memory(self) -> bool:
        """Whether the networks share the memory of the voxels."""
        return self.ensemble.device.type == "cpu"

    def whole_bytes(self, shape_zyx: IntTriple) -> float:
        """Return the bytes of main memory that a tomogram takes as a whole, the networks working on small blocks."""
        voxels = float(math.prod(shape_zyx))
        if not self.runs_in_main_memory:
            return voxels * (VOXEL_BYTES + self._probability_bytes())
        multiple = self.ensemble.multiple
        z, y, x = (min(round_up(size, multiple), round_up(_LEAST_TILE_SIDE, multiple)) for size in shape_zyx)
        return voxels * VOXEL_BYTES + estimate_bytes(self.ensemble, shape_zyx, (z, y, x))

    def column_bytes(self, shape_zyx: IntTriple) -> float:
        """Return the bytes of main memory that a column takes in one block, its voxels (float32) included.

        Less than `estimate_bytes` counts, which is made for blended blocks: nothing is weighted or summed here.
        """
        voxels = float(math.prod(shape_zyx))
        if not self.runs_in_main_memory:
            return voxels * (4 + self._probability_bytes())
        if self.tile_zyx is not None:
            return voxels * 4 + estimate_bytes(self.ensemble, shape_zyx, self.tile_zyx)
        logits = self.ensemble.channels / OUTPUT_STRIDE**3
        # The block, its logits, feature maps; of several passes, the turned block and the sum in float32.
        network = self.ensemble.dtype.itemsize * (1 + logits) + self.ensemble.map_bytes_per_voxel
        if self.passes > 1:
            network += self.ensemble.dtype.itemsize + 4 * logits
        return voxels * 4 + math.prod(self.block_of(shape_zyx)) * (network + self._probability_bytes())

    def block_of(self, shape_zyx: IntTriple) -> IntTriple:
        """Return the shape of a column, padded as the networks want it."""
        z, y, x = (round_up(size, self.ensemble.multiple) for size in shape_zyx)
        return z, y, x

    def can_take(self, shape_zyx: IntTriple) -> bool:
        """Say whether the kernels can count the elements of a column in one block."""
        return math.prod(self.block_of(shape_zyx)) * max(self.ensemble.largest_map_per_voxel, 1.0) <= MAX_ELEMENTS

    def _probability_bytes(self) -> float:
        return 4 * self.ensemble.channels / OUTPUT_STRIDE**3
