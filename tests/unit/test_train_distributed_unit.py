import json
import subprocess
import sys
from pathlib import Path

import pytest

from cryofind.train import read_metrics

SCRIPT = """
import sys, json
from pathlib import Path
from cryofind.train import Validation, train_network
from tests.tiny_models import TinySampler, build_tiny, cross_entropy, tiny_config

out = Path(sys.argv[1])
result = train_network(
    TinySampler(), build_tiny(seed=3), tiny_config(devices="cpu:2", steps=8), out=out,
    validate=lambda network: Validation(0.5), object_names=("a", "b"), loss=cross_entropy,
)
sums = [float(parameter.double().sum()) for parameter in result.network.parameters()]
name = "main" if result.is_main_process else "helper"
(out / f"{name}.json").write_text(json.dumps([result.best_step, sums]))
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_network(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(script), str(tmp_path / "out")]
    environment = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    main, helper = (tmp_path / "out" / f"{name}.json" for name in ("main", "helper"))
    assert main.exists(), done.stderr
    assert json.loads(main.read_text()) == json.loads(helper.read_text())
    assert json.loads(main.read_text())[0] == 4
    assert "do not match bucket view strides" not in done.stderr
    losses = [row for row in read_metrics(tmp_path / "out" / "metrics.jsonl") if row["name"] == "loss"]
    assert [row["step"] for row in losses] == list(range(1, 9))
