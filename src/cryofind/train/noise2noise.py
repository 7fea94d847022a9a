"""Training of a denoiser on pairs of half volumes (Noise2Noise, Lehtinen et al., arXiv:1803.04189).

What two halves of the dose have in common is signal; their noise is independent. A network that predicts one half from
the other with the least squared error therefore predicts the signal, though it never sees a clean volume.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from cryofind.errors import ConfigError, ModelError, TomogramError
from cryofind.models import choose_precision
from cryofind.models.denoiser import Denoiser, DenoisingUNet, GreyScale, measure_grey_scale
from cryofind.progress import report_progress
from cryofind.train.devices import parse_devices
from cryofind.train.fit_of_network import find_shallow_convolution
from cryofind.types.grid import IntTriple

DEFAULT_STEPS = 1000
DEFAULT_CROP_ZYX = (48, 64, 64)
DEFAULT_BATCH_SIZE = 2
LEARNING_RATE = 4e-3
WARMUP_STEPS = 25
GRADIENT_CLIP = 0.1
_LOSSES_TOLD = 100  # the loss in the card is the mean over this many last steps

Pair = tuple[NDArray[Any], NDArray[Any]]
Batches = Iterable[tuple[Tensor, Tensor]]


def train_denoiser(
    pairs: Sequence[Pair],
    *,
    steps: int = DEFAULT_STEPS,
    seed: int,
    crop_zyx: IntTriple = DEFAULT_CROP_ZYX,
    batch_size: int = DEFAULT_BATCH_SIZE,
    devices: str = "auto",
) -> Denoiser:
    """Train a denoiser on half volumes, each half predicting the other, and return it.

    Crops are drawn anywhere and flipped along any axis, but never turned: the missing wedge stays where it is. Adam
    with a warm-up and half a cosine down to 0.

    Parameters
    ----------
    pairs
        One or more pairs of half volumes zyx, each pair of one shape and of independent noise. They are read in place,
        and may be the very tomograms that are to be denoised: no truth is involved.
    steps
        Number of steps.
    seed
        The same seed gives the same weights, bit by bit, on the same CPU with the same number of threads.
    crop_zyx
        Crop of a step, voxels, multiples of the network's `size_multiple` (8); smaller volumes give smaller crops.
    batch_size
        Crops in a step.
    devices
        `auto`, `cpu` or `cuda`: one device.

    Returns
    -------
    Denoiser
        On the CPU, in eval mode.

    Raises
    ------
    ConfigError
        If `steps`, `crop_zyx`, `batch_size` or `devices` is out of range.
    ModelError
        If the loss becomes not finite.
    TomogramError
        If there is no pair, or a pair is no two different, finite volumes of one shape, or is smaller than 8 voxels.
    """
    network = _build_network(seed)
    crop_zyx = _fit_crop(pairs, crop_zyx, network.size_multiple)
    _check_counts(steps, batch_size)
    scales = [_measure_pair(number, pair) for number, pair in enumerate(pairs, start=1)]
    device = torch.device(parse_devices(devices)[0])
    dtype = _choose_dtype(network, crop_zyx, device)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    random = np.random.default_rng(seed)
    batches = (_draw_batch(pairs, scales, crop_zyx, batch_size, random) for _ in range(steps))
    losses = _run(network, batches, steps, device, dtype)
    network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    description = {
        "steps": steps,
        "seed": seed,
        "crop_zyx": list(crop_zyx),
        "batch_size": batch_size,
        "pairs": len(pairs),
        "loss": float(np.mean(losses[-_LOSSES_TOLD:])),
    }
    return Denoiser(network.eval(), description)


def _build_network(seed: int) -> DenoisingUNet:
    # the caller's generator stays as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DenoisingUNet().train()


def _run(network: DenoisingUNet, batches: Batches, steps: int, device: torch.device, dtype: torch.dtype) -> list[float]:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    losses: list[float] = []
    with report_progress("denoiser", steps) as progress:
        for step, (noisy, target) in enumerate(batches):
            optimizer.param_groups[0]["lr"] = _learning_rate_at(step, steps)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                predicted = network(noisy.to(device))
            loss = (predicted - target.to(device)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            losses.append(_check_finite(loss.item(), norm.item(), step))
            optimizer.step()
            progress.advance(note=f"loss {losses[-1]:.4f}")
    return losses


def _learning_rate_at(step: int, steps: int) -> float:
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return LEARNING_RATE * warmup * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _draw_batch(
    pairs: Sequence[Pair], scales: Sequence[GreyScale], crop_zyx: IntTriple, batch_size: int, random: Generator
) -> tuple[Tensor, Tensor]:
    """Return noisy crops and what they are to predict, each (batch, 1, Z, Y, X), float32."""
    crops = np.empty((2, batch_size, 1, *crop_zyx), dtype=np.float32)
    for number in range(batch_size):
        row = int(random.integers(len(pairs)))
        room = [length - size for length, size in zip(pairs[row][0].shape, crop_zyx, strict=True)]
        starts = random.integers(0, room, endpoint=True)
        box = tuple(slice(start, start + size) for start, size in zip(starts, crop_zyx, strict=True))
        flips = tuple(slice(None, None, int(sign)) for sign in random.choice((1, -1), size=3))
        first = int(random.integers(2))
        for place, half in enumerate((first, 1 - first)):
            crops[place, number, 0] = pairs[row][half][box][flips]
        crops[:, number] -= scales[row].centre
        crops[:, number] /= scales[row].deviation
    return torch.from_numpy(crops[0]), torch.from_numpy(crops[1])


def _measure_pair(number: int, pair: Pair) -> GreyScale:
    try:
        scale = measure_grey_scale(*pair)
    except TomogramError as error:
        raise TomogramError(f"pair {number}: {error.subject}", error.problem, error.advice) from error
    if np.array_equal(*pair):
        problem = "are the same volume, so that their noise is not independent"
        raise TomogramError(f"pair {number}: half volumes", problem, "give reconstructions from two halves of the dose")
    return scale


def _fit_crop(pairs: Sequence[Pair], crop_zyx: IntTriple, multiple: int) -> IntTriple:
    """Return the crop cut down to what every volume holds."""
    if not pairs:
        raise TomogramError("half volumes", "are none", "give at least one pair")
    if any(size < multiple or size % multiple for size in crop_zyx):
        raise ConfigError("crop_zyx", f"is {tuple(crop_zyx)}", f"give three positive multiples of {multiple}")
    shapes = [half.shape for pair in pairs for half in pair]
    unfit = next((shape for shape in shapes if len(shape) != 3 or min(shape) < multiple), None)
    if unfit is not None:
        advice = f"give volumes z, y, x of at least {multiple} voxels a side"
        raise TomogramError("half volumes", f"hold one of shape {unfit}", advice)
    smallest = np.min(shapes, axis=0)
    z, y, x = (int(min(size, length)) // multiple * multiple for size, length in zip(crop_zyx, smallest, strict=True))
    return z, y, x


def _check_counts(steps: int, batch_size: int) -> None:
    for name, number in (("steps", steps), ("batch_size", batch_size)):
        if number < 1:
            raise ConfigError(name, f"is {number}", "give at least 1")


def _choose_dtype(network: DenoisingUNet, crop_zyx: IntTriple, device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device has it and it is right (see `find_shallow_convolution`), else float32."""
    dtype = choose_precision("auto", device)
    if device.type == "cpu" and dtype == torch.bfloat16 and find_shallow_convolution(network, crop_zyx) is not None:
        return torch.float32
    return dtype


def _check_finite(loss: float, gradient_norm: float, step: int) -> float:
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        advice = "check the half volumes for extreme values"
        raise ModelError(f"denoiser, training step {step + 1}", f"the loss or its gradient is {loss}", advice)
    return loss
