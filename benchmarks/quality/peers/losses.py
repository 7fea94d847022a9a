"""Losses of the recipes: of logits (B, C, z, y, x), as float32, and targets."""

from collections.abc import Callable

import torch
from task import Task
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
MakeLoss = Callable[[Task], Loss]

SMOOTH = 1e-5


def tversky_and_cross_entropy(
    *, false_positive: float, false_negative: float, weights: dict[str, float], share: float = 1.0
) -> MakeLoss:
    """Return Tversky's loss plus `share` times the cross-entropy.

    Parameters
    ----------
    false_positive, false_negative
        Tversky's alpha and beta; 0.5 each is Dice.
    weights
        Weights in the cross-entropy by object, 1 for others; voxels and channels of those of weight 0 do not count.
    """

    def make(task: Task) -> Loss:
        by_channel = torch.tensor((1.0, *task.by_object(weights)))
        counted = by_channel > 0

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            log_probabilities = logits.flatten(2).log_softmax(dim=1)
            truth = labels.long().flatten(1)[:, None]
            tversky = tversky_by_channel(log_probabilities, truth, false_positive, false_negative)[:, counted].mean()
            if not share:
                return tversky
            return tversky + share * functional.nll_loss(log_probabilities, truth[:, 0], weight=by_channel)

        return loss

    return make


def tversky_by_channel(log_probabilities: Tensor, truth: Tensor, alpha: float, beta: float) -> Tensor:
    """Return 1 - TP / (TP + alpha FP + beta FN), softly, of every crop and channel (Salehi et al. 2017, 1706.05721).

    Parameters
    ----------
    log_probabilities
        Shape (B, C, N).
    truth
        Channel of every voxel, shape (B, 1, N).
    """
    probabilities = log_probabilities.exp()
    predicted = probabilities.sum(dim=2)
    of_true = probabilities.gather(1, truth)[:, 0]
    hits = torch.zeros_like(predicted).scatter_add(1, truth[:, 0], of_true)
    there = torch.zeros_like(predicted).scatter_add(1, truth[:, 0], torch.ones_like(of_true))
    weighed = hits + alpha * (predicted - hits) + beta * (there - hits)
    return 1 - (hits + SMOOTH) / (weighed + SMOOTH)


def weighted_dense_cross_entropy(foreground_weight: float) -> MakeLoss:
    """Return the cross-entropy with shares of channels, objects weighted so much more than the background."""

    def make(task: Task) -> Loss:
        weights = torch.full((task.channels,), foreground_weight)
        weights[0] = 1.0

        def loss(logits: Tensor, shares: Tensor) -> Tensor:
            by_channel = -(logits.log_softmax(dim=1) * shares).mean(dim=(0, 2, 3, 4))
            return (by_channel * weights).sum()

        return loss

    return make
