"""The network stage against MONAI's sliding window with public networks, and our engine with those networks."""

import copy
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from half_resolution import HalfResolution, replace_shortcuts
from materials import NETWORKS, core_engine, openvino_engine, read_grey, run_network_stage, untrained_network
from measuring import Case, interleave
from numpy.typing import NDArray
from options import Options, SkippedError, describe
from table import Line, failed_line, format_ratio, format_spread
from torch import Tensor, nn

from cryofind import czii
from cryofind.config import PredictConfig
from cryofind.models import ToStrideTwo, choose_precision
from cryofind.types import VoxelGrid

CHANNELS = len(czii.OBJECTS) + 1
ROI, OVERLAP = 128, 0.25
QUICK_ROI = 64
WANTED = {("res32", "UNet"): 10.0, ("res16", "UNet"): 30.0, ("res32", "FlexibleUNet"): 10.0}


class VoxelCounter:
    """Counts the voxels that a network is given, the engine's trial run of a small block included."""

    def __init__(self, network: nn.Module) -> None:
        self.voxels = self.last = 0
        network.register_forward_pre_hook(self._note)

    def __deepcopy__(self, _memo: object) -> "VoxelCounter":
        return self  # the engine copies networks with their hooks: all count here

    def _note(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.voxels += inputs[0].numel()

    def around(self, work: Callable[[], object]) -> Callable[[], object]:
        """Return the same work, after which `last` holds its voxels."""

        def run() -> object:
            self.voxels = 0
            result = work()
            self.last = self.voxels
            return result

        return run


def build_unet() -> nn.Module:
    """Return the baseline of the challenge's notebooks and of its second place."""
    from monai.networks.nets import UNet

    network: nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=CHANNELS,
        channels=(48, 64, 80, 80),
        strides=(2, 2, 1),
        num_res_units=1,
    )
    return network.eval().requires_grad_(False)


def build_flexible_unet() -> nn.Module:
    """Return the network of the winning segmentation."""
    from monai.networks.nets import FlexibleUNet

    network = FlexibleUNet(in_channels=1, out_channels=CHANNELS, backbone="resnet34", spatial_dims=3)
    return HalfResolution(network, CHANNELS).eval().requires_grad_(False)


def with_strided_shortcuts(network: nn.Module) -> nn.Module:
    """Return a copy of a network that computes the same and runs in bfloat16 on a CPU.

    Raises
    ------
    RuntimeError
        If it does not compute the same.
    """
    strided = replace_shortcuts(copy.deepcopy(network))
    block = torch.randn((1, 1, 32, 32, 32))
    with torch.inference_mode():
        if not torch.equal(network(block), strided(block)):
            raise RuntimeError(f"{type(network).__name__} with strided shortcuts is another network")
    return strided


def measure(options: Options) -> dict[str, Any]:
    """Return seconds of the network stage, ours and theirs in turn, and the parts of the ratio."""
    if importlib.util.find_spec("monai") is None:
        raise SkippedError("MONAI is not installed: pip install 'cryofind[bench]'")
    torch.manual_seed(0)
    volume_zyx, grid = read_grey(options)
    roi = QUICK_ROI if options.quick else ROI
    theirs = {"UNet": build_unet(), "FlexibleUNet": build_flexible_unet()}
    in_engine = {
        "UNet": ToStrideTwo(theirs["UNet"], 16),
        "FlexibleUNet": with_strided_shortcuts(theirs["FlexibleUNet"]),
    }
    cases = {name: Case(stage(untrained_network(name), volume_zyx, grid), options.repeats) for name in NETWORKS}
    precisions = {}
    counters = {name: VoxelCounter(network) for name, network in in_engine.items()}
    for name, network in theirs.items():
        slide = sliding_window(network, volume_zyx, roi)
        cases[f"{name}, MONAI"] = Case(slide, options.slow_repeats, warm_up=options.quick)
        precisions[name] = find_precision(in_engine[name])
        work = counters[name].around(stage(in_engine[name], volume_zyx, grid, precisions[name]))
        cases[like_for_like(name, precisions[name])] = Case(work, options.slow_repeats, warm_up=options.quick)
        if precisions[name] != "float32":
            work = stage(in_engine[name], volume_zyx, grid, "float32")
            cases[like_for_like(name, "float32")] = Case(work, 1, warm_up=False, optional=True)
        if (openvino := openvino_engine()) is not None:
            work = stage(in_engine[name], volume_zyx, grid, "auto", openvino)
            cases[like_for_like(name, "OpenVINO")] = Case(work, 1, warm_up=False, optional=True)
    seconds = interleave(cases)
    return {
        "shape_zyx": list(volume_zyx.shape),
        "roi": roi,
        "tiles": count_tiles(volume_zyx.shape, roi),
        "computed_voxels_per_voxel": count_tiles(volume_zyx.shape, roi) * roi**3 / volume_zyx.size,
        "our_voxels_per_voxel": {name: counter.last / volume_zyx.size for name, counter in counters.items()},
        "engine_precisions": precisions,
        "seconds": seconds,
    }


def like_for_like(network: str, precision: str) -> str:
    return f"{network}, our engine, {precision}"


def stage(
    network: nn.Module,
    volume_zyx: NDArray[np.float32],
    grid: VoxelGrid,
    precision: str = "auto",
    engine: dict[str, Any] | None = None,
) -> Callable[[], object]:
    engine = core_engine() if engine is None else engine
    config = PredictConfig.model_validate({"device": "cpu", "precision": precision, **engine})
    return lambda: run_network_stage(network, volume_zyx, grid, config)


def sliding_window(network: nn.Module, volume_zyx: NDArray[np.float32], roi: int) -> Callable[[], object]:
    """Return MONAI's inference with its defaults, which does no softmax; one tile at a time, the fastest on a CPU."""
    from monai.inferers import sliding_window_inference

    images = torch.from_numpy(volume_zyx)[None, None]

    def slide() -> object:
        with torch.inference_mode():
            return sliding_window_inference(images, (roi,) * 3, 1, network, overlap=OVERLAP)

    return slide


def find_precision(network: nn.Module) -> str:
    """Return bf16 if this CPU multiplies it natively and torch has kernels for all of the network, else float32."""
    if choose_precision("auto", torch.device("cpu")) != torch.bfloat16:
        return "float32"
    try:
        with torch.inference_mode():
            block = torch.zeros((1, 1, 64, 64, 64), dtype=torch.bfloat16)
            copy.deepcopy(network).to(torch.bfloat16)(block)
    except RuntimeError as error:
        print(f"  {type(network).__name__} in bf16: {error}", flush=True)
        return "float32"
    return "bf16"


def count_tiles(shape_zyx: tuple[int, ...], roi: int) -> int:
    """Return how many windows MONAI takes."""
    interval = int(roi * (1 - OVERLAP))
    return math.prod(1 + max(0, -(-(size - roi) // interval)) for size in shape_zyx)


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table: seconds, then ratios and their parts."""
    seconds, shape = result["seconds"], describe(tuple(result["shape_zyx"]))
    table = []
    for name, values in seconds.items():
        what = f"network stage, {shape}, {name}"
        failed = values.get("failed")
        table.append(failed_line(what, "", failed) if failed else Line(what, "", format_spread(values)))
    for name in ("UNet", "FlexibleUNet"):
        table += [compare_network(seconds, name, ours) for ours in NETWORKS]
        table += compare_engine(result, name)
    return table


def compare_network(seconds: dict[str, Any], theirs: str, ours: str) -> Line:
    slide, own = seconds[f"{theirs}, MONAI"], seconds[ours]
    wanted = WANTED.get((ours, theirs))
    reached = None if wanted is None else slide["median"] / own["median"] >= wanted
    what = f"`{ours}` against {theirs} in MONAI's sliding window"
    return Line(what, f">= {wanted:g} x" if wanted else "", format_ratio(slide, own), reached)


def compare_engine(result: dict[str, Any], name: str) -> list[Line]:
    """Return the lines of their network in our engine: like for like, and what is left for the network."""
    seconds, precision = result["seconds"], result["engine_precisions"][name]
    slide, alike = seconds[f"{name}, MONAI"], seconds[like_for_like(name, precision)]
    waste = result["computed_voxels_per_voxel"] / result["our_voxels_per_voxel"][name]
    rest = slide["median"] / alike["median"] / waste
    networks = ", ".join(f"`{ours}` {alike['median'] / seconds[ours]['median']:.1f} x" for ours in NETWORKS)
    text = (
        f"{format_ratio(slide, alike)} = tiling {waste:.2f} x (voxels computed) times the rest {rest:.2f} x; "
        f"the network: {networks}"
    )
    table = [Line(f"the same {name} in our engine ({precision}): like for like", "reported", text)]
    for other in ("float32", "OpenVINO"):
        values = seconds.get(like_for_like(name, other))
        if values is not None and other != precision and "failed" not in values:
            what = f"the same {name} in our engine, {other}"
            table.append(Line(what, "reported", format_ratio(slide, values)))
    return table
