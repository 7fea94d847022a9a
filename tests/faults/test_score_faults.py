"""What cannot be scored says so in one line that ends in advice."""

import numpy as np
import pytest

from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.errors import ConfigError, PicksError, ProjectError
from cryofind.scoring import dice_per_object, score
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid

TRUTH = Picks.build("A", "ribosome", [(0, 0, 0)])


@pytest.mark.parametrize("name", ["Ribosome", "ribosome ", "ribosom"])
def test_an_unknown_object_is_named_with_the_nearest(name: str) -> None:
    with pytest.raises(PicksError, match=f"run 'A': object: '{name}' is not .* did you mean 'ribosome'"):
        score(Picks.build("A", name, [(0, 0, 0)]), TRUTH)


def test_true_picks_at_one_place_are_refused_whatever_their_objects() -> None:
    truth = Picks.build("A", ["ribosome", "apo-ferritin"], [(3, 2, 1), (3, 2, 1)])
    with pytest.raises(PicksError, match="ribosome and apo-ferritin both lie at x, y, z = 1, 2, 3"):
        score(truth, truth)
    assert score(truth, truth, config=ScoreConfig(mode="octopi")).f_beta == 1.0
    signed = Picks.build("A", "ribosome", [(0.0, 0, 0), (-0.0, 0, 0)])
    with pytest.raises(PicksError):
        score(signed, signed)


def test_the_same_place_in_two_runs_is_fine() -> None:
    truth = Picks.build(["A", "B"], "ribosome", [(3, 2, 1), (3, 2, 1)])
    assert score(truth, truth).objects["ribosome"].tp == 2


def test_a_truth_of_other_objects_needs_specs() -> None:
    truth = Picks.build("A", "tric", [(0, 0, 0)])
    with pytest.raises(ConfigError, match=r"'tric'.*NAME:RADIUS"):
        score(truth, truth)


def test_a_truth_object_missing_from_the_specs_is_named() -> None:
    specs = [ParticleSpec("ribosome-80s", 150.0, 1)]
    with pytest.raises(ConfigError, match="did you mean 'ribosome-80s'"):
        score(Picks.empty(), TRUTH, specs)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 for every object"):
        score(TRUTH, TRUTH, [ParticleSpec("ribosome", 140.0, 1, score_weight=0.0)])
    weightless = score(
        Picks.empty(), Picks.build("A", "beta-amylase", [(0, 0, 0)]), czii.OBJECTS, config=ScoreConfig(mode="octopi")
    )
    assert (weightless.f_beta, weightless.divisor) == (0.0, 0.0)


def label_volume(labels: list[int], names: dict[int, str]) -> LabelVolume:
    array = np.array(labels).reshape(1, 1, -1)
    return LabelVolume("TS_1", array, VoxelGrid.isotropic(array.shape, 10.0), names)


def test_segmentations_of_two_shapes_are_refused() -> None:
    with pytest.raises(ProjectError, match=r"shape \(1, 1, 2\), the truth \(1, 1, 1\)"):
        dice_per_object(label_volume([0, 1], {1: "actin"}), label_volume([1], {1: "actin"}))


def test_labels_without_a_name_are_refused() -> None:
    with pytest.raises(ProjectError, match="label 2, which has no name"):
        dice_per_object(label_volume([0, 1], {1: "actin"}), label_volume([0, 2], {1: "actin"}))


@pytest.mark.parametrize("label", [-1, 70000])
def test_labels_out_of_range_are_refused(label: int) -> None:
    with pytest.raises(ProjectError, match="expected 0 to 65535"):
        dice_per_object(label_volume([label], {1: "actin"}), label_volume([1], {1: "actin"}))
