"""What was measured on, as `benchmarks/speed` describes it."""

import platform
import sys
from typing import Any

from places import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks" / "speed"))

from machine import Load, describe_load, describe_machine, read_commit, read_cpuinfo, read_load

__all__ = ["Load", "describe_hardware", "describe_load", "describe_processor", "read_commit", "read_load"]

_KEPT = ("cpu", "cores", "flags", "memory_gigabytes", "gpu", "system", "torch_threads", "versions")


def describe_processor() -> str:
    """Return the name of the processor."""
    return read_cpuinfo().get("model name", "") or platform.processor() or platform.machine()


def describe_hardware() -> dict[str, Any]:
    """Return processor, memory, GPU and versions, JSON-ready."""
    found = describe_machine()
    return {name: found[name] for name in _KEPT}
