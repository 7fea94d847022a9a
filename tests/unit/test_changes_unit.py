"""Changes of grey values in batch: what they are, and that no crop sees another unless they are mixed."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cryofind.train.changes import (
    NOISE_WINDOWS,
    BatchTensors,
    Changes,
    DrawnBatch,
    apply_changes,
    common_noise,
)
from cryofind.train.spectrum import GAIN_STEPS, draw_gains, draw_wedge

SHAPE = (12, 16, 20)


def make_crops(count: int = 4) -> BatchTensors:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, *SHAPE, generator=generator) * 2 + 5
    values = torch.rand(count, 2, *(size // 2 for size in SHAPE), generator=generator)
    return BatchTensors(images, values, torch.rand(count, *values.shape[2:], generator=generator))


def make_changes(count: int = 4, **changes: Tensor) -> Changes:
    nothing = Changes(
        factors=torch.ones(count),
        shifts=torch.zeros(count),
        noise_deviations=torch.empty(0),
        noise_starts=torch.empty(0, 2, dtype=torch.int64),
        spectrum_rows=torch.empty(0, dtype=torch.int64),
        spectrum_gains=torch.empty(0, GAIN_STEPS),
        spectrum_wedges=torch.empty(0, 2, 3),
        partners=torch.empty(0, dtype=torch.int64),
        shares=torch.empty(0),
    )
    return nothing._replace(**changes)


def all_but_mixing() -> dict[str, Tensor]:
    gains = np.stack([draw_gains(0.5, np.random.default_rng(seed)) for seed in range(2)])
    wedge = draw_wedge(40.0, np.random.default_rng(2), matrix_zyx=np.eye(3))
    return {
        "factors": torch.tensor([1.1, 0.9, 1.0, 1.3]),
        "shifts": torch.tensor([0.5, 0.0, -1.0, 0.1]),
        "noise_deviations": torch.tensor([0.2, 0.0, 1.0, 0.4]),
        "noise_starts": torch.tensor([[0, 5], [7, 7], [NOISE_WINDOWS - 1, 3], [1000, 2_000_000]]),
        "spectrum_rows": torch.tensor([1, 3]),
        "spectrum_gains": torch.from_numpy(gains),
        "spectrum_wedges": torch.from_numpy(np.stack([wedge, np.zeros_like(wedge)])),
    }


def change(crops: BatchTensors, **changes: Any) -> BatchTensors:
    copied = BatchTensors(*(tensor.clone() for tensor in crops))
    return apply_changes(DrawnBatch(copied, make_changes(len(crops.images), **changes)))


def test_a_batch_changes_as_its_crops_would_one_by_one() -> None:
    crops, changes = make_crops(), all_but_mixing()
    together = change(crops, **changes).images
    for row in range(4):
        is_row = changes["spectrum_rows"] == row
        one = {name: tensor[row : row + 1] for name, tensor in changes.items() if not name.startswith("spectrum")}
        one["spectrum_rows"] = torch.zeros(int(is_row.sum()), dtype=torch.int64)
        one |= {name: changes[name][is_row] for name in ("spectrum_gains", "spectrum_wedges")}
        alone = change(BatchTensors(*(tensor[row : row + 1] for tensor in crops)), **one).images
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)
    assert (together - crops.images).abs().amax(dim=(1, 2, 3, 4)).min() > 0.1


def test_grey_values_are_scaled_and_shifted() -> None:
    crops = make_crops(2)
    changed = change(crops, factors=torch.tensor([2.0, 0.5]), shifts=torch.tensor([1.0, -3.0]))
    torch.testing.assert_close(changed.images[0], 2 * crops.images[0] + 1)
    torch.testing.assert_close(changed.images[1], crops.images[1] / 2 - 3)
    assert torch.equal(changed.values, crops.values)


def test_noise_is_white_and_of_its_deviation() -> None:
    crops = make_crops(3)
    crops.images.zero_()
    starts = torch.tensor([[0, 100_000], [50_000, 1_000_000], [50_001, 1_000_000]])
    noise = change(crops, noise_deviations=torch.full((3,), 2.0), noise_starts=starts).images.flatten(1).double()
    assert noise.std(dim=1).tolist() == pytest.approx([2.0] * 3, rel=0.05)
    assert noise.mean(dim=1).abs().max() < 0.15
    neighbours = torch.corrcoef(torch.stack([noise[0, 1:], noise[0, :-1], noise[1, 1:], noise[2, 1:]]))
    assert neighbours.fill_diagonal_(0)[:3, :3].abs().max() < 0.06
    assert abs(float(neighbours[2, 3]) - 0.5) < 0.06  # one window of two in common


def test_every_window_of_the_noise_exists() -> None:
    noise = common_noise(7, "cpu")
    assert len(noise[NOISE_WINDOWS - 1 :][:7]) == 7
    assert noise is common_noise(7, "cpu")


def test_mixing_takes_images_values_and_weights_by_the_same_shares() -> None:
    crops = make_crops(3)
    mixed = change(crops, partners=torch.tensor([1, 2, 0]), shares=torch.tensor([0.25, 1.0, 0.5]))
    for before, after in zip(crops, mixed, strict=True):
        torch.testing.assert_close(after[0], 0.25 * before[0] + 0.75 * before[1])
        torch.testing.assert_close(after[1], before[1])
        torch.testing.assert_close(after[2], 0.5 * before[2] + 0.5 * before[0])


def test_without_changes_a_batch_stays_as_it_is() -> None:
    crops = make_crops()
    assert apply_changes(DrawnBatch(crops)) is crops
    assert torch.equal(change(crops).images, crops.images)


@pytest.mark.gpu
def test_a_gpu_changes_a_batch_as_a_cpu_does() -> None:
    crops, mixing = make_crops(), {"partners": torch.tensor([1, 2, 3, 0]), "shares": torch.tensor([0.3, 1.0, 0.5, 0.9])}
    changes = make_changes(4, **all_but_mixing(), **mixing)
    there = apply_changes(DrawnBatch(crops, changes).pinned().moved_to(torch.device("cuda")))
    for found, expected in zip(there, change(crops, **changes._asdict()), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
