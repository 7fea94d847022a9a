"""A trained denoiser over a whole pair of half volumes, in boxes that give what one piece would give."""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from cryofind.errors import ConfigError, ModelError
from cryofind.models import choose_precision
from cryofind.predict.device import choose_device
from cryofind.predict.tiling import IntTriple, cut_block, round_up
from cryofind.progress import report_progress

if TYPE_CHECKING:
    from cryofind.models.denoiser import Denoiser, DenoisingUNet, GreyScale

# Of a box with its surroundings. Fixed, not taken from the free memory, so that what else runs does not change results.
MAX_BOX_VOXELS = 50_000_000

Precision = Literal["auto", "bf16", "float32"]
Span = tuple[int, int]


def denoise_volume(
    denoiser: "Denoiser",
    half1_zyx: NDArray[Any],
    half2_zyx: NDArray[Any],
    *,
    device: str = "auto",
    precision: Precision = "auto",
    box_zyx: IntTriple | None = None,
) -> NDArray[np.float32]:
    """Return the mean of what the network makes of either half, on their grey scale.

    Each box is given to the network with as much of its surroundings as can matter, so that boxes leave no trace but
    rounding. Past the end of the volume, up to a multiple of the network's deepest stride, it is mirrored.

    Parameters
    ----------
    denoiser
        A denoiser trained on halves like these.
    half1_zyx, half2_zyx
        Reconstructions from two halves of the dose, of one shape, finite.
    device
        `auto`, `cpu`, `cuda` or `cuda:N`.
    precision
        `auto` is bfloat16 where the device multiplies it natively.
    box_zyx
        Voxels of a box without its surroundings, multiples of the network's `size_multiple` (8); by default the
        largest that has at most `MAX_BOX_VOXELS` with them.

    Returns
    -------
    numpy.ndarray
        float32, of the shape of a half; the same bytes on one machine with the same number of threads.

    Raises
    ------
    ConfigError
        If the device is not there or the box does not suit the network.
    ModelError
        If the network gives numbers that are not finite.
    TomogramError
        If the halves are not two finite volumes of one shape, or hold (nearly) one value.
    """
    setting = _Setting.prepare(denoiser, denoiser.measure_grey_scale(half1_zyx, half2_zyx), device, precision)
    z, y, x = half1_zyx.shape
    box_zyx = _choose_box((z, y, x), box_zyx, setting.multiple, setting.reach)
    boxes = list(itertools.product(*map(_cut_axis, (z, y, x), box_zyx)))
    denoised = np.empty((z, y, x), dtype=np.float32)
    with torch.inference_mode(), report_progress("denoise", 2 * len(boxes)) as progress:
        for spans in boxes:
            out = denoised[tuple(slice(*span) for span in spans)]
            out[...] = 0
            for half in (half1_zyx, half2_zyx):
                out += _denoise_box(setting, half, spans)
                progress.advance()
            out *= 0.5 * setting.scale.deviation
            out += setting.scale.centre
    return denoised


@dataclass(frozen=True, eq=False)
class _Setting:
    """The network on its device, and how it is to run."""

    network: "DenoisingUNet"
    scale: "GreyScale"
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def prepare(cls, denoiser: "Denoiser", scale: "GreyScale", device: str, precision: Precision) -> Self:
        chosen = choose_device(device)
        # a copy: the caller's denoiser stays where it is
        network = copy.deepcopy(denoiser.network).to(chosen, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return cls(network, scale, chosen, choose_precision(precision, chosen))

    @property
    def multiple(self) -> int:
        return self.network.size_multiple

    @property
    def reach(self) -> int:
        return self.network.reach_voxels


def _choose_box(shape_zyx: IntTriple, asked_zyx: IntTriple | None, multiple: int, reach: int) -> IntTriple:
    """Return the box that is asked for, or halves of the volume's longest side until it is small enough."""
    if asked_zyx is not None:
        if any(size < multiple or size % multiple for size in asked_zyx):
            raise ConfigError("box_zyx", f"is {tuple(asked_zyx)}", f"give three positive multiples of {multiple}")
        return asked_zyx
    box = [round_up(length, multiple) for length in shape_zyx]
    padded = tuple(box)
    while max(box) > multiple and _count_voxels(box, padded, reach) > MAX_BOX_VOXELS:
        longest = int(np.argmax(box))
        box[longest] = round_up(box[longest] // 2, multiple)
    z, y, x = box
    return z, y, x


def _count_voxels(box_zyx: list[int], padded_zyx: tuple[int, ...], reach: int) -> int:
    return math.prod(min(size + 2 * reach, length) for size, length in zip(box_zyx, padded_zyx, strict=True))


def _cut_axis(length: int, size: int) -> list[Span]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _denoise_box(setting: _Setting, half_zyx: NDArray[Any], spans: Sequence[Span]) -> NDArray[np.float32]:
    """Return the network's output, on its own scale, for the voxels of `spans`."""
    wide = [_widen(span, length, setting) for span, length in zip(spans, half_zyx.shape, strict=True)]
    (z, z_end), (y, y_end), (x, x_end) = wide
    block = cut_block(half_zyx, (z, y, x), (z_end - z, y_end - y, x_end - x), dtype=torch.float32)
    block.sub_(setting.scale.centre).div_(setting.scale.deviation)
    is_bf16 = setting.dtype == torch.bfloat16
    with torch.autocast(setting.device.type, dtype=torch.bfloat16, enabled=is_bf16):
        output = setting.network(block.to(setting.device)[None, None])[0, 0]
    inside = tuple(slice(first - start, last - start) for (first, last), (start, _) in zip(spans, wide, strict=True))
    denoised = output[inside]
    if not bool(torch.isfinite(denoised).all()):
        raise ModelError("denoiser", "gives numbers that are not finite", "train it again on halves like these")
    return np.asarray(denoised.cpu().numpy())


def _widen(span: Span, length: int, setting: _Setting) -> Span:
    """Return a span with what can matter on either side, its ends within the volume padded to a multiple."""
    start, end = span
    last = round_up(min(end + setting.reach, length), setting.multiple)
    return max(start - setting.reach, 0), last
