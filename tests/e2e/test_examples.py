"""The examples run as their first lines say."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_simulate_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "01_simulate.py"), str(tmp_path / "project")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert "ribosome" in done.stdout
    assert (tmp_path / "project" / "copick.json").is_file()
