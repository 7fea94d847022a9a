"""Engines that are not there, or not for this: one line that says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryofind.cli import main
from cryofind.config import PredictConfig
from cryofind.errors import ConfigError
from cryofind.models import precision
from cryofind.predict import engines, predict_probabilities
from cryofind.predict.engines import choose_engine
from cryofind.types import VoxelGrid
from tests.tiny_models import build_tiny

MISSING = {"predict.engine": {"engine": "openvino"}, "predict.precision": {"precision": "int8"}}


@pytest.mark.parametrize("subject", MISSING)
def test_openvino_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda package: False)
    with pytest.raises(ConfigError) as caught:
        choose_engine([build_tiny()], PredictConfig.model_validate(MISSING[subject]))
    assert caught.value.subject == subject
    assert "pip install 'cryofind[openvino]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_int8_names_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda package: package == "openvino")
    with pytest.raises(ConfigError, match="but nncf cannot be found"):
        choose_engine([build_tiny()], PredictConfig(precision="int8"))


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_openvino_that_cannot_be_loaded(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: str) -> None:
        raise error(f"libtbb.so.12: cannot open shared object file\nwhile loading {module}")

    monkeypatch.setattr(engines, "is_installed", lambda package: True)
    monkeypatch.setattr("cryofind.predict.openvino_library.importlib.import_module", fail)
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: False)
    choice = choose_engine([build_tiny()], PredictConfig(device="cpu"))
    assert choice.engine == "torch"
    assert "openvino is installed but cannot be loaded (libtbb.so.12: cannot open" in choice.describe()
    assert "\n" not in choice.describe()
    with pytest.raises(ConfigError) as caught:
        choose_engine([build_tiny()], PredictConfig(device="cpu", engine="openvino"))
    assert "pip install --force-reinstall 'cryofind[openvino]'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "torch", "precision": "int8"}, "'int8', which torch does not run; set predict.engine"),
        ({"engine": "openvino", "device": "cuda"}, "'openvino', which runs on CPUs only, and predict.device is 'cuda'"),
        ({"precision": "int8", "device": "cuda:0"}, "'int8', which runs on CPUs only"),
    ],
)
def test_what_does_not_go_together(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda package: True)
    monkeypatch.setattr(engines, "choose_device", torch.device)
    with pytest.raises(ConfigError, match=message):
        choose_engine([build_tiny()], PredictConfig(**settings))


@pytest.mark.parametrize("setting", [{"engine": "onnx"}, {"precision": "int4"}])
def test_unknown_names_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"auto"):
        PredictConfig.model_validate(setting)


def test_prediction_asks_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda package: False)
    volume = np.zeros((8, 8, 8), np.float32)
    with pytest.raises(ConfigError, match=r"cryofind\[openvino\]"):
        predict_probabilities(
            [build_tiny(1)],
            volume,
            VoxelGrid.isotropic(volume.shape, 10.0),
            run="TS_1",
            objects=("a",),
            activation="softmax",
            config=PredictConfig(engine="openvino"),
        )


def test_the_command_knows_its_engines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["pick", str(tmp_path), "--model", "czii-sim-small", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--engine", "onnx"])
    assert stopped.value.code == 2
    assert "openvino" in capsys.readouterr().err


def test_the_command_hands_the_engine_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["pick", str(tmp_path), "--model", "czii-sim-small", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--engine", "torch", "--set", "predict.precision=int8"])
    assert stopped.value.code == 2
    assert "which torch does not run" in capsys.readouterr().err
