"""How much main memory a tomogram takes on its way through the networks, as a whole or a column at a time."""

import math
from dataclasses import dataclass

from cryofind.config import PredictConfig
from cryofind.models import OUTPUT_STRIDE
from cryofind.predict.augment_test import choose_views
from cryofind.predict.ensemble import Ensemble
from cryofind.predict.ready import ReadyNetworks
from cryofind.predict.room import MAX_ELEMENTS, estimate_bytes
from cryofind.predict.tiling import IntTriple, round_up

# Of a voxel as the networks get it.
PREPARED_BYTES = 4
# Of a voxel as it is read; more where the file's are float64.
_READ_BYTES = 4
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
    def of(cls, networks: ReadyNetworks, config: PredictConfig) -> "MemoryNeeds":
        """Return what networks need with these settings.

        Raises
        ------
        ModelError
            If they do not fit each other, or the engine cannot run one.
        MemoryLimitError
            If memory does not even suffice to try them.
        """
        passes = len(networks.networks) * len(choose_views(config.test_time_augmentation))
        return cls(networks.measure(), passes, config.tile_zyx)

    @property
    def runs_in_main_memory(self) -> bool:
        """Whether the networks share the memory of the voxels."""
        return self.ensemble.device.type == "cpu"

    def reading_bytes(self, stored_zyx: IntTriple, seen_zyx: IntTriple) -> float:
        """Return the bytes that reading and preparing a tomogram takes.

        Parameters
        ----------
        stored_zyx
            Its shape in the file.
        seen_zyx
            The shape that the networks get: another one where it is resampled.
        """
        stored, seen = math.prod(stored_zyx), math.prod(seen_zyx)
        # Resampled within the planes first.
        halfway = 0 if stored_zyx == seen_zyx else stored_zyx[0] * math.prod(seen_zyx[1:])
        return float(_READ_BYTES * (stored + halfway) + PREPARED_BYTES * seen)

    def picking_bytes(self, seen_zyx: IntTriple, *, in_one_block: bool = False) -> float:
        """Return the bytes that a prepared tomogram takes, the networks working on small blocks or on all of it."""
        if not self.runs_in_main_memory:
            return self._bytes_beside_gpu(seen_zyx)
        voxels = PREPARED_BYTES * float(math.prod(seen_zyx))
        return voxels + estimate_bytes(self.ensemble, seen_zyx, self._block(seen_zyx, in_one_block=in_one_block))

    def whole_bytes(self, stored_zyx: IntTriple, seen_zyx: IntTriple) -> float:
        """Return the least that picking a tomogram as a whole takes; parameters as of `reading_bytes`."""
        return max(self.reading_bytes(stored_zyx, seen_zyx), self.picking_bytes(seen_zyx))

    def _block(self, seen_zyx: IntTriple, *, in_one_block: bool) -> IntTriple:
        padded = self.block_of(seen_zyx)
        if in_one_block and self.tile_zyx is None:
            return padded
        side = round_up(_LEAST_TILE_SIDE, self.ensemble.multiple)
        z, y, x = (min(lengths) for lengths in zip(padded, self.tile_zyx or (side, side, side), strict=True))
        return z, y, x

    def column_bytes(self, shape_zyx: IntTriple) -> float:
        """Return the bytes of main memory that a column takes in one block, its voxels (float32) included.

        Less than `estimate_bytes` counts, which is made for blended blocks: nothing is weighted or summed here.
        """
        if not self.runs_in_main_memory:
            return self._bytes_beside_gpu(shape_zyx)
        voxels = float(math.prod(shape_zyx))
        if self.tile_zyx is not None:
            return voxels * PREPARED_BYTES + estimate_bytes(self.ensemble, shape_zyx, self.tile_zyx)
        logits = self.ensemble.channels / OUTPUT_STRIDE**3
        # The block, its logits, feature maps; of several passes, the turned block and the sum in float32.
        network = self.ensemble.dtype.itemsize + 4 * logits + self.ensemble.map_bytes_per_voxel
        if self.passes > 1:
            network += self.ensemble.dtype.itemsize + 4 * logits
        return voxels * PREPARED_BYTES + math.prod(self.block_of(shape_zyx)) * (network + self._probability_bytes())

    def block_of(self, shape_zyx: IntTriple) -> IntTriple:
        """Return the shape of a column, padded as the networks want it."""
        z, y, x = (round_up(size, self.ensemble.multiple) for size in shape_zyx)
        return z, y, x

    def can_take(self, shape_zyx: IntTriple) -> bool:
        """Say whether the kernels can count the elements of a column in one block."""
        return math.prod(self.block_of(shape_zyx)) * max(self.ensemble.largest_map_per_voxel, 1.0) <= MAX_ELEMENTS

    def _bytes_beside_gpu(self, shape_zyx: IntTriple) -> float:
        """Return the voxels, the block that is handed over, and the probabilities if they come back."""
        voxels = math.prod(shape_zyx) * (PREPARED_BYTES + self._probability_bytes())
        return voxels + math.prod(self.block_of(shape_zyx)) * self.ensemble.dtype.itemsize

    def _probability_bytes(self) -> float:
        return 4 * self.ensemble.channels / OUTPUT_STRIDE**3
