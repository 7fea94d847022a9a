"""Losses: their values against plain formulas, masks, scale, and finiteness."""

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cryofind.config import LossConfig
from cryofind.errors import ConfigError
from cryofind.registry import LOSSES
from cryofind.train.losses import build_loss, mask_unlabelled

Activation = Literal["softmax", "sigmoid"]

OBJECTS = ("apo-ferritin", "ribosome", "virus-like-particle")
NAMES = (
    "weighted_cross_entropy",
    "dice_cross_entropy",
    "tversky",
    "focal_tversky",
    "tversky_cross_entropy",
    "heatmap_bce",
    "heatmap_mse",
)
ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid")
SHAPE = (6, 6, 6)

every_loss = pytest.mark.parametrize("name", NAMES)
both_activations = pytest.mark.parametrize("activation", ACTIVATIONS)


def make_case(activation: Activation, *, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    channels = len(OBJECTS) + (activation == "softmax")
    logits = scale * torch.randn((2, channels, *SHAPE), generator=source)
    owners = torch.randint(-6, len(OBJECTS), (2, *SHAPE), generator=source)
    values = torch.stack([(owners == channel).float() for channel in range(len(OBJECTS))], dim=1)
    weights = (torch.rand((2, *SHAPE), generator=source) > 0.2).float()
    return logits.requires_grad_(), values, weights


def hard_logits(values: Tensor, activation: Activation) -> Tensor:
    logits = 60 * values - 30
    if activation == "softmax":
        background = 60 * (1 - values.sum(dim=1, keepdim=True)) - 30
        return torch.cat([background, logits], dim=1)
    return logits


def test_all_losses_are_registered() -> None:
    assert set(NAMES) <= set(LOSSES.names())


@every_loss
@both_activations
@pytest.mark.parametrize("situation", ["usual", "empty", "masked", "empty and masked", "extreme", "full"])
def test_loss_and_gradient_are_finite(name: str, activation: Activation, situation: str) -> None:
    logits, values, weights = make_case(activation, scale=1e4 if situation == "extreme" else 1.0)
    values = torch.zeros_like(values) if "empty" in situation else values
    values = torch.ones_like(values) if situation == "full" else values
    weights = torch.zeros_like(weights) if "masked" in situation else weights
    loss = build_loss(LossConfig(name=name), OBJECTS, activation)(logits, values, weights)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    if situation == "masked":
        assert float(loss.detach()) == 0
        assert not logits.grad.any()


@every_loss
@both_activations
def test_right_answer_costs_less_than_wrong_and_nearly_nothing(name: str, activation: Activation) -> None:
    _, values, weights = make_case(activation)
    loss = build_loss(LossConfig(name=name), OBJECTS, activation)
    right = float(loss(hard_logits(values, activation), values, weights))
    wrong = float(loss(hard_logits(values.roll(1, dims=1), activation), values, weights))
    assert right < 1e-4
    assert wrong > 0.1


@every_loss
@both_activations
def test_masked_cells_do_not_count(name: str, activation: Activation) -> None:
    logits, values, weights = make_case(activation)
    loss = build_loss(LossConfig(name=name), OBJECTS, activation)
    masked = weights[:, None] == 0
    expected = loss(logits, values, weights)
    garbled = loss(logits.masked_fill(masked, 7.0), values.masked_fill(masked, 1.0), weights)
    torch.testing.assert_close(expected, garbled)


@every_loss
@both_activations
def test_size_of_crop_and_batch_does_not_change_the_scale(name: str, activation: Activation) -> None:
    logits, values, weights = make_case(activation)
    loss = build_loss(LossConfig(name=name), OBJECTS, activation)
    expected = loss(logits, values, weights)
    larger = loss(logits.repeat(1, 1, 2, 2, 2), values.repeat(1, 1, 2, 2, 2), weights.repeat(1, 2, 2, 2))
    more = loss(logits.repeat(3, 1, 1, 1, 1), values.repeat(3, 1, 1, 1, 1), weights.repeat(3, 1, 1, 1))
    torch.testing.assert_close(larger, expected)
    torch.testing.assert_close(more, expected)


@every_loss
@both_activations
def test_loss_is_computed_in_float32_under_autocast(name: str, activation: Activation) -> None:
    logits, values, weights = make_case(activation)
    loss = build_loss(LossConfig(name=name), OBJECTS, activation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits.bfloat16(), values, weights)
    torch.testing.assert_close(inside, loss(logits.bfloat16(), values, weights))
    assert inside.dtype == torch.float32


def test_cross_entropy_equals_torch_with_class_weights() -> None:
    logits, values, weights = make_case("softmax")
    config = LossConfig(foreground_weight=32, object_weights={"ribosome": 2.0})
    classes = torch.where(values.sum(dim=1) > 0, values.argmax(dim=1) + 1, 0)
    classes = classes.masked_fill(weights == 0, -100)
    expected = functional.cross_entropy(logits, classes, weight=torch.tensor([1.0, 32, 64, 32]))
    torch.testing.assert_close(build_loss(config, OBJECTS, "softmax")(logits, values, weights), expected)


def test_label_smoothing_mixes_the_target_with_the_mean() -> None:
    logits, values, weights = make_case("softmax")
    config = LossConfig(foreground_weight=1, label_smoothing=0.1)
    classes = torch.where(values.sum(dim=1) > 0, values.argmax(dim=1) + 1, 0).masked_fill(weights == 0, -100)
    expected = functional.cross_entropy(logits, classes, label_smoothing=0.1)
    torch.testing.assert_close(build_loss(config, OBJECTS, "softmax")(logits, values, weights), expected)


def test_sigmoid_cross_entropy_equals_torch() -> None:
    logits, values, weights = make_case("sigmoid")
    expected = functional.binary_cross_entropy_with_logits(logits, values, weight=weights[:, None].expand_as(values))
    expected = expected * weights.numel() / weights.sum()
    config = LossConfig(foreground_weight=1)
    torch.testing.assert_close(build_loss(config, OBJECTS, "sigmoid")(logits, values, weights), expected)


def test_soft_targets_that_overlap_still_sum_to_one() -> None:
    logits, values, weights = make_case("softmax")
    loss = build_loss(LossConfig(foreground_weight=1), OBJECTS, "softmax")
    overlapping = values.clone()
    overlapping[:, :, :3] = 0.8
    third = values.clone()
    third[:, :, :3] = 1 / 3
    torch.testing.assert_close(loss(logits, overlapping, weights), loss(logits, third, weights))


@both_activations
def test_tversky_of_hard_answers_is_the_exact_f4(activation: Activation) -> None:
    _, values, weights = make_case(activation, seed=1)
    answers = make_case(activation, seed=2)[1]
    config = LossConfig(name="tversky", tversky_false_positive=1 / 17, tversky_false_negative=16 / 17)
    found = float(build_loss(config, OBJECTS, activation)(hard_logits(answers, activation), values, weights))
    truth, guess = (values * weights[:, None]).bool(), (answers * weights[:, None]).bool()
    scores = []
    for channel in range(len(OBJECTS)):
        hits = int((truth[:, channel] & guess[:, channel]).sum())
        scores.append(17 * hits / (16 * int(truth[:, channel].sum()) + int(guess[:, channel].sum())))
    assert found == pytest.approx(1 - sum(scores) / len(scores), abs=1e-5)


def test_focal_tversky_is_a_power_of_tversky() -> None:
    logits, values, weights = make_case("softmax")
    only = LossConfig(name="tversky", object_weights={"apo-ferritin": 0, "ribosome": 0})
    plain = build_loss(only, OBJECTS, "softmax")(logits, values, weights)
    focal = build_loss(only.model_copy(update={"name": "focal_tversky", "focal_gamma": 4 / 3}), OBJECTS, "softmax")
    torch.testing.assert_close(focal(logits, values, weights), plain**0.75)


@both_activations
def test_absent_object_is_still_pushed_down(activation: Activation) -> None:
    logits, values, weights = make_case(activation)
    values = values.clone()
    values[:, 1] = 0
    loss = build_loss(LossConfig(name="tversky"), OBJECTS, activation)(logits, values, weights)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    channel = 2 if activation == "softmax" else 1
    assert (logits.grad[:, channel][weights > 0] > 0).all()


def test_mixed_losses_share() -> None:
    logits, values, weights = make_case("softmax")
    parts = [
        build_loss(LossConfig(name=name), OBJECTS, "softmax")(logits, values, weights)
        for name in ("tversky", "weighted_cross_entropy")
    ]
    config = LossConfig(name="tversky_cross_entropy", dice_share=0.3)
    mixed = build_loss(config, OBJECTS, "softmax")(logits, values, weights)
    torch.testing.assert_close(mixed, 0.3 * parts[0] + 0.7 * parts[1])


def test_heatmap_losses_equal_plain_formulas() -> None:
    logits, _, weights = make_case("softmax")
    values = torch.rand(2, 3, *SHAPE, generator=torch.Generator().manual_seed(5))
    probabilities = torch.softmax(logits, dim=1)[:, 1:]
    importance = (1 + 10 * values) * weights[:, None]
    squared = (importance * (probabilities - values) ** 2).sum() / importance.sum()
    config = LossConfig(name="heatmap_mse", foreground_weight=10)
    torch.testing.assert_close(build_loss(config, OBJECTS, "softmax")(logits, values, weights), squared)
    positive, negative = 10 * values * weights[:, None], (1 - values) * weights[:, None]
    surprise = -(positive * probabilities.log() + negative * (1 - probabilities).log()).sum()
    config = LossConfig(name="heatmap_bce", foreground_weight=10)
    found = build_loss(config, OBJECTS, "softmax")(logits, values, weights)
    torch.testing.assert_close(found, surprise / (positive + negative).sum())


@both_activations
def test_confident_background_cells_lose_their_weight(activation: Activation) -> None:
    values = torch.zeros(1, 2, 1, 1, 4)
    values[0, 0, 0, 0, 0] = 1
    answers = torch.zeros_like(values)
    answers[0, 1, 0, 0, :2] = 1
    logits = hard_logits(answers, activation).requires_grad_()
    weights = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    masked = mask_unlabelled(logits, values, weights, 0.9, activation)
    assert masked.tolist() == [[[[1.0, 0.0, 1.0, 0.0]]]]
    assert not masked.requires_grad
    assert weights.sum() == 3


def test_unknown_names_are_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"loss.object_weights: ribosom: .*did you mean 'ribosome'"):
        build_loss(LossConfig(object_weights={"ribosom": 2.0}), OBJECTS, "softmax")
    with pytest.raises(ConfigError, match="did you mean 'tversky'"):
        build_loss(LossConfig(name="tverski"), OBJECTS, "softmax")
    with pytest.raises(ConfigError, match="no object with weight"):
        build_loss(LossConfig(object_weights=dict.fromkeys(OBJECTS, 0.0)), OBJECTS, "softmax")
