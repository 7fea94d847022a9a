"""Huge pages for the arrays of torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Kilobytes of huge pages behind 64 MB that torch has filled.
CODE = """
import re, sys
import cryofind.models
import torch
filled = torch.ones(16_000_000)
print(sum(map(int, re.findall(r"AnonHugePages: +([0-9]+) kB", open("/proc/self/smaps").read()))))
"""


def huge_kilobytes(environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=120, env=environment
    )
    return int(done.stdout)


@pytest.mark.skipif(
    not SETTING.exists() or "[madvise]" not in SETTING.read_text("utf-8"),
    reason="the system does not give huge pages to those who ask",
)
def test_large_arrays_lie_in_huge_pages_unless_the_environment_forbids_it() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    assert huge_kilobytes(environment) > 50_000
    assert huge_kilobytes({**environment, "THP_MEM_ALLOC_ENABLE": "0"}) < 10_000
