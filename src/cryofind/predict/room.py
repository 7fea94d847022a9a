"""How large the blocks may be that networks are given: what they take, and what there is."""

import numpy as np
import torch

from cryofind.config import PredictConfig
from cryofind.models import OUTPUT_STRIDE
from cryofind.predict.device import device_memory_budget_bytes, main_memory_budget_bytes
from cryofind.predict.ensemble import Ensemble
from cryofind.predict.tiling import IntTriple, check_tile, choose_tile

# Kernels of cuDNN and others count elements of a feature map in 32 bits.
MAX_ELEMENTS = 2**31 - 1


def estimate_bytes(ensemble: Ensemble, shape_zyx: IntTriple, tile_zyx: IntTriple) -> float:
    """Return the bytes that predicting a volume in blocks of that shape takes, beside the volume itself."""
    whole = float(np.prod(shape_zyx)) / OUTPUT_STRIDE**3
    layer = float(tile_zyx[0] * shape_zyx[1] * shape_zyx[2]) / OUTPUT_STRIDE**3
    return float(np.prod(tile_zyx)) * ensemble.bytes_per_voxel() + 4 * ensemble.channels * (2 * layer + whole)


def find_room_bytes(device: torch.device, volume_bytes: int, config: PredictConfig) -> float:
    """Return the bytes that networks may take beside a volume of so many bytes in main memory."""
    if device.type == "cuda":
        return device_memory_budget_bytes(device)
    # What is free is measured with the volume in memory, what is asked for includes it.
    held_bytes = 0 if config.memory_gigabytes is None else volume_bytes
    return main_memory_budget_bytes(config.memory_gigabytes) - held_bytes


def choose_block(ensemble: Ensemble, shape_zyx: IntTriple, config: PredictConfig, room_bytes: float) -> IntTriple:
    """Return the block that was asked for, else the largest that fits.

    Raises
    ------
    ConfigError
        If what was asked for does not suit the networks.
    """
    if config.tile_zyx is not None:
        return check_tile(config.tile_zyx, ensemble.multiple)
    largest_map = max(ensemble.largest_map_per_voxel, 1.0)

    def fits(tile_zyx: IntTriple) -> bool:
        elements = float(np.prod(tile_zyx)) * largest_map
        return elements <= MAX_ELEMENTS and estimate_bytes(ensemble, shape_zyx, tile_zyx) <= room_bytes

    return choose_tile(shape_zyx, overlap=config.tile_overlap, multiple=ensemble.multiple, fits=fits)
