"""The benchmark of calibration on candidates whose odds are known."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from cryofind import czii, load_model, score
from cryofind.io import open_project, write_tomogram_zarr
from cryofind.models import save_model
from cryofind.testing import write_phantom_project
from cryofind.types import Picks
from tests.benchmark_scripts import import_scripts
from tests.tiny_models import SPECS, build_tiny, tiny_card


@pytest.fixture(scope="module")
def calibration() -> Iterator[Any]:
    with import_scripts("quality", ["calibration"]) as scripts:
        yield scripts.calibration


def make_tables(*, seed: int, drift: float = 0.0) -> tuple[Picks, Picks]:
    """Return candidates of six runs, 30 particles among 400 places each, and the truth."""
    random = np.random.default_rng(seed)
    runs = [f"TS_{number}" for number in range(6) for _ in range(400)]
    places = np.tile(np.arange(400)[:, None] * [0.0, 0.0, 300.0], (6, 1))
    is_particle = np.tile(np.arange(400) < 30, 6)
    scores = expit(random.normal(np.where(is_particle, 1.0 + drift, -2.5), 1.2))
    return (
        Picks.build(runs, "ribosome", places, scores=scores),
        Picks.build(
            [run for run, real in zip(runs, is_particle, strict=True) if real], "ribosome", places[is_particle]
        ),
    )


def test_known_odds_are_found_reliable_and_cost_little(calibration: Any) -> None:
    judged = calibration.judge(make_tables(seed=0), make_tables(seed=1), left_out=False)
    row = calibration.describe_reliability(judged)[-1].split("|")
    ratio, low, high = (float(word.strip("()")) for word in row[3].replace("to", "").split())
    assert low < 1 < high
    assert ratio == pytest.approx(1.0, abs=0.3)
    assert float(row[5]) > 0.3
    total = calibration.describe_loss(judged)[-1].split("|")
    best, tuned, expected = (float(cell) for cell in total[2:5])
    assert best >= max(tuned, expected)
    assert best - expected < 0.01
    assert ": 1.000 of 6; " in calibration.describe_intervals(judged)


def test_a_drift_of_hits_is_found_unreliable(calibration: Any) -> None:
    judged = calibration.judge(make_tables(seed=0), make_tables(seed=1, drift=-1.5), left_out=False)
    row = calibration.describe_reliability(judged)[-1].split("|")
    assert float(row[3].split()[0]) > 1.5
    far = calibration.judge(make_tables(seed=0), make_tables(seed=1, drift=2.0), left_out=False)
    assert ": 0.000 of 6; " in calibration.describe_intervals(far)


def test_truth_tuned_thresholds_are_the_best_of_all(calibration: Any) -> None:
    candidates, truth = make_tables(seed=2)
    best = score(calibration.select_best(candidates, truth), truth, czii.OBJECTS).objects["ribosome"].f_beta
    for limit in np.quantile(candidates.scores, np.linspace(0, 1, 12)):
        other = score(candidates.selected_above({"ribosome": limit}), truth, czii.OBJECTS).objects["ribosome"].f_beta
        assert other <= best + 1e-12


def test_truth_tuned_thresholds_count_every_particle_in_reach(calibration: Any) -> None:
    # The best candidate reaches two particles: the third is not worth the 30 misses before it.
    truth = Picks.build("TS_1", "ribosome", [[0, 0, x] for x in (0.0, 120.0, 1000.0)])
    places = [[0, 0, x] for x in (60.0, 1000.0, *range(2000, 32000, 1000))]
    candidates = Picks.build("TS_1", "ribosome", places, scores=[0.9, 0.1, *[0.5] * 30])
    best = calibration.select_best(candidates, truth)
    assert best.scores[best.selected].tolist() == [0.9]


def test_truth_tuned_thresholds_take_tied_scores_together(calibration: Any) -> None:
    truth = Picks.build("TS_1", "ribosome", [[0, 0, x] for x in (0.0, 1000.0, 1500.0)])
    places = [[0, 0, x] for x in (0.0, 1000.0, *range(2000, 62000, 1000))]
    candidates = Picks.build("TS_1", "ribosome", places, scores=[0.9, *[0.5] * 61])
    best = calibration.select_best(candidates, truth)
    assert best.scores[best.selected].tolist() == [0.9]


def test_candidates_are_found_in_tomograms_as_a_model_expects_them(calibration: Any, tmp_path: Path) -> None:
    project = write_phantom_project(tmp_path / "project", runs=("A", "B"), shape_zyx=(16, 32, 32), objects=SPECS)
    save_model(tmp_path / "model", build_tiny(), tiny_card(locate={"floor": 0.001}))
    for entry in open_project(project).select_tomograms():
        tomogram = entry.read()
        shutil.rmtree(entry.path)
        write_tomogram_zarr(entry.path, replace(tomogram, volume_zyx=50 * tomogram.volume_zyx + 1000), levels=1)
    calibration.find(str(tmp_path / "model"), tmp_path / "tables", [f"val={project}"])
    candidates, truth = calibration.read_tables(tmp_path / "tables", "val")
    assert set(truth.run_names) <= {"A", "B"}
    picker = load_model(tmp_path / "model", settings=("locate.floor_factor=0",))
    for entry in open_project(project).select_tomograms():
        # Without a calibration scores stay raw.
        expected, found = picker.pick_tomogram(entry.read()).picks, candidates.of_run(entry.run)
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose(np.sort(found.scores), np.sort(expected.scores), atol=1e-5)


def test_a_validation_set_is_judged_run_by_run(calibration: Any, tmp_path: Path, capsys: Any) -> None:
    for name, table in zip(("val.candidates.csv", "val.truth.csv"), make_tables(seed=0), strict=True):
        table.to_csv(tmp_path / name)
    calibration.report(tmp_path, "val", ["val"])
    assert "## val (each run by the others)" in capsys.readouterr().out
