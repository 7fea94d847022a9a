"""One rule for bfloat16, in training and in prediction."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import cryofind.predict
from cryofind.models import precision as precision_module
from cryofind.models.precision import choose_precision, has_native_bf16
from cryofind.train import devices as devices_module
from cryofind.train.devices import name_precision, start_fabric
from tests.tiny_models import build_tiny, tiny_config

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_training_and_prediction_share_the_rule() -> None:
    assert cryofind.predict.choose_precision is choose_precision
    assert vars(devices_module)["choose_precision"] is choose_precision


def test_what_is_asked_for_is_done() -> None:
    assert choose_precision("bf16", CPU) == torch.bfloat16
    assert choose_precision("float32", GPU) == torch.float32


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_follows_the_device(monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype) -> None:
    answer: Callable[..., bool] = lambda including_emulation: native and not including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
    assert choose_precision("auto", GPU) == expected
    monkeypatch.setattr(precision_module, "has_native_bf16", lambda device: native)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name : x\nflags\t\t: fpu avx512_bf16 sse\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx512f amx_tile\n", False),
        ("", False),
    ],
)
def test_instructions_are_read_from_cpuinfo(tmp_path: Path, text: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert has_native_bf16(CPU, cpuinfo) == expected


def test_a_system_without_cpuinfo_computes_in_float32(tmp_path: Path) -> None:
    assert not has_native_bf16(CPU, tmp_path / "nothing")


@pytest.mark.parametrize(("native", "name"), [(True, "bf16-mixed"), (False, "32-true")])
def test_training_follows_the_rule(monkeypatch: pytest.MonkeyPatch, native: bool, name: str) -> None:
    monkeypatch.setattr(precision_module, "has_native_bf16", lambda device: native)
    config = tiny_config(precision="auto", crop_zyx=(64, 64, 64)).train
    assert start_fabric(config, build_tiny())._precision.precision == name
    assert name_precision(torch.bfloat16) == "bf16-mixed"
    assert name_precision(torch.float32) == "32-true"
