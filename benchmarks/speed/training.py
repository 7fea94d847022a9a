"""Training: steps and crops a second, where the time goes, and how much of the network's own speed is left."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from materials import simulate
from measuring import Case, interleave, spread
from options import Options, describe
from table import Line, format_spread

from cryofind.config import Config, parse_config
from cryofind.models import build_network
from cryofind.pipeline.corpus import Corpus, read_corpus
from cryofind.pipeline.inputs import InputSelection
from cryofind.train import CropSampler, TrainTimes, build_loss, train_network
from cryofind.train.changes import BatchTensors, DrawnBatch, apply_changes

NETWORKS = ("res16", "res32")
# As the recipe of the shipped model has it; the quick one is for a small volume.
CROP_ZYX, BATCH_SIZE = (48, 64, 64), 8
QUICK_CROP_ZYX, QUICK_BATCH_SIZE = (32, 32, 32), 2
STEPS = {"cpu": 20, "cuda": 200}
QUICK_STEPS = 3
AUGMENT = {"spectrum_probability": 0.5, "intensity_scale": 0.5, "intensity_shift": 0.3}
LEAST_NETWORK_SHARE = 0.9


@dataclass(frozen=True)
class SameBatch:
    """A sampler that costs nothing: it gives one batch again and again."""

    batch: BatchTensors

    def draw(self, step: int, rank: int = 0, out: BatchTensors | None = None) -> DrawnBatch:
        return DrawnBatch(self.batch)


def measure(options: Options) -> dict[str, Any]:
    """Return seconds and shares of trainings with crops made as they go, and with one batch again and again."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    configs = {(name, device): make_config(name, device, options) for device in devices for name in NETWORKS}
    corpus = read_corpus([simulate(options, options.shape_zyx)], InputSelection(), next(iter(configs.values())))
    times: dict[str, list[TrainTimes]] = {}
    cases = {}
    for (name, device), config in configs.items():
        sampler = make_sampler(corpus, config)
        for kind, source in (("", sampler), (", one batch", SameBatch(apply_changes(sampler.draw(0))))):
            case = f"{name} {device}{kind}"
            times[case] = []
            cases[case] = Case(
                lambda config=config, source=source, case=case: times[case].append(train(corpus, config, source)),  # type: ignore[misc]
                options.repeats,
            )
    interleave(cases)
    example = next(iter(configs.values())).train
    return {
        "crop_zyx": list(example.crop_zyx),
        "batch_size": example.batch_size,
        "steps": {device: count_steps(device, options) for device in devices},
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        # The first training of each warms up.
        "cases": {case: [as_document(one) for one in measured[1:]] for case, measured in times.items()},
    }


def make_config(network: str, device: str, options: Options) -> Config:
    steps = count_steps(device, options)
    train = {
        "steps": steps,
        "batch_size": QUICK_BATCH_SIZE if options.quick else BATCH_SIZE,
        "crop_zyx": QUICK_CROP_ZYX if options.quick else CROP_ZYX,
        "devices": device,
        "checkpoint_every": steps,
        # Crops of the quick run are too shallow for bfloat16 on a CPU.
        "precision": "float32" if options.quick else "auto",
    }
    return parse_config({"model": {"network": network}, "train": train, "augment": AUGMENT}, "benchmark")


def count_steps(device: str, options: Options) -> int:
    return QUICK_STEPS if options.quick else STEPS[device]


def make_sampler(corpus: Corpus, config: Config) -> CropSampler:
    runs = [run.training for run in corpus.runs]
    return CropSampler(runs, config.train, config.augment, config.targets, corpus.specs)


def train(corpus: Corpus, config: Config, sampler: Any) -> TrainTimes:
    names = [spec.name for spec in corpus.specs]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        result = train_network(
            sampler,
            build_network(config.model, len(names)),
            config,
            out=Path(folder),
            validate=None,
            object_names=names,
            loss=build_loss(config.loss, names, config.model.activation),
        )
    return result.times


def as_document(times: TrainTimes) -> dict[str, Any]:
    return {
        "step_seconds": times.training_seconds / times.steps,
        "making_seconds": times.making_seconds / times.steps,
        "network_share": times.network_share,
        "waiting_share": times.seconds["waiting"] / times.training_seconds,
        "seconds": dict(times.seconds),
    }


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    crops = f"{result['batch_size']} crops of {describe(tuple(result['crop_zyx']))}"
    return [line_of(case, crops, result) for case in result["cases"] if not case.endswith("one batch")]


def line_of(case: str, crops: str, result: dict[str, Any]) -> Line:
    measured, alone = result["cases"][case], result["cases"][f"{case}, one batch"]
    step, step_alone = (middle_of(found, "step_seconds") for found in (measured, alone))
    share = middle_of(measured, "network_share")["median"]
    left = step_alone["median"] / step["median"]
    network, device = case.split()
    where = result["cuda"] if device == "cuda" else "CPU"
    return Line(
        f"training `{network}`, {where}, {crops}",
        f">= {100 * LEAST_NETWORK_SHARE:.0f} % in the network",
        f"{100 * share:.0f} % in the network, {100 * middle_of(measured, 'waiting_share')['median']:.0f} % waiting for "
        f"crops; {1 / step['median']:.2f} steps/s, {result['batch_size'] / step['median']:.1f} crops/s "
        f"(step {format_spread(step, digits=3)}, its crops {middle_of(measured, 'making_seconds')['median']:.3f} s in "
        f"the background); {100 * left:.0f} % of the speed with one batch again and again",
        share >= LEAST_NETWORK_SHARE,
    )


def middle_of(measured: list[Mapping[str, Any]], name: str) -> dict[str, Any]:
    return spread([one[name] for one in measured])
