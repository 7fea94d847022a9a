"""A prediction is located where it lies."""

import numpy as np
import pytest
import torch

from cryofind.config import LocateConfig
from cryofind.locate import find_picks, undo_calibration
from cryofind.pipeline import candidates
from cryofind.pipeline.candidates import Prediction
from cryofind.pipeline.tuning import Tuning
from cryofind.types import Calibration, CandidateCounts, ParticleSpec, Picks, VoxelGrid

SPECS = (ParticleSpec("a", 60.0, 1), ParticleSpec("b", 90.0, 2))


class ElsewhereTensor(torch.Tensor):
    """A tensor that says it lies on a GPU, and must not come to main memory."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Say another device."""
        return torch.device("cuda")


def make_prediction() -> Prediction:
    random = np.random.default_rng(0)
    tensor = torch.from_numpy(random.random((2, 8, 20, 20), dtype=np.float32) ** 4)
    return Prediction("TS_1", tensor, ("a", "b"), VoxelGrid.isotropic((16, 40, 40), 10.0))


def assert_equal_picks(found: Picks, expected: Picks) -> None:
    assert found.objects.tolist() == expected.objects.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.positions_zyx_angstrom, expected.positions_zyx_angstrom)


def test_on_a_cpu_picks_are_those_of_the_volume() -> None:
    prediction, config = make_prediction(), LocateConfig()
    expected = find_picks(prediction.volume, SPECS, config, grid=prediction.tomogram_grid)
    assert_equal_picks(prediction.find_picks(SPECS, config), expected)
    assert len(expected) > 5


def test_elsewhere_maxima_are_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    here = make_prediction()
    there = Prediction(here.run, here.tensor.as_subclass(ElsewhereTensor), here.objects, here.tomogram_grid)
    located: list[torch.Tensor] = []

    def locate(tensor: torch.Tensor, *arguments: object, **options: object) -> object:
        located.append(tensor)
        return here.locate(SPECS, LocateConfig())

    monkeypatch.setattr(candidates, "locate_on_device", locate)
    assert_equal_picks(there.find_picks(SPECS, LocateConfig()), here.find_picks(SPECS, LocateConfig()))
    assert len(located) == 1
    assert located[0] is there.tensor
    assert "volume" not in vars(there)


def test_other_ways_to_locate_take_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(candidates, "locate_on_device")
    config = LocateConfig(smoothing_angstrom=10.0)
    here = make_prediction()
    there = Prediction(here.run, here.tensor.as_subclass(ElsewhereTensor), here.objects, here.tomogram_grid)
    assert_equal_picks(there.find_picks(SPECS, config), here.find_picks(SPECS, config))


@pytest.mark.parametrize("method", ["peaks", "watershed"])
def test_floors_by_thresholds_leave_out_low_scores_and_change_no_other_pick(method: str) -> None:
    prediction, config = make_prediction(), LocateConfig.model_validate({"method": method, "floor_factor": 0.9})
    tuning = Tuning({"a": 0.8, "b": 0.3}, {"b": Calibration.line(1.5, -2.0)}, {})
    every = tuning.select(prediction.find_picks(SPECS, config))
    found = tuning.select(prediction.find_picks(SPECS, tuning.with_floors(config, ("a", "b"))))
    floors = np.where(every.objects == "a", 0.9 * 0.8, 0.9 * 0.3)
    assert 0 < len(found) < len(every)
    assert_equal_picks(found, every.where(every.scores >= floors))
    assert 0 < found.selected.sum() == every.selected.sum()


def test_candidates_that_are_counted_stay_whatever_the_threshold() -> None:
    counts = CandidateCounts(0.01, 40, 9, 10, 0.3)
    known = {"a": Calibration.line(1.5, -2.0, counts), "b": Calibration.line(1.5, -2.0)}
    floors = Tuning({"a": 0.9, "b": 0.9}, known, {}).with_floors(LocateConfig(floor_factor=0.5), ("a", "b"))
    assert floors.floor_of("a") == pytest.approx(undo_calibration(0.01, known["a"]))
    assert floors.floor_of("b") == pytest.approx(undo_calibration(0.45, known["b"]))


def test_objects_that_are_weighed_against_each_other_keep_their_floors() -> None:
    config = LocateConfig(cross_separation_factor=0.5)
    assert Tuning({"b": 0.5}, {"b": Calibration.line(1.5, -2.0)}, {}).with_floors(config, ("a", "b")) == config


def test_floors_by_thresholds_never_lie_below_the_floor_that_is_asked_for() -> None:
    config = LocateConfig(floor=0.04, floors={"b": 0.3})
    tuned = Tuning({"b": 0.5}, {}, {}).with_floors(config, ("a", "b"))
    assert (tuned.floor_of("a"), tuned.floor_of("b"), tuned.floor_of("c")) == (0.04, 0.3, 0.04)
    assert Tuning({"b": 0.5}, {}, {}).with_floors(LocateConfig(floor_factor=0), ("b",)).floor_of("b") == 0.02
