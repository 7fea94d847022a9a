"""In which number type a network runs: one rule for training and for prediction."""

from pathlib import Path
from typing import Literal

import torch

# x86 processors with one of these multiply bfloat16 natively; elsewhere it is emulated and slower than float32.
BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def choose_precision(asked: Literal["auto", "bf16", "float32"], device: torch.device) -> torch.dtype:
    """Return bfloat16 or float32; `auto` is bfloat16 where the device multiplies it natively."""
    if asked == "auto":
        return torch.bfloat16 if has_native_bf16(device) else torch.float32
    return {"bf16": torch.bfloat16, "float32": torch.float32}[asked]


def has_native_bf16(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether a GPU or this computer's CPU has instructions for bfloat16; no where the system does not tell."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not BF16_CPU_FLAGS.isdisjoint(flags)
