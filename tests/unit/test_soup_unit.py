"""Weight soups: the mean of networks, and what is known of the model that it makes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cryofind.config import ModelConfig
from cryofind.errors import ModelError
from cryofind.models import (
    AveragedModel,
    SeenRun,
    average_networks,
    build_network,
    card_objects,
    load_model_folder,
    measure_kinship,
    round_as_stored,
    save_model,
)
from cryofind.pipeline import Picker, average_models, load_model
from cryofind.types import Calibration
from tests.tiny_models import SPECS, TINY, build_tiny, tiny_card

KIND = {
    "flavour": "denoised",
    "runs": 8,
    "traits": {
        "skewness": {"mean": [0.1], "deviation": [0.2], "least": [0.0], "greatest": [0.3]},
        "features": {"mean": [1.0], "deviation": [0.1], "least": [0.9], "greatest": [1.1]},
    },
    "feature_centre": [0.5],
    "feature_scale": [1.0],
    "feature_left_out": [[1.0]],
}


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32) if tensor.is_floating_point() else tensor


def sibling(network: nn.Module, seed: int, step: float = 0.05) -> nn.Module:
    """Return a copy of a network whose weights went a small step away, as in fine-tuning."""
    generator = torch.Generator().manual_seed(seed)
    other = average_networks([network])
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + step * torch.randn(tensor.shape, generator=generator).clamp(-3, 3))
    return other


def write(folder: Path, weights: nn.Module, **card: Any) -> Path:
    save_model(folder, weights, tiny_card(name=folder.name, **card))
    return folder


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_the_mean_of_copies_is_the_network_bit_for_bit(copies: int) -> None:
    network = build_tiny()
    soup = average_networks([network] * copies)
    assert soup is not network
    assert not soup.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(bits(soup.state_dict()[name]), bits(tensor)), name


def test_the_mean_of_two_is_that_of_each_weight_and_statistic() -> None:
    one, other = build_tiny(seed=1), build_tiny(seed=2)
    one.stem[1].num_batches_tracked.fill_(40)  # type: ignore[index, union-attr]
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    soup = average_networks([one, other]).state_dict()
    second = other.state_dict()
    assert sum(name.endswith("running_var") for name in soup) >= 4
    for name, tensor in soup.items():
        if tensor.is_floating_point():
            assert not torch.equal(before[name], second[name]) or name.endswith("head.bias"), name
            torch.testing.assert_close(tensor, (before[name] + second[name]) / 2, rtol=1e-6, atol=1e-8)
    assert soup["stem.1.num_batches_tracked"] == 40
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_mean_of_thirds_by_hand() -> None:
    networks = [build_tiny(seed=seed) for seed in range(3)]
    weights = [1.0, 2.5, -0.25]
    for network, weight in zip(networks, weights, strict=True):
        nn.init.constant_(network.head.weight, weight)  # type: ignore[union-attr, arg-type]
    found = average_networks(networks).state_dict()["head.weight"]
    torch.testing.assert_close(found, torch.full_like(found, 3.25 / 3))


def test_networks_of_other_shapes_have_no_mean() -> None:
    with pytest.raises(ValueError, match="same names and shapes"):
        average_networks([build_tiny(2), build_tiny(3)])


def test_kinship_tells_siblings_from_strangers() -> None:
    network = build_tiny()
    assert measure_kinship(network, network) == pytest.approx(1)
    assert measure_kinship(network, sibling(network, 1)) > 0.95
    assert abs(measure_kinship(network, build_tiny(seed=1))) < 0.2


def test_rounding_gives_what_a_folder_gives_back(tmp_path: Path) -> None:
    network = sibling(build_tiny(), 3)
    save_model(tmp_path / "m", network, tiny_card())
    stored = load_model_folder(tmp_path / "m").network.state_dict()
    assert any(not torch.equal(tensor, stored[name]) for name, tensor in network.state_dict().items())
    for name, tensor in round_as_stored(network).state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_one_model_knows_what_all_knew(tmp_path: Path) -> None:
    ancestor, own, validated = (SeenRun(run=name, volume_sha256=(name,)) for name in ("X", "A", "B"))
    start = build_tiny()
    folders = [
        write(
            tmp_path / "a",
            sibling(start, 1),
            training_runs=[ancestor, own],
            flavours=["wbp"],
            thresholds={"ribosome": 0.2},
            calibration={"apo-ferritin": Calibration.line(1.0, 0.0)},
            calibrated_for={"members": 1},
            familiar=[KIND],
            metrics={"f_beta": 0.5},
            training={"train": {"seed": 1}},
        ),
        write(
            tmp_path / "b",
            sibling(start, 2),
            training_runs=[ancestor, validated],
            flavours=["denoised", "wbp"],
            thresholds={"ribosome": 0.4},
            familiar=[KIND, {**KIND, "flavour": "wbp"}],
            polarity="dark",
        ),
    ]
    soup = average_models(load_model(*folders), name="soup")
    card = soup.card
    assert len(soup.networks) == len(soup.cards) == 1
    assert (card.name, card.polarity, card.flavours) == ("soup", "dark", ("wbp", "denoised"))
    assert soup.seen_runs == (ancestor, own, validated)
    assert card.thresholds == pytest.approx({"ribosome": 0.3, "apo-ferritin": 0.5})
    assert (card.calibration, card.calibrated_for, card.metrics, card.training) == ({}, {}, {}, {})
    assert [(kind.flavour, kind.runs, set(kind.traits), kind.feature_centre) for kind in card.familiar] == [
        ("denoised", 8, {"skewness"}, ()),
        ("wbp", 8, {"skewness"}, ()),
    ]
    hashes = [load_model_folder(folder).card.weights_sha256 for folder in folders]
    assert card.averaged_from == (
        AveragedModel(name="a", weights_sha256=hashes[0], training={"train": {"seed": 1}}),
        AveragedModel(name="b", weights_sha256=hashes[1]),
    )
    save_model(tmp_path / "soup", soup.networks[0], card)
    loaded = load_model_folder(tmp_path / "soup")
    assert loaded.card.averaged_from == card.averaged_from
    for name, tensor in soup.networks[0].state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name


def test_what_is_not_known_of_one_is_not_known_of_the_soup(tmp_path: Path) -> None:
    network = build_tiny()
    folders = [write(tmp_path / "a", network, familiar=[KIND]), write(tmp_path / "b", network)]
    assert average_models(load_model(*folders), name="soup").card.familiar == ()


def average(*folders: Path) -> Picker:
    return average_models(load_model(*folders), name="soup")


def test_one_model_is_no_soup(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found 1 model, expected 2 or more"):
        average(write(tmp_path / "a", build_tiny()))


OTHER_WIDTHS = TINY.model_copy(update={"widths": (4, 16)})
SIGMOID = TINY.model_copy(update={"activation": "sigmoid"})


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"network": OTHER_WIDTHS}, r"network.widths: is \(4, 16\), expected \(4, 8\) as of .*a; "),
        ({"polarity": "bright"}, "polarity: is bright, expected dark"),
        ({"network": SIGMOID}, "activation sigmoid differ from softmax of .*a; "),
        ({"objects": card_objects(SPECS[::-1])}, r"objects \['apo-ferritin', 'ribosome'\] differ from .* of .*a; "),
        ({"preprocess": {"normalization": "percentile"}}, "preprocess .*percentile.* differ from .* of .*a; "),
        ({"voxel_spacing_angstrom": 7.84}, "voxel_spacing_angstrom 7.84 differ from 10.012 of .*a; "),
    ],
)
def test_other_models_are_refused_by_name_and_field(card: dict[str, Any], message: str, tmp_path: Path) -> None:
    first = write(tmp_path / "a", build_tiny(), polarity="dark")
    config = card.get("network", TINY)
    assert isinstance(config, ModelConfig)
    other = write(tmp_path / "b", build_network(config, len(SPECS)), **{"polarity": "dark", **card})
    with pytest.raises(ModelError, match=f"^{other}.*{message}") as refused:
        average(first, other)
    assert "\n" not in str(refused.value)


def test_strangers_are_warned_of_and_siblings_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = build_tiny()
    folders = [write(tmp_path / str(seed), sibling(start, seed)) for seed in (1, 2)]
    stranger = write(tmp_path / "stranger", build_tiny(seed=9))
    with caplog.at_level(logging.WARNING, "cryofind"):
        average(*folders)
        assert not caplog.messages
        average(*folders, stranger)
    assert len(caplog.messages) == 1
    assert str(stranger) in caplog.messages[0]
    assert "train --init" in caplog.messages[0]
