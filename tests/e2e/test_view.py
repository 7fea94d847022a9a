"""`cryofind view` as a user types it: an address on the terminal, a page, and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np

from cryofind.io import write_mrc
from cryofind.types import Tomogram, VoxelGrid


def test_the_page_is_there_until_ctrl_c(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", Tomogram("a", voxels, VoxelGrid.isotropic(voxels.shape, 10.0)))
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "cryofind", "view", str(tmp_path / "a.mrc"), "--no-open"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True) as child:
        os.close(theirs)
        try:
            with os.fdopen(ours) as terminal:
                address, tunnel, _ = (terminal.readline().strip() for _ in range(3))
                found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v/[0-9a-f]{40}/", address)
                assert found, address
                assert f"ssh -L {found[1]}:127.0.0.1:{found[1]} " in tunnel
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert b"<html" in answer.read().lower()
                child.send_signal(signal.SIGINT)
                _, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0
    assert err == "closed\n"
