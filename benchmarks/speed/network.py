"""Peak of the processor, `res32` and `res16` on a small block and on a whole tomogram, and the network stage."""

from typing import Any

import numpy as np
import torch
from flops import count_flops
from materials import NETWORKS, core_engine, openvino_engine, read_grey, run_network_stage, untrained_network
from measuring import Case, interleave
from numpy.typing import NDArray
from options import Options, describe
from table import Line, failed_line, format_spread
from torch import nn

from cryofind import czii
from cryofind.config import ModelConfig, PredictConfig
from cryofind.models import build_network, choose_precision
from cryofind.predict.ensemble import Ensemble, average_logits, prepare_ensemble

MATMUL_SIZE = 2048
CONV_CHANNELS = 1024
CONV_EDGE = 16
CALLS_OF_SHORT_WORK = 5
PEAKS = ("matmul 2048", "1x1 convolution, 1024 channels")
WITHIN = {"res32": 10.0, "res16": 3.0}
CPU = torch.device("cpu")


def measure(options: Options) -> dict[str, Any]:
    """Return seconds, operations and shares of the peak; all cases in turn in one run."""
    dtype = choose_precision("auto", CPU)
    volume_zyx, grid = read_grey(options)
    config = PredictConfig(device="cpu", **core_engine())
    cases = peak_cases(dtype, options)
    padded_shapes = {}
    for name in NETWORKS:
        ensemble = prepare_ensemble([untrained_network(name)], device=CPU, dtype=dtype)
        patch = torch.randn((options.patch,) * 3).to(dtype)
        padded = pad_to_multiple(volume_zyx, ensemble.multiple).to(dtype)
        padded_shapes[name] = tuple(padded.shape)
        cases[f"{name} block"] = Case(forward(ensemble, patch), options.repeats, CALLS_OF_SHORT_WORK)
        cases[f"{name} tomogram"] = Case(forward(ensemble, padded), options.repeats)
        cases[f"{name} stage"] = stage_case(name, volume_zyx, grid, config, options)
        if (openvino := openvino_engine()) is not None:
            with_openvino = PredictConfig(device="cpu", **openvino)
            cases[f"{name} stage, OpenVINO"] = stage_case(name, volume_zyx, grid, with_openvino, options)
    seconds = interleave(cases)
    peaks = {name: peak_flops()[name] / seconds[name]["median"] for name in PEAKS}
    return {
        "precision": str(dtype).removeprefix("torch."),
        "shape_zyx": list(volume_zyx.shape),
        "block": options.patch,
        "seconds": seconds,
        "flops_per_second_of_peaks": peaks,
        "networks": {
            name: rate_network(name, options.patch, padded_shapes[name], seconds, max(peaks.values()))
            for name in NETWORKS
        },
        "openvino": openvino_engine() is not None,
    }


def peak_cases(dtype: torch.dtype, options: Options) -> dict[str, Case]:
    left, right = (torch.randn(MATMUL_SIZE, MATMUL_SIZE).to(dtype) for _ in range(2))
    convolution = nn.Conv3d(CONV_CHANNELS, CONV_CHANNELS, 1, bias=False).requires_grad_(False).to(dtype)
    convolution = convolution.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(1, CONV_CHANNELS, CONV_EDGE, CONV_EDGE, CONV_EDGE).to(dtype)
    image = image.to(memory_format=torch.channels_last_3d)
    works = (lambda: left @ right, lambda: convolution(image))
    return {name: Case(work, options.repeats, CALLS_OF_SHORT_WORK) for name, work in zip(PEAKS, works, strict=True)}


def peak_flops() -> dict[str, float]:
    return dict(zip(PEAKS, (2.0 * MATMUL_SIZE**3, 2.0 * CONV_CHANNELS**2 * CONV_EDGE**3), strict=True))


def pad_to_multiple(volume_zyx: NDArray[np.float32], multiple: int) -> torch.Tensor:
    padding = [(0, -size % multiple) for size in volume_zyx.shape]
    return torch.from_numpy(np.pad(volume_zyx, padding, mode="reflect"))


def forward(ensemble: Ensemble, block: torch.Tensor) -> Any:
    from cryofind.predict.augment_test import choose_views

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return average_logits(ensemble, block, choose_views(1), after_each=lambda: None)

    return run


def stage_case(name: str, volume_zyx: NDArray[np.float32], grid: Any, config: PredictConfig, options: Options) -> Case:
    def work() -> object:
        return run_network_stage(untrained_network(name), volume_zyx, grid, config)

    return Case(work, options.repeats, optional=config.engine == "openvino")


def rate_network(
    name: str, block: int, padded_zyx: tuple[int, ...], seconds: dict[str, Any], peak: float
) -> dict[str, Any]:
    rated: dict[str, Any] = {"padded_shape_zyx": list(padded_zyx)}
    for kind, shape in (("block", (block,) * 3), ("tomogram", padded_zyx)):
        flops = count_flops(build_network(ModelConfig(network=name), len(czii.OBJECTS)), shape)
        rate = flops / seconds[f"{name} {kind}"]["median"]
        rated[kind] = {"flops": flops, "flops_per_second": rate, "share_of_peak": rate / peak}
    return rated


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    precision, seconds = result["precision"], result["seconds"]
    table = [
        Line(f"peak, {name}, {precision}", "", f"{flops / 1e9:.0f} GFLOP/s")
        for name, flops in result["flops_per_second_of_peaks"].items()
    ]
    shares = {("res32", "block"): 0.75, ("res32", "tomogram"): 0.60}
    for name, rated in result["networks"].items():
        for kind, shape in (("block", [result["block"]] * 3), ("tomogram", rated["padded_shape_zyx"])):
            wanted, found = shares.get((name, kind)), rated[kind]
            text = (
                f"{100 * found['share_of_peak']:.0f} % ({found['flops_per_second'] / 1e9:.0f} GFLOP/s of "
                f"{found['flops'] / 1e9:.1f} GFLOP, {format_spread(seconds[f'{name} {kind}'], digits=3)})"
            )
            reached = None if wanted is None else found["share_of_peak"] >= wanted
            target = "" if wanted is None else f">= {100 * wanted:.0f} %"
            table.append(Line(f"`{name}` at {describe(tuple(shape))}, share of the peak", target, text, reached))
    for name, limit in WITHIN.items():
        values = seconds[f"{name} stage"]
        what = f"network stage, {describe(tuple(result['shape_zyx']))}, `{name}`, core torch"
        table.append(Line(what, f"<= {limit:g} s", format_spread(values), values["median"] <= limit))
        if beside := seconds.get(f"{name} stage, OpenVINO"):
            what, failed = f"the same with OpenVINO, `{name}`", beside.get("failed")
            table.append(failed_line(what, "", failed) if failed else Line(what, "", format_spread(beside)))
    if not result["openvino"]:
        table.append(
            Line("network stage with OpenVINO", "", "skipped: not installed, or not an engine of this version")
        )
    return table
