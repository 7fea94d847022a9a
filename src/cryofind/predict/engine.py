"""A network over a whole tomogram: in one piece where memory allows, else in blended blocks."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.config import PredictConfig
from cryofind.errors import ModelError
from cryofind.models import OUTPUT_STRIDE
from cryofind.predict.augment_test import View, choose_views
from cryofind.predict.engines import EngineChoice
from cryofind.predict.ensemble import Ensemble, average_logits, iterate_logits
from cryofind.predict.ready import ReadyNetworks, is_out_of_memory, join_sizes, refuse_blocks
from cryofind.predict.room import choose_block, find_room_bytes
from cryofind.predict.tiling import IntTriple, Tiling, cut_block, halve_tile, plan_tiling
from cryofind.progress import report_progress
from cryofind.types import ProbabilityVolume, VoxelGrid

logger = logging.getLogger("cryofind")

Activation = Literal["softmax", "sigmoid"]

# Planes that the activation takes at a time: a few megabytes, so that they stay in the cache of the processor.
PLANES_AT_A_TIME = 4


def predict_probabilities(
    networks: Sequence[nn.Module],
    volume_zyx: NDArray[Any],
    grid: VoxelGrid,
    *,
    run: str,
    objects: Sequence[str],
    activation: Activation,
    config: PredictConfig,
) -> ProbabilityVolume:
    """Return the probability of every object in every cell of the stride-2 grid.

    The volume is padded by reflection to a multiple of the network's deepest stride and given to the network as a
    whole if memory allows, else in overlapping blocks whose logits are blended by raised-cosine
    weights. Logits are averaged over networks and over views before the activation. If memory runs out
    nevertheless, smaller blocks are tried.

    Parameters
    ----------
    networks
        One or more modules that map (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2). They are copied; foldable norms
        are folded in the copies.
    volume_zyx
        Preprocessed voxels of shape `grid.shape_zyx`, float32, finite.
    grid
        Where the voxels lie.
    run
        Name of the run.
    objects
        Names of the K objects in channel order.
    activation
        `softmax`: C = K + 1, channel 0 is background and is dropped; `sigmoid`: C = K.
    config
        Device, engine, precision, memory, blocks, views.

    Returns
    -------
    ProbabilityVolume
        float32 on `grid.coarsened(2)`. Not float16, which would round probabilities near 1 to steps of 0.0005 and so
        turn strong peaks into plateaus.

    Raises
    ------
    ConfigError
        If the device or engine is not there, or `config.tile_zyx` does not suit the network.
    ModelError
        If the networks do not fit each other, the objects, the activation or the engine, or give numbers that are not
        finite.
    MemoryLimitError
        If memory does not suffice for the smallest block.
    """
    if volume_zyx.shape != grid.shape_zyx:
        raise ValueError(f"volume has shape {volume_zyx.shape}, its grid {grid.shape_zyx}")
    ready = ReadyNetworks.choose(networks, config)
    probabilities, _ = predict_tensor(
        ready, volume_zyx, run=run, object_count=len(objects), activation=activation, config=config
    )
    return ProbabilityVolume(run, probabilities.cpu().numpy(), grid.coarsened(OUTPUT_STRIDE), tuple(objects))


def predict_tensor(
    networks: ReadyNetworks,
    volume_zyx: NDArray[Any],
    *,
    run: str,
    object_count: int,
    activation: Activation,
    config: PredictConfig,
    room_bytes: float | None = None,
) -> tuple[torch.Tensor, EngineChoice]:
    """Return the probabilities (object, z, y, x), float32, where they were computed: on a GPU they stay there.

    With them comes what computed them: a volume that float16 cannot hold is predicted in float32.

    Parameters
    ----------
    networks
        They serve for any number of volumes.
    volume_zyx, run, activation
        As in `predict_probabilities`.
    object_count
        Number of objects.
    config
        Memory, blocks, views; engine, precision and device are those of `networks`.
    room_bytes
        Main memory that networks on a CPU may take beside the volume. None: `config.memory_gigabytes` less the volume,
        or half of what is free now. On a GPU it is half of what is free there.

    Raises
    ------
    CryofindError
        As in `predict_probabilities`.
    """
    choice = networks.choice
    predict = functools.partial(_predict, networks, volume_zyx, run, object_count, activation, config, room_bytes)
    try:
        return predict(choice), choice
    except _NotFinite:
        if choice.precision != "fp16":
            raise
        logger.warning("run '%s': holds numbers too large for fp16, predicted in float32", run)
    choice = replace(choice, precision="float32")
    return predict(choice), choice


class _NotFinite(ModelError):
    """A prediction holds NaN or infinity."""


def _predict(
    networks: ReadyNetworks,
    volume_zyx: NDArray[Any],
    run: str,
    object_count: int,
    activation: Activation,
    config: PredictConfig,
    room_bytes: float | None,
    choice: EngineChoice,
) -> torch.Tensor:
    ensemble = networks.load(volume_zyx, subject=f"run '{run}'", choice=choice)
    _check_channels(ensemble.channels, object_count, activation)
    if room_bytes is None or ensemble.device.type == "cuda":
        room_bytes = find_room_bytes(ensemble.device, volume_zyx.nbytes, config)
    tile_zyx = choose_block(ensemble, _shape(volume_zyx), config, room_bytes)
    with torch.inference_mode():
        return _predict_until_it_fits(ensemble, volume_zyx, tile_zyx, activation, config, run)


def _predict_until_it_fits(
    ensemble: Ensemble,
    volume_zyx: NDArray[Any],
    tile_zyx: IntTriple,
    activation: Activation,
    config: PredictConfig,
    run: str,
) -> torch.Tensor:
    views = choose_views(config.test_time_augmentation)
    next_tile: IntTriple | None = tile_zyx
    while next_tile is not None:
        tiling = plan_tiling(_shape(volume_zyx), next_tile, overlap=config.tile_overlap, multiple=ensemble.multiple)
        probabilities = _predict_or_run_out(ensemble, volume_zyx, tiling, views, activation, run)
        if probabilities is not None:
            return probabilities
        tile_zyx, next_tile = tiling.size_zyx, halve_tile(tiling.size_zyx, ensemble.multiple)
        logger.warning("run '%s': out of memory in blocks of %s voxels", run, join_sizes(tiling.size_zyx))
    raise refuse_blocks(f"run '{run}'", ensemble.device, tile_zyx)


def _predict_or_run_out(
    ensemble: Ensemble,
    volume_zyx: NDArray[Any],
    tiling: Tiling,
    views: Sequence[View],
    activation: Activation,
    run: str,
) -> torch.Tensor | None:
    try:
        return _predict_in_blocks(ensemble, volume_zyx, tiling, views, activation, run)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, whose traceback keeps the tensors of the failed attempt alive.
    if ensemble.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _predict_in_blocks(
    ensemble: Ensemble,
    volume_zyx: NDArray[Any],
    tiling: Tiling,
    views: Sequence[View],
    activation: Activation,
    run: str,
) -> torch.Tensor:
    depth, height, width = (-(-size // OUTPUT_STRIDE) for size in volume_zyx.shape)
    first_object = 1 if activation == "softmax" else 0
    shape = ensemble.channels - first_object, depth, height, width
    probabilities = torch.empty(shape, dtype=torch.float32, device=ensemble.device)
    with report_progress(f"predict {run}", len(tiling) * len(views) * len(ensemble.members)) as progress:
        for start, logits in _blend_layers(ensemble, volume_zyx, tiling, views, progress.advance):
            _activate(logits, activation, probabilities[:, start : start + logits.shape[1]], run)
    return probabilities


def _blend_layers(
    ensemble: Ensemble,
    volume_zyx: NDArray[Any],
    tiling: Tiling,
    views: Sequence[View],
    after_each: Callable[[], None],
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the finished logits (C, planes, y, x) from top to bottom, each with its first output plane."""
    along_z = tiling.along_z
    if len(tiling) == 1:
        block = cut_block(volume_zyx, (0, 0, 0), tiling.size_zyx, dtype=ensemble.dtype)
        yield from iterate_logits(ensemble, block, views, after_each=after_each)
        return
    in_plane = (tiling.along_y.output_length, tiling.along_x.output_length)
    pending = torch.zeros(
        (ensemble.channels, along_z.output_size, *in_plane), dtype=torch.float32, device=ensemble.device
    )
    ends = (*along_z.output_starts[1:], along_z.output_length)
    for at_z, (start, end) in enumerate(zip(along_z.output_starts, ends, strict=True)):
        for at_y, at_x in tiling.layer():
            block = _cut_tile(volume_zyx, tiling, at_z, at_y, at_x, ensemble.dtype)
            logits = average_logits(ensemble, block, views, after_each=after_each)
            _add_weighted(pending, logits, tiling, at_z, at_y, at_x)
        finished, unfinished = pending[:, : end - start], pending[:, end - start :]
        yield start, finished
        pending = torch.cat((unfinished, torch.zeros_like(finished)), dim=1)


def _cut_tile(
    volume_zyx: NDArray[Any], tiling: Tiling, at_z: int, at_y: int, at_x: int, dtype: torch.dtype
) -> torch.Tensor:
    start_zyx = tiling.along_z.starts[at_z], tiling.along_y.starts[at_y], tiling.along_x.starts[at_x]
    return cut_block(volume_zyx, start_zyx, tiling.size_zyx, dtype=dtype)


def _add_weighted(pending: torch.Tensor, logits: torch.Tensor, tiling: Tiling, at_z: int, at_y: int, at_x: int) -> None:
    top, left = tiling.along_y.output_starts[at_y], tiling.along_x.output_starts[at_x]
    place = pending[:, :, top : top + logits.shape[2], left : left + logits.shape[3]]
    place.addcmul_(logits.float(), tiling.weights(at_z, at_y, at_x).to(pending.device))


def _activate(logits: torch.Tensor, activation: Activation, out: torch.Tensor, run: str) -> None:
    """Write the probabilities of logits (C, planes, y, x) into `out` (K, planes, y, x), which may be smaller."""
    planes, height, width = out.shape[1:]
    step = PLANES_AT_A_TIME if out.device.type == "cpu" else planes
    for first in range(0, planes, step):
        last = min(first + step, planes)
        scores = logits[:, first:last, :height, :width].contiguous().float()
        if not bool(torch.isfinite(scores.sum())):
            raise _NotFinite(
                f"prediction of run '{run}'",
                "holds numbers that are NaN or infinite",
                "check the model's weights, or set predict.precision to float32",
            )
        out[:, first:last] = scores.softmax(dim=0)[1:] if activation == "softmax" else scores.sigmoid()


def _check_channels(channels: int, object_count: int, activation: Activation) -> None:
    expected = object_count + (activation == "softmax")
    if channels != expected:
        raise ModelError(
            "network",
            f"gives {channels} channels, expected {expected} for {object_count} objects and {activation}",
            "give the objects and the activation that the model's card names",
        )


def _shape(volume_zyx: NDArray[Any]) -> IntTriple:
    z, y, x = volume_zyx.shape
    return z, y, x
