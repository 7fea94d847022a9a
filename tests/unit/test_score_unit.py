"""The golden values of the challenge's metric, its quirks, and the other two modes."""

from typing import Literal

import numpy as np
import pytest

import cryofind
from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.scoring import (
    dice_from_overlaps,
    dice_per_object,
    format_score_table,
    match_candidates,
    measure_overlaps,
    score,
)
from cryofind.types import UNNAMED_RUN, LabelVolume, ObjectScore, ParticleSpec, Picks, ScoreReport, VoxelGrid

Row = tuple[str, str, float, float, float]  # run, object, x, y, z as in the challenge's tables
Mode = Literal["kaggle", "one-to-one", "octopi"]

WEIGHTED = [spec.name for spec in czii.OBJECTS if spec.score_weight > 0]
TOY: list[Row] = [("A", name, 1000.0 * (place + 1), 2000.0, 500.0) for place, name in enumerate(WEIGHTED)]


def table(rows: list[Row]) -> Picks:
    return Picks.build([r[0] for r in rows], [r[1] for r in rows], [(z, y, x) for _, _, x, y, z in rows])


def moved(rows: list[Row], name: str, x_angstrom: float) -> list[Row]:
    return [(run, n, x + (x_angstrom if n == name else 0.0), y, z) for run, n, x, y, z in rows]


def without(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row[1] != name]


def of_object(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row[1] == name)


def in_run(rows: list[Row], run: str) -> list[Row]:
    return [(run, *row[1:]) for row in rows]


def total(predictions: list[Row], truth: list[Row], mode: Mode = "kaggle") -> float:
    return score(table(predictions), table(truth), config=ScoreConfig(mode=mode)).f_beta


def counts(report: ScoreReport, name: str) -> tuple[int, int, int]:
    rated = report.objects[name]
    return rated.tp, rated.fp, rated.fn


def test_the_truth_scores_one() -> None:
    report = score(table(TOY), table(TOY))
    assert report.f_beta == 1.0
    assert (report.divisor, report.beta, report.mode) == (7.0, 4.0, "kaggle")
    assert list(report.objects) == WEIGHTED


def test_the_ball_is_closed() -> None:
    assert total(moved(TOY, "apo-ferritin", 30.0), TOY) == 1.0
    assert total(moved(TOY, "apo-ferritin", 30.001), TOY) == pytest.approx(0.857143, abs=5e-7)


def test_a_row_twice_is_a_false_positive() -> None:
    report = score(table([*TOY, of_object(TOY, "ribosome")]), table(TOY))
    assert report.f_beta == pytest.approx(0.992063, abs=5e-7)
    assert counts(report, "ribosome") == (1, 1, 0)
    assert report.objects["ribosome"].f_beta == pytest.approx(0.944444, abs=5e-7)


def test_one_candidate_may_hit_two_references() -> None:
    run, name, x, y, z = of_object(TOY, "ribosome")
    truth = [*TOY, (run, name, x + 100.0, y, z)]
    report = score(table(moved(TOY, "ribosome", 50.0)), table(truth))
    assert report.f_beta == pytest.approx(1.004329, abs=5e-7)
    assert counts(report, "ribosome") == (2, -1, 0)
    assert report.objects["ribosome"].f_beta == pytest.approx(34 / 33)
    assert report.objects["ribosome"].precision == 2.0


def test_a_missing_object_is_a_false_negative() -> None:
    report = score(table(without(TOY, "ribosome")), table(TOY))
    assert report.f_beta == pytest.approx(0.857143, abs=5e-7)
    assert counts(report, "ribosome") == (0, 0, 1)
    assert report.objects["ribosome"] == ObjectScore(0, 0, 1, 0.0, 0.0, 0.0, 1.0)


def test_rows_of_other_runs_are_dropped_before_names_are_looked_at() -> None:
    stranger = [("Z", "Ribosome", 1.0, 2.0, 3.0)]
    assert total([*TOY, *stranger], TOY) == 1.0
    assert total(in_run(TOY, "A "), TOY) == 0.0


def test_candidates_in_a_run_without_that_object_are_false_positives() -> None:
    truth = [*TOY, *without(in_run(TOY, "B"), "ribosome")]
    predictions = [*truth, ("B", "ribosome", 1.0, 2.0, 3.0)]
    report = score(table(predictions), table(truth))
    assert report.f_beta == pytest.approx(0.992063, abs=5e-7)
    assert counts(report, "ribosome") == (1, 1, 0)
    assert report.runs["B"]["ribosome"] == ObjectScore(0, 1, 0, 0.0, 0.0, 0.0, 1.0)
    assert report.runs["A"]["ribosome"].f_beta == 1.0


def test_counts_are_pooled_over_runs() -> None:
    truth = [*TOY, *in_run(TOY, "B")]
    assert total(TOY, truth) == pytest.approx(0.515152, abs=5e-7)
    assert total(TOY, truth) == pytest.approx(17 * 0.5 / 16.5)


def test_the_divisor_stays_when_an_object_is_absent_from_the_truth() -> None:
    for name, expected in (("ribosome", 6 / 7), ("thyroglobulin", 5 / 7)):
        truth = without(TOY, name)
        assert total(truth, truth) == pytest.approx(expected)
        assert total(TOY, truth) == pytest.approx(expected)  # picks of the absent object change nothing


def test_beta_amylase_changes_nothing() -> None:
    amylase: list[Row] = [("A", "beta-amylase", 1.0, 2.0, 3.0)]
    assert total([*TOY, *amylase], TOY) == total([*TOY, *amylase], [*TOY, *amylase]) == 1.0
    assert total(TOY, [*TOY, *amylase]) == 1.0


def test_eight_of_ten_with_thirty_candidates() -> None:
    truth: list[Row] = [("A", "ribosome", 1000.0 * i, 0.0, 0.0) for i in range(10)]
    predictions = [*truth[:8], *[("A", "ribosome", 1000.0 * i + 500, 0.0, 0.0) for i in range(22)]]
    assert score(table(predictions), table(truth)).objects["ribosome"].f_beta == pytest.approx(0.715789, abs=5e-7)


def test_no_predictions_score_zero() -> None:
    assert score(Picks.empty(), table(TOY)).f_beta == 0.0
    assert score(table(TOY), Picks.empty()).f_beta == 0.0


def test_only_selected_predictions_count() -> None:
    predictions = Picks.build("A", "ribosome", [(0, 0, 0), (0, 0, 500)], selected=[True, False])
    truth = Picks.build("A", "ribosome", [(0, 0, 0)])
    assert counts(score(predictions, truth), "ribosome") == (1, 0, 0)


def test_a_run_without_true_picks_counts_when_it_is_named() -> None:
    predictions = [*TOY, ("empty", "ribosome", 1.0, 2.0, 3.0)]
    report = score(table(predictions), table(TOY), runs=["A", "empty"])
    assert counts(report, "ribosome") == (1, 1, 0)
    assert list(report.runs) == ["A", "empty"]
    only_empty = score(table(predictions), table(TOY), runs=["empty"])
    assert (only_empty.objects, only_empty.f_beta) == ({}, 0.0)


def test_other_objects_divide_by_the_sum_of_their_weights() -> None:
    specs = [ParticleSpec("tric", 80.0, 1, score_weight=3.0), ParticleSpec("nucleosome", 50.0, 2)]
    truth = Picks.build("A", ["tric", "nucleosome"], [(0, 0, 0), (0, 0, 900)])
    report = score(truth.of_object("tric"), truth, specs)
    assert (report.f_beta, report.divisor) == (0.75, 4.0)


def test_the_challenges_objects_get_its_weights_in_its_mode_only() -> None:
    unweighted = [ParticleSpec(s.name, s.radius_angstrom, s.label) for s in czii.OBJECTS]
    assert score(table(TOY), table(TOY), unweighted).divisor == 7.0
    assert score(table(TOY), table(TOY), unweighted, config=ScoreConfig(mode="one-to-one")).divisor == 6.0
    resized = [ParticleSpec(s.name, 50.0, s.label) for s in czii.OBJECTS]
    assert score(table(TOY), table(TOY), resized).divisor == 6.0


def test_modes_differ_where_two_picks_lie_on_one_particle() -> None:
    truth = Picks.build("A", "ribosome", [(0, 0, 0)])
    twice = Picks.build("A", "ribosome", [(0, 0, 0), (0, 0, 10)])
    expected = {"kaggle": (1, 1, 0), "one-to-one": (1, 1, 0), "octopi": (2, 0, 0)}
    for mode, found in expected.items():
        config = ScoreConfig.model_validate({"mode": mode})
        report = score(twice, truth, config=config)
        assert counts(report, "ribosome") == found
    assert report.f_beta == 1.0  # octopi divides by the weights of the objects in the truth
    assert report.divisor == 1.0


def test_modes_differ_where_one_pick_lies_between_two_particles() -> None:
    truth = Picks.build("A", "ribosome", [(0, 0, 0), (0, 0, 100)])
    between = Picks.build("A", "ribosome", [(0, 0, 50)])
    expected = {"kaggle": (2, -1, 0), "one-to-one": (1, 0, 1), "octopi": (1, 0, 0)}
    for mode, found in expected.items():
        config = ScoreConfig.model_validate({"mode": mode})
        assert counts(score(between, truth, config=config), "ribosome") == found


def test_octopi_reaches_farther_and_its_ball_is_open() -> None:
    truth = Picks.build("A", "ribosome", [(0, 0, 0)])
    octopi = ScoreConfig(mode="octopi")
    for distance, hits_kaggle, hits_octopi in ((75.0, 1, 1), (90.0, 0, 1), (119.9, 0, 1), (120.0, 0, 0)):
        picks = Picks.build("A", "ribosome", [(0, 0, distance)])
        assert score(picks, truth).objects["ribosome"].tp == hits_kaggle
        assert score(picks, truth, config=octopi).objects["ribosome"].tp == hits_octopi


def test_one_to_one_finds_the_most_matches_then_the_nearest() -> None:
    truth = Picks.build("A", "ribosome", [(0, 0, 0), (0, 0, 70)])
    # The first candidate reaches both references, the second only the first: greedy by distance would lose one.
    predictions = Picks.build("A", "ribosome", [(0, 0, 10), (0, 0, -60)])
    config = ScoreConfig(mode="one-to-one")
    matches = match_candidates(predictions, truth, czii.OBJECTS, config=config)["ribosome"]
    assert matches.pairs.tolist() == [[0, 1], [1, 0]]
    assert matches.distances_angstrom.tolist() == [60.0, 60.0]
    twice = Picks.build("A", "ribosome", [(0, 0, 10), (0, 0, 5)])
    nearest = match_candidates(twice, truth.where(np.array([0])), czii.OBJECTS, config=config)["ribosome"]
    assert nearest.pairs.tolist() == [[1, 0]]


def test_distance_factor_overrides_the_modes() -> None:
    truth = Picks.build("A", "ribosome", [(0, 0, 0)])
    picks = Picks.build("A", "ribosome", [(0, 0, 140)])
    assert score(picks, truth, config=ScoreConfig(distance_factor=1.0)).objects["ribosome"].tp == 1


def test_matches_name_rows_scores_and_distances() -> None:
    truth = Picks.build(["B", "A", "A"], ["ribosome", "apo-ferritin", "ribosome"], [(0, 0, 0), (0, 0, 0), (0, 9, 0)])
    candidates = Picks.build(
        ["A", "C", "A", "B", "A"],
        ["ribosome", "ribosome", "ribosome", "ribosome", "thyroglobulin"],
        [(0, 0, 0), (0, 0, 0), (500, 0, 0), (0, 0, 3), (0, 0, 0)],
        scores=[0.1, 0.2, 0.3, 0.4, 0.5],
        selected=[False] * 5,
    )
    matches = match_candidates(candidates, truth, czii.OBJECTS)
    assert list(matches) == ["apo-ferritin", "ribosome", "thyroglobulin"]
    ribosome = matches["ribosome"]
    assert ribosome.candidate_rows.tolist() == [0, 2, 3]
    assert ribosome.reference_rows.tolist() == [0, 2]
    assert ribosome.scores.tolist() == [0.1, 0.3, 0.4]
    assert sorted(map(tuple, ribosome.pairs.tolist())) == [(0, 1), (2, 0)]
    assert sorted(ribosome.distances_angstrom.tolist()) == [3.0, 9.0]
    assert ribosome.candidate_is_hit.tolist() == [True, False, True]
    assert ribosome.reference_is_hit.tolist() == [True, True]
    assert matches["thyroglobulin"].reference_count == 0
    assert matches["apo-ferritin"].reference_is_hit.tolist() == [False]


def test_score_is_callable_from_the_package_however_often() -> None:
    for _ in range(2):
        assert cryofind.score(table(TOY), table(TOY)).f_beta == 1.0


def test_fingerprint_knows_the_picks_whatever_their_order_run_or_digits() -> None:
    picks = Picks.build("A", ["ribosome", "apo-ferritin"], [(1.05, 2, 3), (4, 5, 6.04999)])
    renamed = Picks.build("B", ["apo-ferritin", "ribosome"], [(4, 5, 6.05), (1.0500001, 2, 3)], scores=[0.5, 0.4])
    assert picks.fingerprint() == renamed.fingerprint()
    assert len(Picks.empty().fingerprint()) == 64
    assert picks.fingerprint() != Picks.build("A", ["ribosome"] * 2, [(1, 2, 3), (4, 5, 6)]).fingerprint()
    with pytest.raises(ValueError, match="one run"):
        Picks.concatenate([picks, renamed]).fingerprint()


def test_the_table_shows_counts_mode_and_in_sample_runs() -> None:
    objects = {
        "ribosome": ObjectScore(10, -1, 2, 1.0, 0.83333, 0.84, 1.0),
        "beta-galactosidase": ObjectScore(3, 4, 5, 0.4, 0.375, 0.38, 2.0),
    }
    report = ScoreReport(0.5, 4.0, "kaggle", 7.0, objects, {"A": objects}, ("TS_1", "TS_2"))
    assert format_score_table(report).splitlines() == [
        "object              TP  FP  FN  precision  recall      F4  weight",
        "-----------------------------------------------------------------",
        "ribosome            10  -1   2     1.0000  0.8333  0.8400       1  in-sample",
        "beta-galactosidase   3   4   5     0.4000  0.3750  0.3800       2  in-sample",
        "-----------------------------------------------------------------",
        "weighted F4: 0.500000  in-sample",
        "mode kaggle, beta 4, 1 run, weights divided by 7",
        "WARNING: in-sample, the model was trained on: TS_1, TS_2",
    ]


def draw_labels(values: list[int], names: dict[int, str], dtype: type[np.integer] = np.uint8) -> LabelVolume:
    labels = np.array(values, dtype).reshape(-1, 1, 1)
    return LabelVolume("TS_1", labels, VoxelGrid.isotropic(labels.shape, 10.0), names)


def test_dice_matches_objects_by_name() -> None:
    predicted = draw_labels([1, 1, 2, 0], {1: "actin", 2: "membrane", 3: "absent"})
    truth = draw_labels([5, 5, 5, 7], {5: "actin", 7: "membrane", 9: "absent"}, np.int32)
    assert dice_per_object(predicted, truth) == {"actin": pytest.approx(2 * 2 / 5), "membrane": 0.0}


def test_dice_of_slabs_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    names = {1: "actin", 2: "membrane"}
    values = random.integers(0, 3, (2, 50)).tolist()
    predicted, truth = (draw_labels(row, names) for row in values)
    whole = dice_per_object(predicted, truth)
    monkeypatch.setattr("cryofind.scoring.segmentation.SLAB_PLANES", 7)
    assert dice_per_object(predicted, truth) == whole
    halves = [
        measure_overlaps(draw_labels(values[0][part], names), draw_labels(values[1][part], names))
        for part in (slice(0, 20), slice(20, 50))
    ]
    assert dice_from_overlaps(halves) == whole


def test_picks_without_a_run_count_for_the_only_run() -> None:
    truth = Picks.build("TS_1", "ribosome", [(500, 500, 500)])
    unnamed = Picks.build(UNNAMED_RUN, "ribosome", [(500, 500, 510)])
    assert score(unnamed, truth).objects["ribosome"].tp == 1
    two = Picks.concatenate([truth, Picks.build("TS_2", "ribosome", [(500, 500, 500)])])
    assert score(unnamed, two).objects["ribosome"].tp == 0
