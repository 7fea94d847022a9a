"""What is measured on: a simulated tomogram, untrained networks, model folders; made once and kept."""

import copy
import hashlib
import importlib.util
import json
import math
import shutil
import subprocess
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import cryofind_command
from numpy.typing import NDArray
from options import Options, Triple
from torch import nn

import cryofind
from cryofind import czii
from cryofind.config import LocateConfig, ModelConfig, PredictConfig, PreprocessConfig
from cryofind.io import open_project
from cryofind.models import (
    ModelCard,
    build_network,
    card_objects,
    find_model,
    load_model_folder,
    save_model,
    shipped_model_names,
)
from cryofind.pipeline.tuning import Tuning
from cryofind.predict import predict_probabilities
from cryofind.preprocess import preprocess_tomogram
from cryofind.simulate import load_recipe
from cryofind.types import Picks, ProbabilityVolume, Tomogram, VoxelGrid

NETWORKS = ("res32", "res16")
SPACING_ANGSTROM = czii.TOMOGRAM_GRID.spacing_angstrom
# Share of cells in which an untrained model sees each object: as many candidates as a busy tomogram has.
CANDIDATE_SHARE = 1e-4
FLAVOUR = "denoised"


def keep(
    options: Options, stem: str, make: Callable[[Path], object], facts: Mapping[str, Any], *, suffix: str = ""
) -> Path:
    """Return a file or folder of the scratch folder, made unless a finished one is there.

    `facts` is all that it is made from; a digest of them is part of its name.
    """
    text = json.dumps({"cryofind": cryofind.__version__, **facts}, sort_keys=True, default=str)
    path = options.scratch / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:10]}{suffix}"
    done = path.with_name(f"{path.name}.done")
    if not done.exists():
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"  making {path.name}", flush=True)
        make(path)
        done.write_text(f"{text}\n")
    return path


def simulate(options: Options, shape_zyx: Triple, *, seed: int = 0, runs: int = 1) -> Path:
    """Return a copick project of simulated tomograms, made by `cryofind simulate czii`."""
    settings = [f'output.flavours=["{FLAVOUR}"]']
    shape = ",".join(map(str, shape_zyx))

    def make(folder: Path) -> None:
        command = cryofind_command("simulate", "czii", "--out", folder, "--runs", runs, "--shape", shape)
        command += ["--seed", seed, *(part for setting in settings for part in ("--set", setting))]
        subprocess.run([str(part) for part in command], check=True)

    recipe = load_recipe("czii", settings).model_dump(mode="json")
    facts = {"recipe": recipe, "shape_zyx": shape_zyx, "seed": seed, "runs": runs}
    return keep(options, f"czii-{'x'.join(map(str, shape_zyx))}", make, facts) / "copick.json"


def tomogram_path(options: Options) -> Path:
    """Return the OME-Zarr of the one tomogram that most rows are measured on."""
    (entry,) = open_project(simulate(options, options.shape_zyx)).select_tomograms(FLAVOUR)
    return entry.path


def read_runs(project: Path) -> list[tuple[Tomogram, Picks]]:
    """Return tomograms and true picks of a simulated project."""
    opened = open_project(project)
    return [
        (entry.read(), Picks.concatenate(picks.read() for picks in opened.picks_entries if picks.run == entry.run))
        for entry in opened.select_tomograms(FLAVOUR)
    ]


def read_grey(options: Options) -> tuple[NDArray[np.float32], VoxelGrid]:
    """Return the tomogram as the network gets it, and its grid."""
    ((tomogram, _),) = read_runs(simulate(options, options.shape_zyx))
    prepared = preprocess_tomogram(tomogram, PreprocessConfig(), spacing_angstrom=SPACING_ANGSTROM)
    return np.ascontiguousarray(prepared.volume_zyx, dtype=np.float32), prepared.grid


@cache
def untrained_network(name: str) -> nn.Module:
    """Return a fresh network for the challenge's objects, its residual branches opened: they start with zeros."""
    torch.manual_seed(0)
    network = build_network(ModelConfig(network=name), len(czii.OBJECTS)).eval()
    for part_name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm3d) and part_name.endswith(".second.1"):
            nn.init.constant_(part.weight, 0.3)
    return network


def run_network_stage(
    network: nn.Module, volume_zyx: NDArray[np.float32], grid: VoxelGrid, config: PredictConfig
) -> ProbabilityVolume:
    """Run the network stage: voxels in memory to probabilities in memory, softmax included."""
    return predict_probabilities(
        [network],
        volume_zyx,
        grid,
        run="BENCHMARK",
        objects=czii.OBJECT_NAMES,
        activation="softmax",
        config=config,
    )


def model_for(options: Options, name: str) -> tuple[Path, str]:
    """Return a model folder with that network, and what it is: shipped, or untrained with about as many candidates."""
    for shipped in shipped_model_names():
        folder = find_model(shipped)
        if load_model_folder(folder).card.network.network == name:
            return folder, f"shipped model `{shipped}`"
    return make_untrained_model(options, name), "untrained"


def make_untrained_model(options: Options, name: str) -> Path:
    """Return a folder with a model whose biases let about as many candidates through as a trained one's would."""
    card = ModelCard.model_validate(
        {
            "name": f"untrained-{name}",
            "network": ModelConfig(network=name),
            "objects": card_objects(czii.OBJECTS),
            "voxel_spacing_angstrom": SPACING_ANGSTROM,
            "flavours": (FLAVOUR,),
            "polarity": "dark",
        }
    )

    def make(folder: Path) -> None:
        network = copy.deepcopy(untrained_network(name))
        set_candidate_share(network, options)
        save_model(folder, network, card)

    tomogram = simulate(options, options.shape_zyx).parent.name
    facts = {"card": card.model_dump(mode="json"), "share": CANDIDATE_SHARE, "tomogram": tomogram}
    return keep(options, f"untrained-{name}", make, {**facts, "floor": floor_when_picking()})


def set_candidate_share(network: nn.Module, options: Options) -> None:
    """Set the biases of the head so that a share of cells passes the floor of the locator, for every object."""
    volume_zyx, _ = read_grey(options)
    block = torch.from_numpy(volume_zyx[:64, :128, :128].copy())[None, None]
    with torch.inference_mode():
        logits = network(block)[0].flatten(1)
    floor = floor_when_picking()
    excess = torch.quantile(logits[1:] - logits[0], 1 - CANDIDATE_SHARE, dim=1)
    with torch.no_grad():
        network.head.bias[1:] += math.log(floor / (1 - floor)) - excess  # type: ignore[union-attr, index, operator]


def floor_when_picking() -> float:
    """Return the floor of a model without thresholds."""
    return Tuning.none().with_floors(LocateConfig(), ("any",)).floor_of("any")


def engine_setting(engine: str) -> dict[str, Any] | None:
    """Return the setting that asks for an engine; None where this version has no such choice."""
    return {"engine": engine} if engine in choices_of("engine") else None


def core_engine() -> dict[str, Any]:
    """Return the setting that asks for torch alone; empty where there is nothing else."""
    return engine_setting("torch") or {}


def openvino_engine() -> dict[str, Any] | None:
    """Return the setting that asks for OpenVINO; None where it cannot be asked for or is not installed."""
    return engine_setting("openvino") if importlib.util.find_spec("openvino") else None


def choices_of(field: str) -> tuple[str, ...]:
    """Return the literal values that a field of `predict` takes."""
    known = PredictConfig.model_fields.get(field)
    return tuple(flatten_literals(known.annotation)) if known else ()


def flatten_literals(annotation: Any) -> Iterable[str]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from map(str, typing.get_args(annotation))
        return
    for part in typing.get_args(annotation):
        yield from flatten_literals(part)
