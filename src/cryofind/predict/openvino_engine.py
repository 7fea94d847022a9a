"""Networks run by OpenVINO on a CPU, in float32, bfloat16 or int8; for an installation with the extra `[openvino]`."""

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryofind.errors import ModelError
from cryofind.models import choose_precision, fold_batch_norm, network_multiple
from cryofind.predict.openvino_library import compile_model, convert_traced, import_nncf, reshape_model
from cryofind.predict.tiling import IntTriple

logger = logging.getLogger("cryofind")

OpenVinoPrecision = Literal["float32", "bf16", "int8"]

# What a converted network may differ from torch's float32, as a share of how much the logits of a channel vary; sums in
# another order give 1e-6.
CONVERSION_TOLERANCE = 1e-3
# Compiled shapes that are kept: quarter turns of a volume, of a tile, and of the block that is calibrated on.
MAX_SHAPES = 4


@dataclass(frozen=True, eq=False)
class ConvertedNetwork:
    """A network as OpenVINO's graph in float32, its sizes open, and what is known of it.

    Parameters
    ----------
    model
        The `openvino.Model`.
    size_multiple
        What input sizes must be multiples of.
    shape
        Of its logits for a block of `2 * size_multiple` voxels a side.
    largest_map_per_voxel
        Elements of its largest feature map for each input voxel.
    """

    model: Any
    size_multiple: int
    shape: tuple[int, ...]
    largest_map_per_voxel: float


class OpenVinoNetwork(nn.Module):
    """A network that OpenVINO runs, compiled for every shape of block that it meets.

    Parameters
    ----------
    converted
        The network (`convert_network`).
    precision
        `int8` needs `crops`; what is not quantized then runs in bfloat16 where the CPU has it, else in float32.
    crops
        Blocks of one shape (z, y, x), float32, multiples of the network's, to calibrate int8 on.
    """

    def __init__(self, converted: ConvertedNetwork, precision: OpenVinoPrecision, crops: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.converted = converted
        self.size_multiple = converted.size_multiple
        self.precision = precision
        self._model = quantize(converted, crops) if precision == "int8" else converted.model
        self._compiled: dict[IntTriple, Any] = {}
        self._in_use: IntTriple | None = None

    @property
    def bytes_per_element(self) -> int:
        """Bytes of an element of the feature maps; of int8 those that are not quantized, the largest among them."""
        return 2 if _inference_precision(self.precision) == "bf16" else 4

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, Z/2, Y/2, X/2), float32, of images (B, 1, Z, Y, X)."""
        logits = [self._predict(images[number : number + 1]) for number in range(len(images))]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def release_memory(self) -> None:
        """Give back the memory of the feature maps; the next block takes it anew."""
        for compiled in self._compiled.values():
            compiled.release_memory()

    def _predict(self, image: Tensor) -> Tensor:
        z, y, x = image.shape[2:]
        voxels = image.float().contiguous().numpy()
        # The answer is copied: OpenVINO would overwrite its own with that of the next block.
        answer = self._compile((z, y, x))([voxels], share_inputs=True, share_outputs=False)
        return torch.from_numpy(answer[0])

    def _compile(self, shape_zyx: IntTriple) -> Any:
        if shape_zyx != self._in_use:
            self.release_memory()
            self._in_use = shape_zyx
        if shape_zyx not in self._compiled:
            if len(self._compiled) == MAX_SHAPES:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[shape_zyx] = compile_model(self._model, shape_zyx, _inference_precision(self.precision))
        return self._compiled[shape_zyx]


def convert_network(network: nn.Module) -> ConvertedNetwork:
    """Return a network as OpenVINO's graph, checked against torch on a block of another shape; kept while it lives.

    A network whose weights have changed since is converted again.

    Raises
    ------
    ModelError
        If OpenVINO lacks one of its operations, or it computes something else for blocks of another shape.
    """
    state = _fingerprint(network)
    known = _CONVERTED.get(network)
    if known is None or known[0] != state:
        known = _CONVERTED[network] = state, _convert(network)
    return known[1]


def load_openvino(network: nn.Module, precision: OpenVinoPrecision, crops: Sequence[Tensor] = ()) -> OpenVinoNetwork:
    """Return a network that OpenVINO runs; the same one, its calibration too, while the network lives unchanged.

    Parameters
    ----------
    network
        Maps (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2).
    precision, crops
        See `OpenVinoNetwork`; crops matter the first time only.

    Raises
    ------
    ModelError
        If OpenVINO cannot run it.
    """
    converted = convert_network(network)
    loaded = _LOADED.setdefault(network, {})
    known = loaded.get(precision)
    if known is None or known.converted is not converted:
        known = loaded[precision] = OpenVinoNetwork(converted, precision, crops)
    known.release_memory()  # so that what is free can be measured
    return known


def is_calibrated(network: nn.Module) -> bool:
    """Say whether `load_openvino` has quantized this network, so that it needs no crops."""
    known = _LOADED.get(network, {}).get("int8")
    return known is not None and known.converted is convert_network(network)


def quantize(converted: ConvertedNetwork, crops: Sequence[Tensor]) -> Any:
    """Return the graph in int8, ranges measured on crops; a log line states how far its logits are from float32."""
    if not crops:
        raise ValueError("int8 needs crops to calibrate on")
    nncf = import_nncf()
    z, y, x = crops[0].shape
    images = [crop[None, None].numpy() for crop in crops]
    # Its progress bars go to the standard output, which belongs to the result of the command.
    with contextlib.redirect_stdout(io.StringIO()):
        model = reshape_model(converted.model, (z, y, x))
        quantized = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    _report_rounding(converted.model, quantized, images)
    return quantized


def _report_rounding(exact: Any, quantized: Any, images: Sequence[NDArray[np.float32]]) -> None:
    z, y, x = images[0].shape[2:]
    compiled = (
        compile_model(exact, (z, y, x), "f32"),
        compile_model(quantized, (z, y, x), _inference_precision("int8")),
    )
    logits, rounded = (torch.from_numpy(np.concatenate([run([image])[0] for image in images])) for run in compiled)
    line = "int8: calibrated on %d crops; their logits differ from float32 by %.1f %% (rms) of their variation"
    logger.info(line, len(images), 100 * _relative_error(rounded, logits))


def _convert(network: nn.Module) -> ConvertedNetwork:
    folded = fold_batch_norm(network).float().cpu().requires_grad_(False)
    multiple = network_multiple(network)
    block = torch.zeros((1, 1, *[2 * multiple] * 3))
    shape, largest = measure_maps(folded, block)
    model = _trace(folded, block)
    _check_conversion(folded, model, (3 * multiple, 4 * multiple, 5 * multiple))
    return ConvertedNetwork(model, multiple, shape, largest / block.numel())


def measure_maps(network: nn.Module, block: Tensor) -> tuple[tuple[int, ...], int]:
    """Return the shape of the logits of a block, and the elements of the largest map on the way to them."""
    largest = 0

    def note_size(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(note_size) for module in network.modules()]
    try:
        return tuple(network(block).shape), largest
    finally:
        for hook in hooks:
            hook.remove()


def _trace(network: nn.Module, block: Tensor) -> Any:
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            # torch calls tracing out of date, and warns of sizes read while tracing; `_check_conversion` looks there.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network, block.clone(), check_trace=False)  # type: ignore[no-untyped-call]
            return convert_traced(traced, block.clone())
    except RuntimeError as error:
        raise _refuse(_last_line(error)) from error


def _check_conversion(network: nn.Module, model: Any, shape_zyx: IntTriple) -> None:
    """Compare with torch on a block of another shape than the traced one, since tracing can bake sizes in."""
    images = torch.randn((1, 1, *shape_zyx), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = network(images)
    try:
        found = torch.from_numpy(compile_model(model, shape_zyx, "f32")([images.numpy()])[0])
    except RuntimeError as error:
        raise _refuse("it works for one shape of block only") from error
    if found.shape != exact.shape or not _relative_error(found, exact) <= CONVERSION_TOLERANCE:
        raise _refuse("its logits differ from torch's in float32")


def _relative_error(found: Tensor, exact: Tensor) -> float:
    """Return the rms error of logits (B, C, z, y, x) as a share of their deviation from the mean of their channel.

    Most of a logit can be its channel's bias, which says nothing.
    """
    variation = exact - exact.mean(dim=(0, 2, 3, 4), keepdim=True)
    floor = 1e-6 * exact.norm() + 1e-12  # a network that says the same everywhere
    return float((found - exact).norm() / (variation.norm() + floor))


def _inference_precision(precision: OpenVinoPrecision) -> str:
    """Return OpenVINO's name of the number type of what is not quantized."""
    if precision == "int8":
        return "bf16" if choose_precision("auto", torch.device("cpu")) == torch.bfloat16 else "f32"
    return {"bf16": "bf16", "float32": "f32"}[precision]


def _fingerprint(network: nn.Module) -> bytes:
    """Return a hash of every parameter and buffer: what tells a network from itself with other weights."""
    digest = hashlib.blake2b()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def _refuse(why: str) -> ModelError:
    return ModelError("network", f"cannot be run by OpenVINO ({why})", "set predict.engine to torch")


def _last_line(error: Exception) -> str:
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


_CONVERTED: WeakKeyDictionary[nn.Module, tuple[bytes, ConvertedNetwork]] = WeakKeyDictionary()
_LOADED: WeakKeyDictionary[nn.Module, dict[str, OpenVinoNetwork]] = WeakKeyDictionary()
