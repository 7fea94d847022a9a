"""One GPU: the network stage, `cryofind pick` over many tomograms, and the share of the GPU's peak."""

import shutil
from pathlib import Path
from typing import Any

import torch
from flops import count_flops
from materials import keep, model_for, read_grey, run_network_stage, simulate, tomogram_path, untrained_network
from measuring import Case, CommandError, cryofind_command, interleave, run_command, spread
from options import Options, SkippedError
from table import Line, failed_line, format_spread

from cryofind import czii
from cryofind.config import ModelConfig, PredictConfig
from cryofind.models import build_network, network_multiple

NETWORK = "res32"
MATMUL_SIZE = 8192
TOMOGRAMS = 16
STAGE_PER_SECOND, PICKED_PER_SECOND = 10.0, 2.0


def measure(options: Options) -> dict[str, Any]:
    """Return tomograms a second of the network stage and of whole commands."""
    if not torch.cuda.is_available():
        raise SkippedError("no CUDA device is usable")
    volume_zyx, grid = read_grey(options)
    network, config = untrained_network(NETWORK), PredictConfig(device="cuda")
    left, right = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        _ = left @ right
        torch.cuda.synchronize()

    seconds = interleave(
        {
            "matmul": Case(multiply, options.repeats, calls=5),
            "stage": Case(lambda: run_network_stage(network, volume_zyx, grid, config), options.repeats),
        }
    )
    padded = [-(-size // network_multiple(network)) * network_multiple(network) for size in volume_zyx.shape]
    flops = count_flops(build_network(ModelConfig(network=NETWORK), len(czii.OBJECTS)), padded)
    peak = 2 * MATMUL_SIZE**3 / seconds["matmul"]["median"]
    return {
        "device": torch.cuda.get_device_name(),
        "seconds": seconds,
        "peak_flops_per_second": peak,
        "share_of_peak": flops / seconds["stage"]["median"] / peak,
        "tomograms": TOMOGRAMS,
        "pick": pick_many(options),
    }


def pick_many(options: Options) -> dict[str, Any]:
    """Return seconds of commands over many copies of the tomogram."""
    model, _ = model_for(options, NETWORK)
    copies = sorted(copy_tomogram(options).glob("*.zarr"))
    samples = []
    for number in range(-1, options.repeats):  # the first is to warm up
        out = options.scratch / "picks"
        shutil.rmtree(out, ignore_errors=True)
        try:
            command = cryofind_command("pick", *copies, "--out", out, "--model", model, "--devices", "cuda:0")
            measured = run_command(command)
        except CommandError as error:
            return {"failed": str(error)}
        samples += [measured["seconds"]] if number >= 0 else []
    return spread(samples)


def copy_tomogram(options: Options) -> Path:
    """Return a folder with copies of the tomogram, each under another name."""
    source = tomogram_path(options)

    def make(folder: Path) -> None:
        for number in range(TOMOGRAMS):
            shutil.copytree(source, folder / f"COPY_{number:02d}.zarr")

    facts = {"source": simulate(options, options.shape_zyx).parent.name, "count": TOMOGRAMS}
    return keep(options, "copies", make, facts)


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    stage, picked = result["seconds"]["stage"], result["pick"]
    rate = 1 / stage["median"]
    table = [
        Line(
            f"network stage, `{NETWORK}`, {result['device']}",
            f">= {STAGE_PER_SECOND:g} tomograms/s",
            f"{rate:.2f} tomograms/s ({format_spread(stage, digits=3)}), {100 * result['share_of_peak']:.0f} % of "
            f"{result['peak_flops_per_second'] / 1e12:.0f} TFLOP/s",
            rate >= STAGE_PER_SECOND,
        )
    ]
    what = f"`cryofind pick` over {result['tomograms']} tomograms, start-up included"
    target = f">= {PICKED_PER_SECOND:g} tomograms/s"
    if "failed" in picked:
        return [*table, failed_line(what, target, picked["failed"])]
    end_to_end = result["tomograms"] / picked["median"]
    text = f"{end_to_end:.2f} tomograms/s ({format_spread(picked)})"
    return [*table, Line(what, target, text, end_to_end >= PICKED_PER_SECOND)]
