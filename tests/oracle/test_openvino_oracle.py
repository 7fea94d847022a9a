"""Networks run by OpenVINO against plain float32 torch; skipped where the extra `[openvino]` is not installed."""

import copy
import gc
import importlib.util
import logging
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from cryofind.config import PredictConfig
from cryofind.errors import ModelError
from cryofind.models import ToStrideTwo, fold_batch_norm
from cryofind.predict.augment_test import choose_views
from cryofind.predict.engines import choose_engine, load_ensemble
from cryofind.predict.ensemble import FEATURE_MAPS_AT_PEAK, average_logits
from cryofind.predict.openvino_engine import convert_network, load_openvino
from tests.tiny_models import build_tiny

MISSING = [package for package in ("openvino", "nncf") if importlib.util.find_spec(package) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"extra [openvino] is not installed: {', '.join(MISSING)}")

# Share of how much the logits of a channel vary.
TOLERANCES = {"float32": 1e-5, "bf16": 0.02, "int8": 0.1}


class PlugIn(nn.Module):
    """A network of full resolution with what ours lack: norms over groups, upsampling to the size of a skip."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.LeakyReLU(0.1))
        self.second = nn.Sequential(nn.Conv3d(8, 8, 3, stride=2, padding=1), nn.InstanceNorm3d(8), nn.SiLU())
        self.head = nn.Conv3d(16, channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fine = self.first(images)
        coarse = nn.functional.interpolate(self.second(fine), size=fine.shape[2:], mode="trilinear")
        logits: torch.Tensor = self.head(torch.cat([fine, coarse], 1))
        return logits


class Baked(nn.Module):
    """A network whose trace holds the size of the block that it was traced with."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = nn.functional.avg_pool3d(images, 2) * int(images.shape[2])
        return scaled


class Unknown(nn.Module):
    """A network with an operation that OpenVINO lacks."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        waves: torch.Tensor = torch.special.bessel_j0(nn.functional.avg_pool3d(images, 2))
        return waves


def build(name: str) -> nn.Module:
    return build_lively() if name == "own" else ToStrideTwo(PlugIn(), 8).eval()


def build_lively(seed: int = 0) -> nn.Module:
    """Return a network of ours whose logits vary, as those of a fresh one hardly do beside their bias."""
    network = build_tiny(seed=seed)
    for name, parameter in network.named_parameters():
        if name.startswith("head"):
            nn.init.normal_(parameter)
    return network


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def settings(precision: str, **changes: object) -> PredictConfig:
    return PredictConfig.model_validate({"engine": "openvino", "precision": precision, "device": "cpu", **changes})


def assert_near(found: torch.Tensor, exact: torch.Tensor, precision: str) -> None:
    assert found.shape == exact.shape
    variation = exact - exact.mean(dim=(-3, -2, -1), keepdim=True)
    assert (found - exact).norm() < TOLERANCES[precision] * variation.norm()


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", ["own", "plug-in"])
def test_logits_are_those_of_plain_torch(name: str, precision: str) -> None:
    network = build(name)
    volume = draw(32, 48, 64)
    with torch.inference_mode():
        choice = choose_engine([network], settings(precision))
        ensemble = load_ensemble([network], choice, volume.numpy())
        exact = fold_batch_norm(network)
        for seed, shape in enumerate([(32, 48, 64), (16, 64, 16), (32, 48, 64)]):
            block = draw(*shape, seed=seed)
            found = average_logits(ensemble, block, choose_views(1), after_each=lambda: None)
            assert_near(found, exact(block[None, None])[0], precision)
    assert (choice.engine, choice.precision) == ("openvino", precision)


def test_views_and_members_are_averaged() -> None:
    networks = [build_lively(seed=1), build_lively(seed=2)]
    block, views = draw(16, 32, 48), choose_views(8)
    with torch.inference_mode():
        ensemble = load_ensemble(networks, choose_engine(networks, settings("float32")), block.numpy())
        found = average_logits(ensemble, block, views, after_each=lambda: None)
        plain = [fold_batch_norm(network) for network in networks]
        each = [view.undo(network(view.apply(block[None, None]))[0]) for network in plain for view in views]
    assert_near(found, torch.stack(each).mean(0), "float32")


def test_a_batch_is_taken_image_by_image_and_answers_stay_as_they_were() -> None:
    network, images = build_lively(), draw(3, 1, 16, 16, 24)
    runner = load_openvino(network, "float32")
    with torch.inference_mode():
        exact = fold_batch_norm(network)(images)
        found = runner(images)
        kept = runner(images[:1])
        runner(images[1:])
    assert_near(found, exact, "float32")
    assert_near(kept, exact[:1], "float32")


def test_a_network_is_converted_and_calibrated_once(caplog: pytest.LogCaptureFixture) -> None:
    network = build_lively()
    choice = choose_engine([network], settings("int8"))
    with caplog.at_level(logging.INFO, "cryofind"):
        first = load_ensemble([network], choice, draw(32, 32, 32).numpy())
        second = load_ensemble([network], choice, 9 * draw(32, 64, 32).numpy())
    assert first.members[0] is second.members[0]
    (line,) = [record.getMessage() for record in caplog.records if "calibrated" in record.getMessage()]
    assert line.startswith("int8: calibrated on 8 crops; their logits differ from float32 by ")


def test_other_weights_are_converted_anew() -> None:
    network, images = build_lively(), draw(1, 1, 16, 16, 16)
    before = load_openvino(network, "float32")(images)
    network.load_state_dict(build_lively(seed=5).state_dict())
    after = load_openvino(network, "float32")(images)
    with torch.inference_mode():
        assert_near(after, fold_batch_norm(network)(images), "float32")
    assert (after - before).norm() > 0.1 * before.norm()


def test_what_is_kept_goes_with_the_network() -> None:
    network = copy.deepcopy(build_lively())
    runner = weakref.ref(load_openvino(network, "bf16"))
    assert runner() is not None
    del network
    gc.collect()
    assert runner() is None


@pytest.mark.parametrize(("network", "reason"), [(Baked(), "its logits differ from torch's"), (Unknown(), "bessel_j0")])
def test_a_network_that_openvino_cannot_run_is_left_to_torch(network: nn.Module, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        choose_engine([network], settings("bf16"))
    assert caught.value.advice == "set predict.engine to torch"
    assert "\n" not in str(caught.value)
    logger_before = logging.root.level, list(logging.root.filters), list(logging.root.handlers)
    choice = choose_engine([network], settings("float32", engine="auto"))
    assert choice.engine == "torch"
    assert reason in choice.reason
    assert (logging.root.level, logging.root.filters, logging.root.handlers) == logger_before


def test_memory_is_that_of_the_largest_maps() -> None:
    networks = [ToStrideTwo(PlugIn(), 8).eval(), build_lively()]
    choice = choose_engine(networks, settings("bf16"))
    ensemble = load_ensemble(networks, choice, np.zeros((16, 16, 16), np.float32))
    # Both feature maps of the plug-in, joined at full resolution.
    assert ensemble.largest_map_per_voxel == 8
    assert ensemble.map_bytes_per_voxel == 2 * FEATURE_MAPS_AT_PEAK * 8
    assert (ensemble.multiple, ensemble.channels) == (8, 3)


def test_nothing_is_reported_to_a_server_or_printed(capfd: pytest.CaptureFixture[str]) -> None:
    load_openvino(build_lively(), "int8", [draw(16, 16, 16)])
    convert_network(PlugIn())
    assert "openvino_telemetry" not in sys.modules
    assert capfd.readouterr() == ("", "")
