"""The exponential moving average of weights, which scores steadier than the weights themselves."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """A copy of a network whose parameters trail those of the network; its buffers (norm statistics) are copied.

    Parameters
    ----------
    network
        The network to follow.
    decay
        Share of the old average kept at each update, 0 to below 1. Early updates keep less,
        `(1 + n) / (10 + n)` at most after n updates, so that the fresh weights are soon forgotten (the rule of
        TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, updates_before: int) -> None:
        """Move the average towards the network, of which `updates_before` states are in it already."""
        decay = min(self._decay, (1 + updates_before) / (10 + updates_before))
        with torch.no_grad():
            averages: list[Tensor] = list(self.network.parameters())
            values: list[Tensor] = list(network.parameters())
            torch._foreach_lerp_(averages, values, 1.0 - decay)
            for average, value in zip(self.network.buffers(), network.buffers(), strict=True):
                average.copy_(value)
