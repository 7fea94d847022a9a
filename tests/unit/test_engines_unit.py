"""Which engine is taken, by rule; none of it needs OpenVINO."""

import subprocess
import sys
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from cryofind.config import PredictConfig
from cryofind.errors import ConfigError, ModelError
from cryofind.models import fold_batch_norm, precision
from cryofind.predict import engine, engines, ready
from cryofind.predict.augment_test import choose_views
from cryofind.predict.engines import EngineChoice, choose_engine, cut_crops, load_ensemble
from cryofind.predict.ensemble import average_logits
from cryofind.types import VoxelGrid
from tests.tiny_models import build_tiny

OWN = build_tiny()
nn.init.normal_(OWN.get_parameter("head.weight"))  # so that the logits vary beside their bias
PLUG_IN = nn.Sequential(nn.Conv3d(1, 3, 2, stride=2))


def set_computer(monkeypatch: pytest.MonkeyPatch, *, native_bf16: bool, openvino: bool, gpus: int = 0) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: native_bf16)
    monkeypatch.setattr(engines, "is_installed", lambda package: openvino)
    monkeypatch.setattr(engines, "convert_network", lambda network: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


def choose(*networks: nn.Module, **settings: Any) -> tuple[str, str, str]:
    choice = choose_engine(networks, PredictConfig(**settings))
    return choice.engine, choice.precision, choice.device.type


@pytest.mark.parametrize(
    ("native_bf16", "openvino", "networks", "expected"),
    [
        (True, True, [OWN], ("torch", "bf16")),
        (True, True, [OWN, OWN], ("torch", "bf16")),
        (True, True, [PLUG_IN], ("openvino", "bf16")),
        (True, True, [OWN, PLUG_IN], ("openvino", "bf16")),
        (True, False, [OWN], ("torch", "bf16")),
        (True, False, [PLUG_IN], ("torch", "bf16")),
        (False, True, [OWN], ("openvino", "float32")),
        (False, True, [PLUG_IN], ("openvino", "float32")),
        (False, False, [OWN], ("torch", "float32")),
    ],
)
def test_auto_follows_network_cpu_and_installation(
    monkeypatch: pytest.MonkeyPatch,
    native_bf16: bool,
    openvino: bool,
    networks: list[nn.Module],
    expected: tuple[str, str],
) -> None:
    set_computer(monkeypatch, native_bf16=native_bf16, openvino=openvino)
    assert choose(*networks) == (*expected, "cpu")


def test_auto_takes_openvino_for_float32_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    set_computer(monkeypatch, native_bf16=True, openvino=True)
    assert choose(OWN, precision="float32") == ("openvino", "float32", "cpu")


def test_on_a_gpu_torch_runs_unless_something_else_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    set_computer(monkeypatch, native_bf16=True, openvino=True, gpus=1)
    assert choose(PLUG_IN, precision="bf16") == ("torch", "bf16", "cuda")
    assert choose(PLUG_IN, engine="openvino", precision="bf16") == ("openvino", "bf16", "cpu")
    assert choose(PLUG_IN, precision="int8") == ("openvino", "int8", "cpu")


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    set_computer(monkeypatch, native_bf16=True, openvino=True)
    assert choose(PLUG_IN, engine="torch") == ("torch", "bf16", "cpu")
    assert choose(OWN, engine="openvino", precision="float32") == ("openvino", "float32", "cpu")
    assert choose(OWN, precision="int8") == ("openvino", "int8", "cpu")


def test_auto_leaves_to_torch_what_openvino_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(network: nn.Module) -> None:
        raise ModelError("network", "has an operation that is unknown", "set predict.engine to torch")

    set_computer(monkeypatch, native_bf16=True, openvino=True)
    monkeypatch.setattr(engines, "convert_network", refuse)
    choice = choose_engine([PLUG_IN], PredictConfig())
    assert (choice.engine, choice.reason) == ("torch", "has an operation that is unknown")
    with pytest.raises(ModelError, match="an operation that is unknown"):
        choose_engine([PLUG_IN], PredictConfig(engine="openvino"))


def test_a_choice_is_stated_in_one_line_and_recorded() -> None:
    choice = EngineChoice("openvino", "int8", torch.device("cpu"), "asked for")
    line = choice.describe()
    assert "\n" not in line
    assert all(word in line for word in ("openvino", "int8", "calibrated on the first tomogram", "cpu", "asked for"))
    assert choice.as_record() == {"engine": "openvino", "precision": "int8", "device": "cpu", "reason": "asked for"}


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize("views", [1, 4])
def test_torch_gives_the_logits_of_the_plain_network(name: str, tolerance: float, views: int) -> None:
    volume = np.random.default_rng(0).standard_normal((32, 64, 32), dtype=np.float32)
    choice = choose_engine([OWN], PredictConfig.model_validate({"device": "cpu", "engine": "torch", "precision": name}))
    block = torch.from_numpy(volume)
    with torch.inference_mode():
        ensemble = load_ensemble([OWN], choice, volume)
        found = average_logits(ensemble, block, choose_views(views), after_each=lambda: None).float()
        plain = fold_batch_norm(OWN)
        exact = torch.stack([view.undo(plain(view.apply(block[None, None]))[0]) for view in choose_views(views)]).mean(
            0
        )
    variation = exact - exact.mean(dim=(1, 2, 3), keepdim=True)
    assert (found - exact).norm() < tolerance * variation.norm()


@pytest.mark.parametrize("shape", [(200, 70, 64), (10, 65, 130)])
def test_crops_come_from_all_over_the_volume_and_are_always_the_same(shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    crops = cut_crops(volume, 16)
    assert {tuple(crop.shape) for crop in crops} == {(64, 64, 64) if shape[0] > 64 else (16, 64, 64)}
    assert all(torch.equal(crop, again) for crop, again in zip(crops, cut_crops(volume, 16), strict=True))
    assert len({float(crop.sum()) for crop in crops}) > 4
    assert np.isin(crops[0].numpy(), volume).all()


def test_the_choice_imports_no_openvino() -> None:
    code = "import sys, cryofind.predict.engines; print({'openvino', 'nncf'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()"


def test_gpus_without_bfloat16_run_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    set_computer(monkeypatch, native_bf16=False, openvino=False, gpus=1)
    assert choose(OWN) == ("torch", "fp16", "cuda")
    assert choose(OWN, precision="float32") == ("torch", "float32", "cuda")
    assert choose_engine([OWN], PredictConfig()).dtype == torch.float16


def test_float16_is_not_for_cpus() -> None:
    with pytest.raises(ConfigError, match="'fp16', which is for GPUs"):
        choose(OWN, precision="fp16", device="cpu")


class Overflowing(nn.Module):
    """Logits that float16 cannot hold, but float32 can."""

    size_multiple = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1000.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return two channels whose difference is small."""
        coarse = images[..., ::2, ::2, ::2] * self.scale * self.scale
        return torch.cat((coarse, coarse + 1), dim=1) / self.scale


@pytest.mark.parametrize(("activation", "objects"), [("softmax", ["a"]), ("sigmoid", ["a", "b"])])
def test_what_float16_cannot_hold_is_predicted_in_float32(
    activation: Literal["softmax", "sigmoid"],
    objects: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    half = EngineChoice("torch", "fp16", torch.device("cpu"), "for the test")
    monkeypatch.setattr(ready, "choose_engine", lambda networks, config: half)
    grid = VoxelGrid.isotropic((8, 8, 8), 10.0)
    volume = np.random.default_rng(0).standard_normal(grid.shape_zyx, dtype=np.float32)
    found = engine.predict_probabilities(
        [Overflowing()], volume, grid, run="TS_1", objects=objects, activation=activation, config=PredictConfig()
    )
    assert np.isfinite(found.probabilities).all()
    if activation == "softmax":
        assert found.probabilities == pytest.approx(1 / (1 + np.exp(-0.001)), abs=1e-3)
    assert "too large for fp16" in caplog.text
