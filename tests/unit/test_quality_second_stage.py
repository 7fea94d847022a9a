"""The second look at candidates: what it cuts out, that untrained it changes nothing, and that it can learn."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cryofind.pipeline import load_model
from cryofind.pipeline.picker import Picker
from cryofind.testing.projects import write_phantom_project
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid
from tests.benchmark_scripts import import_scripts

SPECS = (ParticleSpec("ribosome", 150.0, 1, score_weight=1.0), ParticleSpec("apo-ferritin", 60.0, 2, score_weight=1.0))


@pytest.fixture(scope="module")
def picker() -> Picker:
    return load_model("czii-sim-small")


@pytest.fixture(scope="module")
def second_stage() -> Iterator[Any]:
    with import_scripts("quality", ("second_stage",)) as scripts:
        yield scripts.second_stage


def make_candidates(second_stage: SimpleNamespace, *, count: int = 100, seed: int = 0) -> Any:
    """Return candidates of scores that say nothing, and crops that are bright in the middle where they are hits."""
    random = np.random.default_rng(seed)
    is_hit, objects = random.random(count) < 0.5, random.integers(2, size=count)
    crops = random.normal(size=(count, *[second_stage.CROP_VOXELS] * 3))
    crops[:, 8:25, 8:25, 8:25] += 2 * is_hit[:, None, None, None]
    places = np.arange(count)[:, None] * np.array([0.0, 0.0, 1000.0])
    names = np.array([spec.name for spec in SPECS])[objects]
    picks = Picks.build("R", list(names), places, scores=random.uniform(0.1, 0.9, count))
    cut = second_stage.Crops(tuple(crops.astype(np.float16)), np.arange(count)[:, None] * np.array([1, 0, 0, 0]))
    tensors = (torch.from_numpy(objects), torch.from_numpy(is_hit))
    return second_stage.Candidates(picks, picks.where(is_hit), ("R",), cut, *tensors)


def test_crops_lie_about_their_candidates_even_at_faces(second_stage: SimpleNamespace) -> None:
    volume = np.random.default_rng(0).normal(size=(20, 40, 50)).astype(np.float32)
    grid = VoxelGrid.isotropic(volume.shape, 10.0)
    indices = np.array([[0, 0, 0], [19, 39, 49], [10.4, 20.6, 25.0]])
    tomogram, positions = Tomogram("R", volume, grid), grid.positions_from_indices(indices)
    parts = [second_stage.cut_crops(tomogram, positions[:1]), second_stage.cut_crops(tomogram, positions[1:])]
    crops = second_stage.Crops.concatenate(parts)[torch.arange(3)].numpy()
    middle = second_stage.CROP_VOXELS // 2
    nearest = np.rint(indices).astype(int)
    assert crops.shape == (3, *[2 * middle + 1] * 3)
    assert [crop[middle, middle, middle] for crop in crops] == [np.float16(volume[tuple(index)]) for index in nearest]
    inner = crops[2][middle - 5 : middle + 6, middle - 5 : middle + 6, middle - 5 : middle + 6]
    assert np.array_equal(inner, volume[5:16, 16:27, 20:31].astype(np.float16))
    assert np.array_equal(crops[0][middle - 1], crops[0][middle + 1])  # mirrored


def test_untrained_it_changes_nothing(second_stage: SimpleNamespace) -> None:
    judged = make_candidates(second_stage, count=20)
    network = second_stage.SecondLook(len(SPECS)).eval()
    assert np.array_equal(second_stage.rescore(network, judged), judged.logits.numpy())


def test_it_learns_what_a_crop_shows(second_stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_stage, "BATCH", 24)
    learnt, judged = (make_candidates(second_stage, seed=seed) for seed in (0, 1))
    found = second_stage.rescore(second_stage.teach(learnt, len(SPECS), 100, seed=0), judged)
    is_hit = judged.is_hit.numpy()
    assert np.mean((found > np.median(found)) == is_hit) > 0.9
    assert np.mean((judged.picks.scores > 0.5) == is_hit) < 0.7


def test_flips_leave_axes_and_middle_where_they_are(second_stage: SimpleNamespace) -> None:
    random = np.random.default_rng(0)
    edge = second_stage.CROP_VOXELS
    crop = torch.zeros(1, edge, edge, edge)
    crop[0, 3, edge // 2, 5] = 1
    found = {tuple(second_stage.flip_at_random(crop, random)[0].nonzero()[0].tolist()) for _ in range(100)}
    assert found == {(z, edge // 2, x) for z in (3, edge - 4) for x in (5, edge - 6)}


def test_hits_are_candidates_on_a_particle_of_their_kind(second_stage: SimpleNamespace, picker: Picker) -> None:
    place = np.full((1, 3), 300.0)
    truth = Picks.build("a", "ribosome", place)
    names = ["ribosome", "apo-ferritin", "ribosome"]
    found = Picks.build("a", names, np.add(place, [[0], [0], [400]]), scores=[0.9, 0.8, 0.7])
    candidates = second_stage.label_candidates(picker, found, truth, ("a",), np.zeros((3, 1, 1, 1), np.float16))
    assert candidates.is_hit.tolist() == [True, False, False]
    assert [picker.specs[channel].name for channel in candidates.objects] == names


def run(second_stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["second_stage.py", "czii-sim-small", *map(str, arguments)])
    second_stage.main()


def test_end_to_end(
    second_stage: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"shape_zyx": (48, 96, 96), "noise": 0.3}
    learn = write_phantom_project(tmp_path / "learn", runs=["a"], seed=1, **options)
    judge = write_phantom_project(tmp_path / "judge", runs=["b", "c"], seed=2, **options)
    out = tmp_path / "out"
    run(second_stage, monkeypatch, learn, judge, "--steps", 3, "--seeds", 1, "--out", out)
    found = json.loads((out / "second_stage.json").read_text())
    assert found["learnt"]["runs"] == ["a"]
    assert found["judged"]["runs"] == ["b", "c"]
    assert found["judged"]["candidates"] > found["judged"]["hits"] > 0
    gain = found["after"]["total"]["value"] - found["before"]["total"]["value"]
    assert found["gain"]["total"]["value"] == pytest.approx(gain)
    assert json.dumps(found, indent=2) in capsys.readouterr().out

    same = write_phantom_project(tmp_path / "same", runs=["d"], seed=1, **options)
    with pytest.raises(SystemExit) as end:
        run(second_stage, monkeypatch, learn, same, "--out", out)
    assert end.value.code == 2
    assert "same/copick.json: holds a run that is learnt from, too" in capsys.readouterr().err
