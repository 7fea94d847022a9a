"""The challenge's own training picks, scored."""

import csv
from pathlib import Path

import numpy as np
import pytest

from cryofind.coordinates import zyx_from_xyz
from cryofind.czii import OBJECTS
from cryofind.scoring import match_candidates, score
from cryofind.types import Picks


@pytest.fixture(scope="module")
def training_picks(shared_data: Path) -> Picks:
    with (shared_data / "czii" / "train_picks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points_xyz = [[float(row[axis]) for axis in "xyz"] for row in rows]
    runs, names = [row["experiment"] for row in rows], [row["particle_type"] for row in rows]
    return Picks.build(runs, names, zyx_from_xyz(points_xyz))


def find_close_ferritins(picks: Picks) -> list[int]:
    """Return the candidate rows of the one apo-ferritin pair that is nearer than the match radius."""
    matches = match_candidates(picks, picks, OBJECTS)["apo-ferritin"]
    apart = matches.pairs[:, 0] != matches.pairs[:, 1]
    return [int(matches.candidate_rows[candidate]) for candidate in np.unique(matches.pairs[apart, 0])]


def test_the_training_truth_scores_one(training_picks: Picks) -> None:
    report = score(training_picks, training_picks)
    assert report.f_beta == 1.0
    expected = {
        "apo-ferritin": 375,
        "beta-amylase": 87,
        "beta-galactosidase": 112,
        "ribosome": 331,
        "thyroglobulin": 251,
        "virus-like-particle": 113,
    }
    assert {name: (rated.tp, rated.fp, rated.fn) for name, rated in report.objects.items()} == {
        name: (count, 0, 0) for name, count in expected.items()
    }
    assert len(report.runs) == 7


def test_half_of_the_close_ferritin_pair_scores_above_one(training_picks: Picks) -> None:
    pair = find_close_ferritins(training_picks)
    assert len(pair) == 2
    first, second = training_picks.positions_zyx_angstrom[pair]
    assert np.linalg.norm(first - second) == pytest.approx(29.5, abs=0.05)
    halved = training_picks.where(np.arange(len(training_picks)) != pair[0])
    report = score(halved, training_picks)
    ferritin = report.objects["apo-ferritin"]
    assert (ferritin.tp, ferritin.fp, ferritin.fn) == (375, -1, 0)
    assert ferritin.f_beta == pytest.approx(17 * 375 / (16 * 375 + 374))
    assert report.f_beta > 1.0


def test_runs_have_fingerprints_of_their_own(training_picks: Picks) -> None:
    fingerprints = {training_picks.of_run(run).fingerprint() for run in training_picks.run_names}
    assert len(fingerprints) == 7
