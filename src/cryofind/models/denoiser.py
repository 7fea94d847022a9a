"""A small 3D U-Net that removes noise, the grey scale it works on, and the folder it is kept in.

It is trained by `cryofind.train.noise2noise` and used by `cryofind.predict.denoise`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from cryofind.errors import ModelError, TomogramError
from cryofind.models.sealed import hash_bytes, read_sealed_files, write_sealed_files
from cryofind.models.weights import check_tensors, read_tensors

DEFAULT_WIDTHS = (16, 24, 32)
# Grey values further than this from the median, in deviations of the noise, are no protein but gold or ice crystals.
# They pass the network by: one of them weighs as much in a squared error as thousands of voxels of protein.
LIMIT_DEVIATIONS = 8.0
WEIGHTS_NAME = "denoiser.safetensors"
CARD_NAME = "denoiser.json"
FORMAT_VERSION = 1

_SHUFFLE = 2  # the head predicts the 2x2x2 voxels of a cell at stride 2 as channels
_LEAK = 0.1
_STATISTICS_VOXELS = 10**6
# Standard deviation of a normal distribution whose median absolute deviation is 1: 1 / quantile(3/4).
_DEVIATION_PER_MAD = 1.4826


class DenoisingUNet(nn.Module):
    """Residual 3D U-Net from one grey value per voxel to one, at full resolution.

    All convolutions of weight run at strides 2, 4, 8, ...; a cell of stride 2 predicts its eight voxels at once, so
    that fine detail costs little. There are no norms: a volume and a crop of it are treated alike. The output is
    `gain * input + correction`, both 0 at the start, and what of the input lies beyond `LIMIT_DEVIATIONS` is added
    unchanged.

    Parameters
    ----------
    widths
        Channels at strides 2, 4, 8, ..., each at least 1.
    """

    def __init__(self, widths: Sequence[int] = DEFAULT_WIDTHS) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be one or more positive numbers, found {tuple(widths)}")
        pairs = list(pairwise(widths))
        self.widths = tuple(widths)
        self.size_multiple: int = 2 ** len(widths)
        self.stem = nn.Conv3d(1, widths[0], 4, 2, 1)
        self.encoders = nn.ModuleList(_Block(width) for width in widths)
        self.downs = nn.ModuleList(nn.Conv3d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.ups = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, 2) for fine, coarse in pairs)
        self.decoders = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], _SHUFFLE**3, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(1))
        _initialize(self)

    @property
    def reach_voxels(self) -> int:
        """How far input voxels can matter beyond a box that starts and ends at multiples of `size_multiple`.

        Itself such a multiple. Two 3x3x3 convolutions in a block reach two cells of its stride further, and a cell of
        a coarser stride reaches to its own edge.
        """
        *finer, deepest = (2 ** (level + 1) for level in range(len(self.widths)))
        reach = _SHUFFLE
        for stride in finer:
            reach = _round_up(reach, stride) + 2 * stride
        reach = _round_up(reach, deepest) + 2 * deepest
        reach += sum(2 * stride for stride in finer) + 1
        return _round_up(reach, self.size_multiple)

    def forward(self, images: Tensor) -> Tensor:
        """Return denoised images (B, 1, Z, Y, X), float32, of images of that shape on the scale of `GreyScale`.

        Raises
        ------
        ValueError
            If a size is not a multiple of `size_multiple`.
        """
        if any(size % self.size_multiple for size in images.shape[-3:]):
            raise ValueError(f"sizes {tuple(images.shape[-3:])} must be multiples of {self.size_multiple}")
        kept = images.clamp(-LIMIT_DEVIATIONS, LIMIT_DEVIATIONS)
        correction = self._correct(kept)
        return (images - kept).addcmul(self.gain, kept).add_(correction)

    def _correct(self, images: Tensor) -> Tensor:
        features = self.encoders[0](self.stem(images))
        skips = []
        for down, encoder in zip(self.downs, self.encoders[1:], strict=True):
            skips.append(features)
            features = encoder(down(features))
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            features = decoder(up(features).add_(skips.pop()))
        return _spread_cells(self.head(features))


class GreyScale(NamedTuple):
    """The affine map to the grey values that a denoiser works on: `(value - centre) / deviation`.

    Parameters
    ----------
    centre
        Median of both halves.
    deviation
        Standard deviation of one half's noise as its median absolute deviation tells it: gold beads do not count.
    """

    centre: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A trained denoiser.

    Parameters
    ----------
    network
        In eval mode and float32, on the CPU.
    training
        How it was trained, JSON-ready: for people, not read by the program.
    """

    network: DenoisingUNet
    training: Mapping[str, Any] = field(default_factory=dict)

    def measure_grey_scale(self, half1_zyx: NDArray[Any], half2_zyx: NDArray[Any]) -> GreyScale:
        """Return the scale on which this denoiser wants two half volumes; see `measure_grey_scale`."""
        return measure_grey_scale(half1_zyx, half2_zyx)

    def save(self, folder: Path) -> None:
        """Write `denoiser.safetensors`, `denoiser.json` and their seal; an older denoiser there is replaced.

        Raises
        ------
        ModelError
            If a weight is not finite.
        OutputError
            If the file system refuses.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(f"weight {name}", "is not finite", "train the denoiser again")
        weights = save_tensors(tensors)
        card = _Card(widths=self.network.widths, training=dict(self.training), weights_sha256=hash_bytes(weights))
        text = json.dumps(card.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
        write_sealed_files(folder, {WEIGHTS_NAME: weights, CARD_NAME: text.encode()})


def load_denoiser(folder: Path) -> Denoiser:
    """Return the denoiser of a folder, verified against its hashes. Nothing in the folder is executed.

    Raises
    ------
    ModelError
        If the folder or a file is missing or damaged, is of another format version, or its weights do not fit.
    """
    contents = read_sealed_files(folder, (WEIGHTS_NAME, CARD_NAME))
    card = _parse_card(contents[CARD_NAME], folder / CARD_NAME)
    weights_path = folder / WEIGHTS_NAME
    if card.weights_sha256 != hash_bytes(contents[WEIGHTS_NAME]):
        raise ModelError(weights_path, f"does not match weights_sha256 of {CARD_NAME}", "fetch or write it again")
    network = DenoisingUNet(card.widths)
    tensors = read_tensors(contents[WEIGHTS_NAME], weights_path)
    check_tensors(tensors, network.state_dict(), str(weights_path))
    network.load_state_dict(tensors)
    return Denoiser(network.float().eval(), card.training)


def measure_grey_scale(half1_zyx: NDArray[Any], half2_zyx: NDArray[Any]) -> GreyScale:
    """Return the grey scale of two half volumes after checking that they can be denoised.

    Parameters
    ----------
    half1_zyx, half2_zyx
        Reconstructions of the same shape from two halves of the dose, finite. Statistics come from about a million
        evenly spaced voxels of each.

    Raises
    ------
    TomogramError
        If the halves are not two volumes of one shape, hold NaN or infinity, or hold (nearly) one value.
    """
    halves = (half1_zyx, half2_zyx)
    if half1_zyx.ndim != 3 or half1_zyx.shape != half2_zyx.shape or not half1_zyx.size:
        shapes = f"have shapes {half1_zyx.shape} and {half2_zyx.shape}"
        raise TomogramError(
            "half volumes", f"{shapes}, expected two alike of z, y, x", "give the halves of one tomogram"
        )
    for number, half in enumerate(halves, start=1):
        if not all(np.isfinite(plane).all() for plane in half):
            raise TomogramError(f"half volume {number}", "holds NaN or infinity", "reconstruct it again")
    stride = max(1, int(np.cbrt(half1_zyx.size / _STATISTICS_VOXELS)))
    samples = [half[::stride, ::stride, ::stride].astype(np.float64) for half in halves]
    centre = float(np.mean([np.median(sample) for sample in samples]))
    spreads = [float(np.median(np.abs(sample - np.median(sample)))) for sample in samples]
    for number, spread in enumerate(spreads, start=1):
        if not spread > 0:
            problem = "has one grey value in more than half of its voxels"
            raise TomogramError(f"half volume {number}", problem, "give it without padding and not masked")
    return GreyScale(centre, _DEVIATION_PER_MAD * float(np.mean(spreads)))


class _Block(nn.Module):
    """`x + conv(leaky(conv(leaky(x))))` with 3x3x3 convolutions, at the start `x` itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape (B, C, Z, Y, X)."""
        inner = self.first(functional.leaky_relu(features, _LEAK))
        change: Tensor = self.second(functional.leaky_relu_(inner, _LEAK))
        return change.add_(features)


class _Card(BaseModel):
    """What `denoiser.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["denoiser"] = "denoiser"
    format_version: Literal[1] = 1
    widths: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(min_length=1, max_length=8)
    normalization: Literal["median-mad"] = "median-mad"
    limit_deviations: Literal[8] = 8
    training: dict[str, Any] = {}
    weights_sha256: str


def _parse_card(content: bytes, where: Path) -> _Card:
    try:
        return _Card.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(part) for part in first["loc"]) or "document"
        advice = f"give a {CARD_NAME} of format version {FORMAT_VERSION}, as this version of cryofind writes it"
        raise ModelError(f"{where}: {dotted}", first["msg"].lower(), advice) from error


def _spread_cells(channels: Tensor) -> Tensor:
    """Return voxels (B, 1, 2Z, 2Y, 2X), float32, of cells (B, 8, Z, Y, X) whose channels count the voxels zyx."""
    batch, _, z, y, x = channels.shape
    voxels = channels.reshape(batch, _SHUFFLE, _SHUFFLE, _SHUFFLE, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return voxels.float().reshape(batch, 1, _SHUFFLE * z, _SHUFFLE * y, _SHUFFLE * x)


def _initialize(network: DenoisingUNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=_LEAK, nonlinearity="leaky_relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for last in (*(module.second for module in network.modules() if isinstance(module, _Block)), network.head):
        nn.init.zeros_(last.weight)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
