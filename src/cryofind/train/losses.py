"""Losses between logits and training targets, by name.

Every loss takes logits (batch, channel, z, y, x), values (batch, object, z, y, x) in 0..1 and weights
(batch, z, y, x), and returns one float32 number. It is a weighted mean over cells (or a ratio of sums), so the size of
crops and batches does not change its scale, and it is finite when no object or no weight is present.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cryofind.config import LossConfig
from cryofind.errors import ConfigError, advise_known_names
from cryofind.registry import LOSSES

Activation = Literal["softmax", "sigmoid"]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_TINY = 1e-12  # keeps empty sums from dividing by zero; far below the weight of one cell in any batch
_SMALLEST_SHORTFALL = 1e-7  # an exponent below 1 has an infinite slope at 0


def build_loss(config: LossConfig, objects: Sequence[str], activation: Activation) -> Loss:
    """Return the loss that a recipe names.

    Parameters
    ----------
    config
        Name and constants of the loss.
    objects
        Object names in channel order.
    activation
        `softmax`: logits have a background channel 0; `sigmoid`: one channel per object.

    Raises
    ------
    ConfigError
        If the loss or an object in `config.object_weights` is not known, or no object has weight.
    """
    for name in config.object_weights:
        if name not in objects:
            raise ConfigError(
                f"loss.object_weights: {name}", "is not one of the objects", advise_known_names(name, objects)
            )
    object_weights = torch.tensor([config.object_weights.get(name, 1.0) for name in objects], dtype=torch.float32)
    if not (bool((object_weights >= 0).all()) and float(object_weights.sum()) > 0):
        raise ConfigError("loss.object_weights", "leave no object with weight", "use 0 or more, not 0 for all")
    loss: Loss = LOSSES.get(config.name)(config, object_weights, activation)
    return loss


def mask_unlabelled(
    logits: Tensor, values: Tensor, weights: Tensor, probability: float, activation: Activation
) -> Tensor:
    """Return the weights without background cells where any object is predicted above `probability`.

    Such cells are often particles that nobody annotated. Predictions are detached; a cell is background when no
    object has any value there.
    """
    with torch.no_grad():
        predicted = object_probabilities(logits.float(), activation).amax(dim=1)
        is_background = values.amax(dim=1) <= 0
        return weights.masked_fill(is_background & (predicted > probability), 0.0)


def object_probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Return the probabilities (batch, object, z, y, x) of the objects, background left out."""
    return torch.softmax(logits, dim=1)[:, 1:] if activation == "softmax" else torch.sigmoid(logits)


@LOSSES.register("weighted_cross_entropy")
def make_weighted_cross_entropy(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return cross-entropy in which an object's cells count `foreground_weight` times a background cell."""
    measure = _softmax_cross_entropy if activation == "softmax" else _sigmoid_cross_entropy
    return _in_float32(
        partial(
            measure,
            positive_weights=config.foreground_weight * object_weights,
            label_smoothing=config.label_smoothing,
        )
    )


@LOSSES.register("tversky")
def make_tversky(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return 1 - TP / (TP + a FP + b FN) with soft counts; a = 1/17, b = 16/17 is the soft F4 itself."""
    return _make_tversky(
        object_weights,
        activation,
        false_positive=config.tversky_false_positive,
        false_negative=config.tversky_false_negative,
    )


@LOSSES.register("focal_tversky")
def make_focal_tversky(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return (1 - Tversky index)^(1 / gamma) per object (Abraham and Khan, arXiv 1810.07842, equation 4)."""
    return _make_tversky(
        object_weights,
        activation,
        false_positive=config.tversky_false_positive,
        false_negative=config.tversky_false_negative,
        exponent=1.0 / config.focal_gamma,
    )


@LOSSES.register("dice_cross_entropy")
def make_dice_cross_entropy(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return `dice_share` of soft Dice and the rest of weighted cross-entropy."""
    dice = _make_tversky(object_weights, activation, false_positive=0.5, false_negative=0.5)
    return _mix(dice, make_weighted_cross_entropy(config, object_weights, activation), config.dice_share)


@LOSSES.register("tversky_cross_entropy")
def make_tversky_cross_entropy(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return `dice_share` of Tversky and the rest of weighted cross-entropy."""
    tversky = make_tversky(config, object_weights, activation)
    return _mix(tversky, make_weighted_cross_entropy(config, object_weights, activation), config.dice_share)


@LOSSES.register("heatmap_bce")
def make_heatmap_bce(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return binary cross-entropy of each object's heatmap; positive parts count `foreground_weight` times."""
    return _in_float32(
        partial(
            _heatmap_cross_entropy,
            object_weights=object_weights,
            foreground_weight=config.foreground_weight,
            activation=activation,
        )
    )


@LOSSES.register("heatmap_mse")
def make_heatmap_mse(config: LossConfig, object_weights: Tensor, activation: Activation) -> Loss:
    """Return the mean squared error of each object's heatmap, weighted 1 + `foreground_weight` x target."""
    return _in_float32(
        partial(
            _heatmap_squared_error,
            object_weights=object_weights,
            foreground_weight=config.foreground_weight,
            activation=activation,
        )
    )


def _in_float32(measure: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Loss:
    """Return the loss computed in float32 whatever autocast says: sums over 10^6 cells need it."""

    def loss(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return measure(logits.float(), values.float(), weights.float())

    return loss


def _mix(first: Loss, second: Loss, share: float) -> Loss:
    def loss(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        return share * first(logits, values, weights) + (1 - share) * second(logits, values, weights)

    return loss


def _softmax_cross_entropy(
    logits: Tensor, values: Tensor, weights: Tensor, *, positive_weights: Tensor, label_smoothing: float
) -> Tensor:
    shares = _class_shares(values)
    shares = (1 - label_smoothing) * shares + label_smoothing / shares.shape[1]
    class_weights = torch.cat([positive_weights.new_ones(1), positive_weights]).to(logits.device)
    importance = shares * class_weights.view(1, -1, 1, 1, 1) * weights[:, None]
    surprise = -functional.log_softmax(logits, dim=1)
    return (importance * surprise).sum() / importance.sum().clamp_min(_TINY)


def _class_shares(values: Tensor) -> Tensor:
    """Return shares (batch, 1 + object, ...) that sum to 1: background is what the objects leave."""
    total = values.sum(dim=1, keepdim=True)
    return torch.cat([1 - total.clamp(0, 1), values / total.clamp_min(1)], dim=1)


def _sigmoid_cross_entropy(
    logits: Tensor, values: Tensor, weights: Tensor, *, positive_weights: Tensor, label_smoothing: float
) -> Tensor:
    shares = (1 - label_smoothing) * values + label_smoothing / 2
    positive = shares * _per_channel(positive_weights, logits) * weights[:, None]
    negative = (1 - shares) * weights[:, None]
    surprise = positive * functional.softplus(-logits) + negative * functional.softplus(logits)
    return surprise.sum() / (positive + negative).sum().clamp_min(_TINY)


def _make_tversky(
    object_weights: Tensor,
    activation: Activation,
    *,
    false_positive: float,
    false_negative: float,
    exponent: float = 1.0,
) -> Loss:
    return _in_float32(
        partial(
            _tversky,
            object_weights=object_weights,
            activation=activation,
            false_positive=false_positive,
            false_negative=false_negative,
            exponent=exponent,
        )
    )


def _tversky(
    logits: Tensor,
    values: Tensor,
    weights: Tensor,
    *,
    object_weights: Tensor,
    activation: Activation,
    false_positive: float,
    false_negative: float,
    exponent: float,
) -> Tensor:
    predicted = object_probabilities(logits, activation)
    cell_weights = weights[:, None]
    true_positives = _sum_cells(predicted * values * cell_weights)
    targets = _sum_cells(values * cell_weights)
    predictions = _sum_cells(predicted * cell_weights)
    denominator = (
        true_positives + false_positive * (predictions - true_positives) + false_negative * (targets - true_positives)
    )
    shortfall = 1 - true_positives / denominator.clamp_min(_TINY)
    # An object that is absent has no index: its mean probability is the loss, bounded and of even slope.
    mean_predicted = predictions / weights.sum().clamp_min(_TINY)
    losses = torch.where(targets > 0, shortfall.clamp_min(_SMALLEST_SHORTFALL) ** exponent, mean_predicted)
    importance = object_weights.to(logits.device)
    return (importance * losses).sum() / importance.sum()


def _heatmap_cross_entropy(
    logits: Tensor,
    values: Tensor,
    weights: Tensor,
    *,
    object_weights: Tensor,
    foreground_weight: float,
    activation: Activation,
) -> Tensor:
    log_present, log_absent = _log_probabilities(logits, activation)
    importance = weights[:, None] * _per_channel(object_weights, logits)
    positive = foreground_weight * values * importance
    negative = (1 - values) * importance
    surprise = -(positive * log_present + negative * log_absent)
    return surprise.sum() / (positive + negative).sum().clamp_min(_TINY)


def _log_probabilities(logits: Tensor, activation: Activation) -> tuple[Tensor, Tensor]:
    """Return log p and log (1 - p) of every object, without cancellation."""
    if activation == "sigmoid":
        return functional.logsigmoid(logits), functional.logsigmoid(-logits)
    log_shares = functional.log_softmax(logits, dim=1)
    others = [
        torch.logsumexp(torch.cat([log_shares[:, :channel], log_shares[:, channel + 1 :]], dim=1), dim=1)
        for channel in range(1, log_shares.shape[1])
    ]
    return log_shares[:, 1:], torch.stack(others, dim=1)


def _heatmap_squared_error(
    logits: Tensor,
    values: Tensor,
    weights: Tensor,
    *,
    object_weights: Tensor,
    foreground_weight: float,
    activation: Activation,
) -> Tensor:
    errors = object_probabilities(logits, activation) - values
    importance = (1 + foreground_weight * values) * weights[:, None] * _per_channel(object_weights, logits)
    return (importance * errors.square()).sum() / importance.sum().clamp_min(_TINY)


def _per_channel(object_weights: Tensor, like: Tensor) -> Tensor:
    return object_weights.to(like.device).view(1, -1, 1, 1, 1)


def _sum_cells(values: Tensor) -> Tensor:
    return values.sum(dim=(0, 2, 3, 4))
