"""What is said of failures: the right thing where something is wrong, and nothing where nothing is."""

import json

import numpy as np
import pytest

from cryofind.config import ScoreConfig
from cryofind.scoring import FailureAnalysis, analyse_failures
from cryofind.scoring.places import SCALES, measure_membrane_distances
from cryofind.scoring.remarks import format_failures
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid

SPECS = (ParticleSpec("large", 100.0, 1), ParticleSpec("small", 50.0, 2))
GRID = VoxelGrid.isotropic((100, 300, 300), 10.0)
EXTENT = np.array(GRID.extent_zyx_angstrom)
ONE_TO_ONE = ScoreConfig(mode="one-to-one")


def place(*rows: tuple[str, float, float], run: str = "A") -> Picks:
    """Return points along x at 500, 500; each is an object, x, and a score (below 0.5: not selected)."""
    scores = np.array([score for _, _, score in rows])
    positions = [(500.0, 500.0, x) for _, x, _ in rows]
    return Picks.build(run, [name for name, _, _ in rows], positions, scores=scores, selected=scores >= 0.5)


def test_every_cause_of_failure_is_told() -> None:
    truth = place(("large", 0, 1), ("large", 300, 1), ("small", 600, 1), ("small", 900, 1), ("large", 1500, 1))
    picks = place(
        ("large", 10, 0.9),  # hits the first
        ("large", 20, 0.8),  # hits it as well
        ("large", 310, 0.3),  # would hit the second
        ("large", 605, 0.7),  # lies on the third, which is small
        ("small", 1200, 0.6),  # lies on nothing
    )
    found = analyse_failures(picks, truth, SPECS, {"A": GRID})
    assert found.picks.verdicts.tolist() == ["matched", "false", "matched", "false", "false"]
    assert found.picks.causes.tolist() == ["", "duplicate", "", "confused", "background"]
    assert found.truths.verdicts.tolist() == ["matched", "missed", "missed", "missed", "missed"]
    assert found.truths.causes.tolist() == ["", "threshold", "confused", "absent", "absent"]
    assert found.picks.hit_truths.tolist() == [0, -1, 1, -1, -1]
    assert found.false_rows.tolist() == [1, 3, 4]  # by score
    # 300 of 100, 290 of 50, 10 of 100 and 5 of 50 Angstrom away from the nearest candidate of any kind.
    assert found.missed_rows.tolist() == [3, 4, 1, 2]
    (confusion,) = found.confusions
    assert confusion.to_dict() == {"picked": "large", "true": "small", "count": 1, "missed": 1, "false_picks": 2}
    assert found.remarks == (
        "4 of 5 particles are missed (80 %): 1 with a candidate of their kind in reach that was not selected, "
        "1 under a pick of another kind, 2 with nothing in reach.",
        "3 of 4 selected picks are false (75 %): 1 on a particle that a better pick of its kind has, 1 on a particle "
        "of another kind, 1 on none.",
        "Most missed: 2 of 2 particles of small: 100 % (95 % interval 34 % to 100 %).",
        "Most often false: 1 of 1 picks of small: 100 % (95 % interval 21 % to 100 %).",
    )


def test_without_candidates_the_missed_of_all_kinds_take_turns() -> None:
    truth = place(*(("large", 100 * n, 1) for n in range(3)), ("small", 500, 1), ("small", 600, 1))
    assert analyse_failures(Picks.empty(), truth, SPECS, {"A": GRID}).missed_rows.tolist() == [0, 3, 1, 4, 2]


def test_two_particles_share_a_pick_where_each_pick_counts_once() -> None:
    truth, picks = place(("large", 0, 1), ("large", 60, 1)), place(("large", 20, 0.9))
    assert analyse_failures(picks, truth, SPECS, {}).truths.verdicts.tolist() == ["matched", "matched"]
    found = analyse_failures(picks, truth, SPECS, {}, config=ONE_TO_ONE)
    assert found.truths.causes.tolist() == ["", "shared"]
    assert "1 that share the pick in reach with a neighbour" in found.remarks[0]


def test_what_is_not_scored_is_not_judged() -> None:
    truth = Picks.concatenate([place(("large", 0, 1)), place(("large", 0, 1), run="B")])
    picks = Picks.concatenate([place(("large", 0, 0.9), ("small", 90, 0.9)), place(("large", 0, 0.9), run="C")])
    found = analyse_failures(picks, truth, SPECS, {}, runs=("A",))
    assert found.picks.verdicts.tolist() == ["matched", "", ""]
    assert found.truths.verdicts.tolist() == ["matched", ""]
    assert found.to_dict()["selected_picks"] == 1
    assert found.remarks == ("0 of 1 particles are missed (0 %).", "0 of 1 selected picks are false (0 %).")


def test_numbers_are_json_with_the_nearest_of_every_failure() -> None:
    truth = Picks.concatenate([place(("large", 0, 1)), place(("small", 0, 1), run="B")])
    picks = place(("small", 130, 0.25), ("large", 400, 0.75))
    document = analyse_failures(picks, truth, SPECS, {}, runs=("A", "B")).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["missed"] == [
        {
            **{"run": "B", "object": "small", "x_angstrom": 0.0, "y_angstrom": 500.0, "z_angstrom": 500.0},
            **{"cause": "absent", "nearest_candidate": None},
        },
        {
            **{"run": "A", "object": "large", "x_angstrom": 0.0, "y_angstrom": 500.0, "z_angstrom": 500.0},
            "cause": "absent",
            "nearest_candidate": {"object": "small", "score": 0.25, "distance_angstrom": 130.0, "selected": False},
        },
    ]
    (false,) = document["false"]
    assert (false["cause"], false["score"]) == ("background", 0.75)
    assert false["nearest_truth"] == {"object": "large", "distance_angstrom": 400.0}


@pytest.mark.parametrize(
    ("circumstance", "values", "bins"),
    [
        ("depth", [-0.1, 0.0, 0.2, 0.5, 1.0, np.nan], [0, 0, 1, 2, 4, -1]),
        ("crowding", [0, 1, 2, 3, 4, 8, 99], [0, 1, 2, 2, 3, 4, 4]),
        ("edge", [-0.1, 0.0, 0.99, 1.0, 50.0], [0, 1, 1, 2, 4]),
        ("membrane", [0.0, 1.0, 3.9, np.inf, np.nan], [0, 1, 2, 3, -1]),
        ("score", [-1.0, 0.0, 0.1, 0.95, 1.0, 7.0], [0, 0, 1, 9, 9, 9]),
    ],
)
def test_values_fall_into_the_bins_that_their_labels_name(
    circumstance: str, values: list[float], bins: list[int]
) -> None:
    scale = SCALES[circumstance]  # type: ignore[index]
    assert len(scale.labels) == len(scale.limits) - 1
    assert scale.bin_of(np.array(values, dtype=np.float64)).tolist() == bins


def test_distance_to_a_flat_membrane_is_that_to_the_plane() -> None:
    labels = np.zeros((40, 30, 30), np.uint8)
    labels[20:24] = 3
    volume = LabelVolume("A", labels, VoxelGrid.isotropic(labels.shape, 10.0), {3: "membrane"})
    table = Picks.build(["A", "A", "A", "B"], "large", [(100, 150, 150), (210, 0, 0), (1000, 290, 290), (0, 0, 0)])
    empty = LabelVolume("A", labels * 0, volume.grid, {3: "membrane"})
    (distances,) = measure_membrane_distances([table], {"A": lambda: volume})
    np.testing.assert_allclose(distances, [100.0, 0.0, 770.0, np.nan])
    (none,) = measure_membrane_distances([table], {"A": lambda: empty, "B": lambda: None})
    np.testing.assert_array_equal(none, [np.inf, np.inf, np.inf, np.nan])


def simulate(seed: int, *, miss: str = "", runs: int = 2) -> FailureAnalysis:
    """Return the analysis of particles of which every fifth is missed at random, more of them where `miss` says."""
    random = np.random.default_rng(seed)
    count = 150 * runs
    names, run_names = random.choice(["large", "small"], count), [f"R{n % runs}" for n in range(count)]
    truth = Picks.build(run_names, list(names), random.uniform((0, 0, 0), EXTENT, (count, 3)))
    chance = np.full(count, 0.2)
    depth = truth.positions_zyx_angstrom[:, 0] / EXTENT[0]
    if miss == "deep":
        chance[depth < 0.2] = 0.7
    if miss == "small":
        chance[names == "small"] = 0.6
    if miss == "run":
        chance[np.array(run_names) == "R0"] = 0.7
    hits = truth.where(random.random(count) >= chance)
    strays = random.uniform((0, 0, 0), EXTENT, (count // 4, 3))
    false = Picks.build(list(random.choice(run_names, len(strays))), list(random.choice(names, len(strays))), strays)
    picks = Picks.concatenate([hits, false])
    picks = picks.with_scores(random.uniform(0.5, 1.0, len(picks)))
    grids = {f"R{n}": GRID for n in range(runs)}
    mask = np.zeros((100, 300, 300), np.uint8)
    mask[:, 100:103] = 1
    membranes = {run: lambda run=run: LabelVolume(run, mask, GRID, {1: "membrane"}) for run in grids}
    return analyse_failures(picks, truth, SPECS, grids, membranes=membranes if seed == 0 else {})


def outstanding(found: FailureAnalysis) -> list[tuple[str, str]]:
    return [(table.failure, table.circumstance) for table in found.tables if table.sentence]


def test_a_planted_effect_is_said_with_its_counts() -> None:
    found = simulate(0, miss="deep")
    assert outstanding(found) == [("missed", "depth")]
    table = next(table for table in found.tables if table.sentence)
    lowest = table.bins[0]
    assert (lowest.stands_out, [row.stands_out for row in table.bins[1:]]) == (True, [False] * 4)
    assert table.sentence.startswith(
        f"{lowest.failures} of {lowest.count} particles in the lowest fifth of the box (z) are missed: "
        f"{100 * lowest.rate:.0f} % (95 % interval "
    )
    assert table.sentence.endswith("% would be expected from their objects and runs.")
    text = format_failures(found.sentences, found.tables, found.confusions)
    assert table.sentence in text.splitlines()
    assert "No rate of failures stands out by object, run, crowding, edge, membrane, score." in text


def test_noise_is_passed_over_in_silence() -> None:
    # One analysis in a hundred may say something; see `LARGEST_CHANCE`.
    said = [seed for seed in range(1, 21) if outstanding(simulate(seed))]
    assert len(said) <= 1


@pytest.mark.parametrize(("miss", "circumstance"), [("small", "object"), ("run", "run")])
def test_a_bad_kind_or_run_is_not_taken_for_a_place(miss: str, circumstance: str) -> None:
    for seed in (31, 32, 33):
        missed = [where for failure, where in outstanding(simulate(seed, miss=miss)) if failure == "missed"]
        assert missed == [circumstance]


def test_kinds_that_live_deep_do_not_make_depth_matter() -> None:
    random = np.random.default_rng(5)
    count = 400
    names = np.where(np.arange(count) % 2, "large", "small")
    positions = random.uniform((0, 0, 0), EXTENT, (count, 3))
    positions[:, 0] = np.where(names == "small", 0.4, 0.6) * EXTENT[0] * random.uniform(0.3, 1.5, count)
    truth = Picks.build("A", list(names), positions)
    picks = truth.where(random.random(count) >= np.where(names == "small", 0.7, 0.1))
    found = analyse_failures(picks, truth, SPECS, {"A": GRID})
    assert outstanding(found) == [("missed", "object")]
    depth = next(table for table in found.tables if table.circumstance == "depth")
    assert max(row.rate for row in depth.bins) - min(row.rate for row in depth.bins) > 0.3


def test_many_bins_that_stand_out_are_summed_up() -> None:
    truth = Picks.build([f"R{n // 40}" for n in range(400)], "large", [(500, 500, 250.0 * n) for n in range(400)])
    is_bad = np.arange(400) // 40 < 5
    found = analyse_failures(truth.where(~is_bad | (np.arange(400) % 8 == 0)), truth, SPECS, {})
    (table,) = (table for table in found.tables if table.sentence)
    assert table.circumstance == "run"
    assert table.sentence.startswith("35 of 40 particles in run R0 are missed: 88 % (95 % interval 74 % to 95 %), ")
    assert table.sentence.endswith("So are 35 of 40 in run R1, 35 of 40 in run R2, and those of 2 more such groups.")


def test_tables_are_those_of_which_something_is_known() -> None:
    truth = place(("large", 0, 1), ("small", 500, 1))
    known = {table.circumstance for table in analyse_failures(truth, truth, SPECS, {}).tables}
    assert known == {"object", "run", "crowding", "score"}
    nothing = analyse_failures(Picks.empty(), truth, SPECS, {"A": GRID})
    assert {table.failure for table in nothing.tables} == {"missed"}
    # Nor is one of two objects said to be missed most of which all is missed.
    assert nothing.remarks == ("2 of 2 particles are missed (100 %): 2 with nothing in reach.",)
