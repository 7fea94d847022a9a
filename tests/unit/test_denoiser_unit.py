"""The denoising network, its grey scale and its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.errors import ModelError, OutputError, TomogramError
from cryofind.models.denoiser import (
    LIMIT_DEVIATIONS,
    Denoiser,
    DenoisingUNet,
    GreyScale,
    load_denoiser,
    measure_grey_scale,
)
from cryofind.models.sealed import hash_bytes, render_seal
from tests.tiny_denoisers import randomize


def _noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Denoiser(randomize(DenoisingUNet((4, 6))), {"steps": 7, "crop_zyx": [8, 8, 8]}).save(tmp_path / "denoiser")
    return tmp_path / "denoiser"


def _reseal(folder: Path, **changes: Any) -> None:
    """Change fields of the card so that only the change itself is wrong."""
    weights = (folder / "denoiser.safetensors").read_bytes()
    card = {**json.loads((folder / "denoiser.json").read_text()), **changes}
    contents = {"denoiser.safetensors": weights, "denoiser.json": json.dumps(card).encode()}
    for name, content in {**contents, "SHA256SUMS": render_seal(contents).encode()}.items():
        (folder / name).write_bytes(content)


def test_the_network_is_small() -> None:
    assert 50_000 < sum(parameter.numel() for parameter in DenoisingUNet().parameters()) < 300_000


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8)])
def test_output_has_the_shape_of_the_input(widths: tuple[int, ...]) -> None:
    network = randomize(DenoisingUNet(widths))
    images = torch.from_numpy(_noise(2, 1, 8, 16, 24))
    assert network(images).shape == images.shape
    assert network(images).dtype == torch.float32


def test_a_fresh_network_says_the_median() -> None:
    assert torch.equal(DenoisingUNet((4,))(torch.ones(1, 1, 4, 4, 4)), torch.zeros(1, 1, 4, 4, 4))


def test_voxels_of_a_cell_land_in_their_place() -> None:
    network = DenoisingUNet((4,))
    nn.init.zeros_(network.stem.weight)
    assert network.head.bias is not None
    network.head.bias.data = torch.arange(8.0)
    output = network(torch.zeros(1, 1, 4, 2, 2))[0, 0]
    expected = torch.arange(8.0).reshape(2, 2, 2)
    assert torch.equal(output, torch.cat([expected, expected]))


def test_grey_values_beyond_the_limit_pass_the_network_by() -> None:
    network = randomize(DenoisingUNet((4, 6)))
    images = torch.from_numpy(_noise(1, 1, 8, 8, 8))
    images[0, 0, 3, 4, 5] = -LIMIT_DEVIATIONS
    far = images.clone()
    far[0, 0, 3, 4, 5] -= 100
    difference = network(far) - network(images)
    assert difference[0, 0, 3, 4, 5] == pytest.approx(-100, rel=1e-5)
    assert torch.count_nonzero(difference) == 1


def test_sizes_that_do_not_suit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        DenoisingUNet()(torch.zeros(1, 1, 8, 8, 12))


@pytest.mark.parametrize("widths", [(), (4, 0)])
def test_widths_are_checked(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive"):
        DenoisingUNet(widths)


def test_the_grey_scale_is_that_of_the_noise() -> None:
    half1, half2 = (5 + 3 * _noise(32, 64, 64, seed=seed) for seed in (1, 2))
    found = measure_grey_scale(half1, half2)
    assert found.centre == pytest.approx(5, abs=0.05)
    assert found.deviation == pytest.approx(3, rel=0.02)
    half1[10:14, 10:14, 10:14] = half2[10:14, 10:14, 10:14] = -1000  # a gold bead
    assert measure_grey_scale(half1, half2).deviation == pytest.approx(found.deviation, rel=0.01)


def test_the_grey_scale_of_a_large_volume_comes_from_a_sample() -> None:
    half = _noise(200, 200, 200)
    assert measure_grey_scale(half, half) == measure_grey_scale(half[::2, ::2, ::2], half[::2, ::2, ::2])


def test_a_difference_in_level_between_halves_is_no_noise() -> None:
    half1, half2 = _noise(16, 32, 32, seed=1), 50 + _noise(16, 32, 32, seed=2)
    assert measure_grey_scale(half1, half2).deviation == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("half1", "half2", "problem"),
    [
        (_noise(8, 8, 8), _noise(8, 8, 9), r"shapes \(8, 8, 8\) and \(8, 8, 9\)"),
        (_noise(8, 8), _noise(8, 8), "expected two alike of z, y, x"),
        (_noise(0, 8, 8), _noise(0, 8, 8), "expected two alike of z, y, x"),
        (_noise(8, 8, 8), np.full((8, 8, 8), np.nan), "half volume 2: holds NaN or infinity"),
        (np.full((8, 8, 8), np.inf), _noise(8, 8, 8), "half volume 1: holds NaN or infinity"),
        (_noise(8, 8, 8), np.ones((8, 8, 8)), "half volume 2: has one grey value"),
    ],
)
def test_halves_that_cannot_be_used_are_refused(half1: NDArray[Any], half2: NDArray[Any], problem: str) -> None:
    with pytest.raises(TomogramError, match=problem):
        measure_grey_scale(half1, half2)


def test_a_saved_denoiser_comes_back(folder: Path) -> None:
    loaded = load_denoiser(folder)
    assert loaded.training == {"steps": 7, "crop_zyx": [8, 8, 8]}
    assert not loaded.network.training
    torch.testing.assert_close(
        loaded.network.state_dict(), randomize(DenoisingUNet((4, 6))).state_dict(), rtol=0, atol=0
    )
    half = _noise(8, 8, 8)
    assert loaded.measure_grey_scale(half, half) == measure_grey_scale(half, half) == _brute_scale(half)


def _brute_scale(half: NDArray[np.float32]) -> GreyScale:
    values = half.astype(np.float64)
    centre = float(np.median(values))
    return GreyScale(centre, 1.4826 * float(np.median(np.abs(values - centre))))


def test_saving_replaces_what_was_there(folder: Path) -> None:
    Denoiser(DenoisingUNet((3,))).save(folder)
    assert load_denoiser(folder).network.widths == (3,)
    assert {path.name for path in folder.iterdir()} == {"denoiser.safetensors", "denoiser.json", "SHA256SUMS"}


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    network = DenoisingUNet((3,))
    network.gain.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="weight gain: is not finite"):
        Denoiser(network).save(tmp_path / "denoiser")
    assert not (tmp_path / "denoiser").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "denoiser").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        Denoiser(DenoisingUNet((3,))).save(tmp_path / "denoiser")


@pytest.mark.parametrize("name", ["denoiser.safetensors", "denoiser.json", "SHA256SUMS"])
def test_damage_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        load_denoiser(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: is missing"):
        load_denoiser(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format_version": 2}, "denoiser.json: format_version"),
        ({"kind": "picker"}, "denoiser.json: kind"),
        ({"widths": []}, "denoiser.json: widths"),
        ({"widths": [4, 10**9]}, "denoiser.json: widths.1"),
        ({"normalization": "zscore"}, "denoiser.json: normalization"),
        ({"limit_deviations": 9}, "denoiser.json: limit_deviations"),
        ({"colour": "red"}, "denoiser.json: colour"),
        ({"widths": [4, 8]}, "has shape"),
        ({"widths": [4]}, "is not part of the network"),
        ({"weights_sha256": hash_bytes(b"")}, "does not match weights_sha256"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], problem: str) -> None:
    _reseal(folder, **changes)
    with pytest.raises(ModelError, match=problem):
        load_denoiser(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_denoiser(tmp_path / "nothing")
