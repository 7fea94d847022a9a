"""Small networks, cards and samplers for tests of models and training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryofind.config import Config, ModelConfig, parse_config
from cryofind.models import ModelCard, build_network, card_objects
from cryofind.registry import NETWORKS, Factory
from cryofind.train import Sampler
from cryofind.train.changes import BatchTensors, DrawnBatch, apply_changes
from cryofind.types import ParticleSpec

TINY = ModelConfig(network="res16", widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
SPECS = (ParticleSpec("ribosome", 150.0, 1), ParticleSpec("apo-ferritin", 60.0, 2, score_weight=2.0))


def build_tiny(objects: int = 2, *, seed: int = 0, activation: str = "softmax") -> nn.Module:
    """Return a network of two levels whose norms hold random statistics."""
    torch.manual_seed(seed)
    network = build_network(TINY.model_copy(update={"activation": activation}), objects)
    return randomize_norms(network, seed)


def randomize_norms(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.bias.data, -0.5)):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
            module.weight.data.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return network


def tiny_card(**changes: Any) -> ModelCard:
    fields = {
        "name": "tiny",
        "network": TINY,
        "objects": card_objects(SPECS),
        "voxel_spacing_angstrom": 10.012,
        "thresholds": {"ribosome": 0.25},
    }
    return ModelCard.model_validate({**fields, **changes})


@contextmanager
def registered_network(name: str, factory: Factory) -> Iterator[None]:
    """Register a plug-in's network while the block runs."""
    NETWORKS.register(name)(factory)
    try:
        yield
    finally:
        del NETWORKS._factories[name]


class Batch(NamedTuple):
    """`BatchTensors` as arrays."""

    images: NDArray[np.float32]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]


def sample(sampler: Sampler, step: int, rank: int = 0) -> Batch:
    """Return the batch of a step as the network gets it."""
    return Batch(*(tensor.numpy() for tensor in apply_changes(sampler.draw(step, rank))))


class TinySampler:
    """Crops of `size`^3 in which bright cells are object 0: a pure function of (seed, step, rank)."""

    def __init__(self, *, nonfinite_steps: tuple[int, ...] = (), fail_at: int | None = None, size: int = 8) -> None:
        self.cells = (size // 2,) * 3
        self.nonfinite_steps = nonfinite_steps
        self.fail_at = fail_at
        self.steps: list[int] = []

    def draw(self, step: int, rank: int = 0, out: BatchTensors | None = None) -> DrawnBatch:
        if step == self.fail_at:
            raise RuntimeError("power cut")
        self.steps.append(step)
        random = np.random.default_rng([7, step, rank])
        cells = (random.random((2, 1, *self.cells)) < 0.2).astype(np.float32)
        values = np.concatenate([cells, np.zeros_like(cells)], axis=1)
        images = cells.repeat(2, 2).repeat(2, 3).repeat(2, 4)
        noise = random.normal(0, 0.1, images.shape)
        if step in self.nonfinite_steps:
            noise[0, 0, 3, 3, 3] = np.inf
        weights = torch.ones(2, *self.cells)
        return DrawnBatch(BatchTensors(torch.from_numpy(images + noise).float(), torch.from_numpy(values), weights))


def tiny_config(**train: Any) -> Config:
    settings = {
        "steps": 12,
        "checkpoint_every": 3,
        "validate_every": 4,
        "precision": "float32",
        "devices": "cpu",
        "crop_zyx": (8, 8, 8),
    }
    return parse_config({"model": TINY.model_dump(), "train": {**settings, **train}}, "test")


def cross_entropy(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    shares = torch.cat([1 - values.sum(1, keepdim=True), values], 1)
    loss = -(shares * logits.log_softmax(1)).sum(1)
    return (loss * weights).mean()
