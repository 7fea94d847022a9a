"""Training of a denoiser on halves."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryofind.errors import ConfigError, ModelError, TomogramError
from cryofind.models.denoiser import Denoiser, DenoisingUNet, GreyScale
from cryofind.predict.denoise import denoise_volume
from cryofind.train import noise2noise
from cryofind.train.noise2noise import train_denoiser
from tests.tiny_denoisers import make_halves

IDENTITY_SCALE = GreyScale(0.0, 1.0)


def _train(seed: int = 0, steps: int = 3, **options: Any) -> Denoiser:
    _, half1, half2 = make_halves((16, 24, 24), seed=5)
    return train_denoiser([(half1, half2)], steps=steps, seed=seed, crop_zyx=(16, 16, 16), devices="cpu", **options)


def _error(found: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    return float(np.square(found - truth).mean())


def test_the_signal_is_found_without_ever_seeing_it() -> None:
    pairs = [make_halves((32, 48, 48), seed=seed)[1:] for seed in (1, 2)]
    denoiser = train_denoiser(pairs, steps=40, seed=0, crop_zyx=(16, 24, 24), devices="cpu")
    truth, half1, half2 = make_halves((32, 48, 48), seed=3)
    denoised = denoise_volume(denoiser, half1, half2, device="cpu")
    mean = (half1 + half2) / 2
    shrunk = mean / (1 + _error(mean, truth))  # the best that one factor can do
    assert _error(denoised, truth) < 0.25 * _error(shrunk, truth)
    assert np.corrcoef(denoised.ravel(), truth.ravel())[0, 1] > 0.95 > np.corrcoef(mean.ravel(), truth.ravel())[0, 1]


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = _train(0), _train(0), _train(1)
    torch.testing.assert_close(first.network.state_dict(), second.network.state_dict(), rtol=0, atol=0)
    assert first.training == second.training
    assert not torch.equal(first.network.stem.weight, other.network.stem.weight)


def test_the_callers_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _train()
    assert torch.equal(torch.rand(4), expected)


def test_the_result_is_ready_for_use_and_says_how_it_was_made() -> None:
    denoiser = _train(seed=4, steps=5, batch_size=1)
    assert not denoiser.network.training
    assert {name: denoiser.training[name] for name in ("steps", "seed", "crop_zyx", "batch_size", "pairs")} == {
        "steps": 5,
        "seed": 4,
        "crop_zyx": [16, 16, 16],
        "batch_size": 1,
        "pairs": 1,
    }
    assert 0.5 < denoiser.training["loss"] < 3


def test_crops_show_the_same_place_of_both_halves() -> None:
    half1 = np.arange(12 * 16 * 20, dtype=np.float64).reshape(12, 16, 20)
    half2 = half1 + 0.25
    pairs = [(half1, half2)]
    random = np.random.default_rng(0)
    noisy, target = noise2noise._draw_batch(pairs, [IDENTITY_SCALE], (8, 8, 8), 200, random)
    differences = (target - noisy).flatten(1)
    assert torch.equal(differences, differences[:, :1].expand_as(differences))
    assert set(differences[:, 0].tolist()) == {0.25, -0.25}  # both directions
    crops = torch.floor(noisy[:, 0])
    strides = torch.stack([crops[:, 1, 0, 0], crops[:, 0, 1, 0], crops[:, 0, 0, 1]], 1) - crops[:, :1, 0, 0]
    assert set(map(tuple, strides.tolist())) == {(z, y, x) for z in (320, -320) for y in (20, -20) for x in (1, -1)}
    corners = crops.flatten(1).min(1).values
    assert set((corners // 320).tolist()) == {0, 1, 2, 3, 4}
    assert set((corners % 20).tolist()) == set(range(13))


def test_every_pair_has_its_own_grey_scale() -> None:
    pairs = [(np.full((8, 8, 8), 10.0), np.full((8, 8, 8), 12.0)), (np.full((8, 8, 8), -5.0), np.full((8, 8, 8), -5.0))]
    scales = [GreyScale(10.0, 2.0), GreyScale(-7.0, 4.0)]
    noisy, target = noise2noise._draw_batch(pairs, scales, (8, 8, 8), 50, np.random.default_rng(0))
    assert set(zip(noisy[:, 0, 0, 0, 0].tolist(), target[:, 0, 0, 0, 0].tolist(), strict=True)) == {
        (0.0, 1.0),
        (1.0, 0.0),
        (0.5, 0.5),
    }


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [noise2noise._learning_rate_at(step, 400) for step in range(400)]
    peak = int(np.argmax(rates))
    assert 10 <= peak <= 40
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-3 * rates[peak]


def test_small_volumes_give_small_crops() -> None:
    pairs = [make_halves((11, 30, 24), seed=1)[1:], make_halves((40, 17, 90), seed=2)[1:]]
    assert noise2noise._fit_crop(pairs, (48, 64, 64), 8) == (8, 16, 24)
    assert noise2noise._fit_crop(pairs, (8, 8, 8), 8) == (8, 8, 8)


@pytest.mark.parametrize(("depth", "expected"), [(16, torch.float32), (24, torch.bfloat16)])
def test_shallow_crops_are_trained_in_float32(
    monkeypatch: pytest.MonkeyPatch, depth: int, expected: torch.dtype
) -> None:
    # the deepest level of 16 voxels has a depth of two, for which bfloat16 gradients are wrong on CPUs
    monkeypatch.setattr(noise2noise, "choose_precision", lambda asked, device: torch.bfloat16)
    assert noise2noise._choose_dtype(DenoisingUNet(), (depth, 24, 24), torch.device("cpu")) == expected


def test_halves_stay_as_they_are() -> None:
    _, half1, half2 = make_halves((16, 16, 16), seed=5)
    kept = half1.copy(), half2.copy()
    for half in (half1, half2):
        half.flags.writeable = False
    train_denoiser([(half1, half2)], steps=1, seed=0, crop_zyx=(16, 16, 16), devices="cpu")
    np.testing.assert_array_equal([half1, half2], kept)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 0}, "steps: is 0"),
        ({"batch_size": 0}, "batch_size: is 0"),
        ({"crop_zyx": (16, 16, 12)}, "three positive multiples of 8"),
        ({"crop_zyx": (0, 16, 16)}, "three positive multiples of 8"),
        ({"devices": "abacus"}, "train.devices"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], problem: str) -> None:
    _, half1, half2 = make_halves((16, 16, 16), seed=5)
    with pytest.raises(ConfigError, match=problem):
        train_denoiser([(half1, half2)], **{"steps": 1, "seed": 0, "devices": "cpu", **options})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda half1, half2: [], "half volumes: are none"),
        (lambda half1, half2: [(half1, half2), (half1, half2[:-1])], "pair 2: half volumes: have shapes"),
        (lambda half1, half2: [(half1, np.where(half2 > 3, np.nan, half2))], "pair 1: half volume 2: holds NaN"),
        (lambda half1, half2: [(half1, half1.copy())], "pair 1: half volumes: are the same volume"),
        (lambda half1, half2: [(half1, 0 * half2)], "pair 1: half volume 2: has one grey value"),
        (lambda half1, half2: [(half1[:7], half2[:7])], r"hold one of shape \(7, 16, 16\)"),
        (lambda half1, half2: [(half1[0], half2[0])], r"hold one of shape \(16, 16\)"),
    ],
)
def test_pairs_that_cannot_teach_are_refused(change: Any, problem: str) -> None:
    _, half1, half2 = make_halves((16, 16, 16), seed=5)
    with pytest.raises(TomogramError, match=problem):
        train_denoiser(change(half1, half2), steps=1, seed=0, devices="cpu")


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    _, half1, half2 = make_halves((16, 16, 16), seed=5)
    half1[4, 4, 4] = 1e30  # finite, but its square is not
    with pytest.raises(ModelError, match=r"training step \d+: the loss or its gradient is"):
        train_denoiser([(half1, half2)], steps=3, seed=0, devices="cpu")
