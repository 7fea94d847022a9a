"""Which particles nearly touch, touch another kind or are cut off, and how many of them are found."""

import pytest

from cryofind.config import ScoreConfig
from cryofind.errors import ConfigError, PicksError
from cryofind.scoring import CIRCUMSTANCES, Recall, find_circumstances, recall_by_circumstance, wilson_interval
from cryofind.types import ParticleSpec, Picks, VoxelGrid

SMALL = ParticleSpec("small", 50.0, 1)
LARGE = ParticleSpec("large", 100.0, 2)
SPECS = (SMALL, LARGE)
# 1,000 x 2,000 x 2,000 Angstrom
GRID = VoxelGrid.isotropic((100, 200, 200), 10.0)
MIDDLE = (500.0, 1000.0, 1000.0)


def circumstances_of(*particles: tuple[str, tuple[float, float, float]]) -> list[set[str]]:
    truth = Picks.build("A", [name for name, _ in particles], [position for _, position in particles])
    masks = find_circumstances(truth, SPECS, {"A": GRID})
    assert tuple(masks) == CIRCUMSTANCES
    return [{name for name, mask in masks.items() if mask[row]} for row in range(len(particles))]


@pytest.mark.parametrize(("distance", "expected"), [(129.0, "close-pair"), (130.5, "alone")])
def test_a_pair_of_one_kind_is_close_up_to_1_3_diameters(distance: float, expected: str) -> None:
    beside = (MIDDLE[0], MIDDLE[1], MIDDLE[2] + distance)
    assert circumstances_of(("small", MIDDLE), ("small", beside)) == [{expected}, {expected}]


@pytest.mark.parametrize(("distance", "expected"), [(149.0, "contact"), (150.5, "alone")])
def test_two_kinds_are_in_contact_up_to_the_sum_of_their_radii(distance: float, expected: str) -> None:
    above = (MIDDLE[0] + distance, MIDDLE[1], MIDDLE[2])
    assert circumstances_of(("small", MIDDLE), ("large", above)) == [{expected}, {expected}]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((99.0, 1000.0, 1000.0), "border"),
        ((101.0, 1000.0, 1000.0), "alone"),
        ((901.0, 1000.0, 1000.0), "border"),
        ((500.0, 1901.0, 1000.0), "border"),
        ((500.0, 1000.0, 2001.0), "border"),
    ],
)
def test_the_border_is_one_radius_wide(position: tuple[float, float, float], expected: str) -> None:
    assert circumstances_of(("large", position)) == [{expected}]


def test_a_particle_may_be_in_several_circumstances_and_runs_do_not_mix() -> None:
    at_face = (20.0, 1000.0, 1000.0)
    found = circumstances_of(("small", at_face), ("small", (20.0, 1000.0, 1100.0)), ("large", (140.0, 1000.0, 1000.0)))
    assert found == [{"close-pair", "contact", "border"}, {"close-pair", "border"}, {"contact"}]
    apart = Picks.build(["A", "B"], "small", [MIDDLE, MIDDLE])
    assert find_circumstances(apart, SPECS, {"A": GRID, "B": GRID})["alone"].all()


def test_recall_tells_what_location_lost_from_what_the_threshold_lost() -> None:
    beside = (MIDDLE[0], MIDDLE[1], MIDDLE[2] + 100.0)
    far = (MIDDLE[0], MIDDLE[1], 300.0)
    truth = Picks.build("A", "small", [MIDDLE, beside, far])
    # The far one was selected, one of the pair was found but not selected, the other was not found; one pick is false.
    candidates = Picks.build(
        "A", "small", [far, beside, (500.0, 300.0, 300.0)], scores=[0.9, 0.1, 0.8], selected=[True, False, True]
    )
    table = recall_by_circumstance(candidates, truth, SPECS, {"A": GRID})
    assert table == {
        "small": {
            "close-pair": Recall(2, 1, 0),
            "contact": Recall(0, 0, 0),
            "border": Recall(0, 0, 0),
            "alone": Recall(1, 1, 1),
        }
    }
    assert Recall(2, 1, 0) + Recall(1, 1, 1) == Recall(3, 2, 1)


def test_one_pick_between_two_counts_once_when_assigned() -> None:
    beside = (MIDDLE[0], MIDDLE[1], MIDDLE[2] + 40.0)
    truth = Picks.build("A", "small", [MIDDLE, beside])
    between = Picks.build("A", "small", [(MIDDLE[0], MIDDLE[1], MIDDLE[2] + 20.0)])

    def hits(mode: str) -> int:
        config = ScoreConfig.model_validate({"mode": mode})
        return recall_by_circumstance(between, truth, SPECS, {"A": GRID}, config=config)["small"]["close-pair"].hits

    assert (hits("kaggle"), hits("one-to-one")) == (2, 1)


def test_no_truth_has_no_circumstances() -> None:
    assert all(len(mask) == 0 for mask in find_circumstances(Picks.empty(), SPECS, {}).values())
    assert recall_by_circumstance(Picks.build("A", "small", [MIDDLE]), Picks.empty(), SPECS, {}) == {}


def test_wilson_intervals_agree_with_published_ones() -> None:
    # R. G. Newcombe, Statistics in Medicine 17, 857 (1998), table I, method 3.
    for hits, count, expected in [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ]:
        assert wilson_interval(hits, count) == pytest.approx(expected, abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert Recall(20, 20, 20).interval == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)


def test_what_cannot_be_judged_is_refused() -> None:
    truth = Picks.build(["A", "B"], "small", [MIDDLE, MIDDLE])
    with pytest.raises(PicksError, match=r"truth of run 'B'.*has no grid"):
        find_circumstances(truth, SPECS, {"A": GRID})
    with pytest.raises(ConfigError, match=r"'small2': is not one of the objects.*small"):
        find_circumstances(Picks.build("A", "small2", [MIDDLE]), SPECS, {"A": GRID})
    membrane = ParticleSpec("membrane", None, 3, is_particle=False)
    with pytest.raises(ConfigError, match="'membrane': radius: is missing"):
        find_circumstances(Picks.build("A", "membrane", [MIDDLE]), (membrane,), {"A": GRID})
    with pytest.raises(ValueError, match="hits must be 0 to 3, found 4"):
        wilson_interval(4, 3)
