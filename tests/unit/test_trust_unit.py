"""What is expected of picks, and what a calibration holds for."""

import numpy as np
import pytest

from cryofind.config import Config, LocateConfig, parse_config
from cryofind.errors import ModelError
from cryofind.pipeline.conditions import describe_conditions, doubt_calibration
from cryofind.pipeline.trust import describe_trust, select_picks
from cryofind.pipeline.tuning import Tuning, fit_tuning
from cryofind.types import Calibration, CandidateCounts, ParticleSpec, Picks
from tests.tiny_models import tiny_card

SPECS = (
    ParticleSpec("a", 50.0, 1, score_weight=1.0),
    ParticleSpec("b", 50.0, 2, score_weight=3.0),
    ParticleSpec("membrane", None, 3, is_particle=False),
)
COUNTS = CandidateCounts(0.003, 200, 99, 99, 0.3)
IDENTITY = Calibration.line(1.0, 0.0, COUNTS)
EXPECTED = parse_config({"locate": {"thresholds": "expected"}}, "test")
SCORES = {"a": [0.9, 0.8, 0.4, 0.05, 0.01], "b": [0.95, 0.3, 0.02]}


def candidates() -> Picks:
    names = [name for name, scores in SCORES.items() for _ in scores]
    positions = np.arange(len(names))[:, None] * [0.0, 0.0, 200.0]
    return Picks.build("TS_1", names, positions, scores=np.concatenate(list(SCORES.values())))


def test_expected_thresholds_select_what_the_highest_expected_f_beta_asks_for() -> None:
    tuning = Tuning({"a": 0.85, "b": 0.85}, {"a": IDENTITY, "b": IDENTITY}, {})
    found = select_picks(candidates(), tuning, SPECS, EXPECTED)
    for name, scores in SCORES.items():
        number = sum(scores) / COUNTS.recall
        values = [17 * sum(scores[:count]) / (16 * number + count) for count in range(1, len(scores) + 1)]
        of_object = found.picks.of_object(name)
        assert of_object.selected.sum() == np.argmax(values) + 1
        assert of_object.scores[of_object.selected].min() >= of_object.scores[~of_object.selected].max(initial=0)
    assert found.picks.selected.sum() > select_picks(candidates(), tuning, SPECS, Config()).picks.selected.sum() == 2


def test_the_expected_selection_does_not_hang_on_tuned_thresholds() -> None:
    both = [
        select_picks(
            candidates(), Tuning({"a": limit, "b": limit}, {"a": IDENTITY, "b": IDENTITY}, {}), SPECS, EXPECTED
        )
        for limit in (0.01, 0.99)
    ]
    assert both[0].picks.selected.tolist() == both[1].picks.selected.tolist()
    assert both[0].trust == both[1].trust


def test_an_object_without_calibration_keeps_its_threshold_and_is_named() -> None:
    tuning = Tuning({"b": 0.5}, {"a": IDENTITY}, {})
    found = select_picks(candidates(), tuning, SPECS, EXPECTED)
    assert found.picks.of_object("b").selected.tolist() == [True, False, False]
    assert found.trust["not_calibrated"] == ["b"]
    assert describe_trust("TS_1", found.trust).endswith("; not calibrated: b")


def test_a_calibration_of_an_older_cryofind_is_told_from_none() -> None:
    older = Calibration.line(1.0, 0.0)
    unknown = "b calibrated by an older cryofind: how many particles to expect is not known (`cryofind tune`)"
    found = select_picks(candidates(), Tuning({}, {"a": IDENTITY, "b": older}, {}), SPECS, EXPECTED)
    assert (found.trust["calibrated_without_counts"], found.trust["not_calibrated"]) == (["b"], [])
    assert describe_trust("TS_1", found.trust).endswith(f"; {unknown}")
    found = select_picks(candidates(), Tuning({}, {"b": older}, {}), SPECS, Config())
    assert describe_trust("TS_1", found.trust) == f"TS_1: {unknown}; not calibrated: a"


def test_the_numbers_of_an_unfamiliar_tomogram_are_not_to_be_relied_on() -> None:
    trust = select_picks(candidates(), Tuning({}, {"a": IDENTITY}, {}), SPECS, Config()).trust
    plain = describe_trust("TS_1", trust)
    assert describe_trust("TS_1", trust, {"warning": None}) == plain
    unlike = "; unlike the tomograms it learnt from: do not rely on these numbers"
    assert describe_trust("TS_1", trust, {"warning": "noisy"}) == plain + unlike


def test_an_interval_is_printed_as_wide_as_it_was_measured() -> None:
    trust = select_picks(candidates(), Tuning({}, {"a": IDENTITY}, {}), SPECS, Config()).trust
    trust["objects"]["a"]["interval_95"] = [1.6, 4.2]
    assert "(1-5) a" in describe_trust("TS_1", trust)


def test_precision_and_recall_weigh_objects_as_the_score_does() -> None:
    tuning = Tuning({"a": 0.5, "b": 0.1}, {"a": IDENTITY, "b": IDENTITY}, {})
    trust = select_picks(candidates(), tuning, SPECS, Config()).trust
    hits, picks = 1.7 + 3 * 1.25, 2 + 3 * 2
    number = (sum(SCORES["a"]) + 3 * sum(SCORES["b"])) / COUNTS.recall
    assert trust["weighted_expected_precision"] == pytest.approx(hits / picks, abs=0.001)
    assert trust["weighted_expected_recall"] == pytest.approx(hits / number, abs=0.005)
    assert trust["expected_precision"] == pytest.approx((1.7 + 1.25) / 4, abs=0.001)
    assert trust["expected_recall"] == pytest.approx(2.95 / (sum(map(sum, SCORES.values())) / COUNTS.recall), abs=0.005)
    assert trust["objects"]["a"]["expected_precision"] == pytest.approx(0.85)
    assert trust["objects"]["b"]["picks"] == 2
    assert describe_trust("TS_1", trust).startswith("TS_1: about 2 (")
    assert "; of 4 picks 74 % expected right, recall " in describe_trust("TS_1", trust)


def test_objects_without_a_weight_are_told_of_as_well() -> None:
    specs = (ParticleSpec("a", 50.0, 1, score_weight=0.0), ParticleSpec("b", 50.0, 2, score_weight=0.0))
    trust = select_picks(candidates(), Tuning({}, {"a": IDENTITY}, {}), specs, Config()).trust
    assert trust["expected_precision"] == pytest.approx(0.85)


def test_an_empty_tomogram_promises_nothing() -> None:
    found = select_picks(Picks.empty(), Tuning({}, {"a": IDENTITY, "b": IDENTITY}, {}), SPECS, EXPECTED)
    assert describe_trust("TS_1", found.trust) == (
        "TS_1: about 0 (0-1) a, 0 (0-1) b; of 0 picks - expected right, recall -"
    )


def test_without_any_calibration_nothing_is_promised_and_expectation_is_refused() -> None:
    old = Tuning({"a": 0.1}, {"a": Calibration.line(1.5, -0.5)}, {})
    trust = select_picks(candidates(), old, SPECS, Config()).trust
    assert "older cryofind" in describe_trust("TS_1", trust)
    for tuning in (old, Tuning.none()):
        with pytest.raises(ModelError, match=r"needs calibrated scores.*`cryofind tune`"):
            select_picks(candidates(), tuning, SPECS, EXPECTED)


def test_a_second_candidate_of_a_particle_counts_as_a_miss_in_calibration() -> None:
    random = np.random.default_rng(0)
    places = np.arange(300)[:, None] * [0.0, 0.0, 300.0]
    truth = Picks.build("TS_1", "a", places[:150])
    scores = np.concatenate([random.uniform(0.3, 0.9, 300), random.uniform(0.05, 0.29, 150)])
    twice = Picks.build("TS_1", "a", np.concatenate([places, places[:150] + 5]), scores=scores)
    tuning = fit_tuning(twice, truth, SPECS[:1], Config())
    calibrated = tuning.select(twice).scores
    counts = tuning.calibration["a"].counts
    assert counts is not None
    assert counts.found == 150
    assert calibrated.sum() == pytest.approx(150, rel=0.05)
    assert calibrated[300:].sum() < 20


def test_without_its_calibration_a_tuning_selects_the_same() -> None:
    bent = Calibration(((-6.0, -4.0), (0.0, 1.0), (6.0, 5.0)), COUNTS)
    tuning = Tuning({"a": 0.4}, {"a": bent, "b": Calibration.line(0.5, -1.0)}, {})
    raw = tuning.without_calibration().select(candidates())
    assert raw.scores.tolist() == candidates().scores.tolist()
    assert raw.selected.tolist() == tuning.select(candidates()).selected.tolist()
    assert 0 < raw.selected.sum() < len(raw)


def test_a_calibration_for_something_else_is_doubted_in_one_line() -> None:
    engine = {"engine": "torch", "precision": "bf16"}
    conditions = describe_conditions(engine, Config(), member_count=1)
    card = tiny_card(calibration={"ribosome": [1.0, 0.0]}, calibrated_for=conditions)
    assert doubt_calibration(card, LocateConfig(thresholds="expected", floor_factor=0.0), conditions) is None
    others = parse_config({"predict": {"test_time_augmentation": 4}}, "test")
    now = describe_conditions({"engine": "openvino", "precision": "int8"}, others, member_count=3)
    line = doubt_calibration(card, LocateConfig(floor=0.1), now)
    assert line == (
        "scores were calibrated for engine torch, not openvino; precision bf16, not int8; test_time_augmentation 1, "
        "not 4; members 1, not 3; locate.floor 0.02, not 0.1: `cryofind tune` would calibrate them for this"
    )


def test_an_older_or_uncalibrated_card_is_not_doubted_for_what_it_does_not_say() -> None:
    now = describe_conditions({"engine": "torch", "precision": "bf16"}, Config(), member_count=2)
    assert doubt_calibration(tiny_card(calibration={"ribosome": [1.0, 0.0]}), LocateConfig(), now) is None
    assert doubt_calibration(tiny_card(calibrated_for={"members": 1}), LocateConfig(floor=0.5), now) is None
