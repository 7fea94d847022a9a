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

from cryofind.errors import InSampleError
from cryofind.io import open_project
from cryofind.pipeline import load_model
from cryofind.testing.projects import write_phantom_project
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid
from tests.benchmark_scripts import import_scripts

SPECS = (ParticleSpec("ribosome", 150.0, 1, score_weight=1.0), ParticleSpec("apo-ferritin", 60.0, 2, score_weight=1.0))


@pytest.fixture(scope="module")
def second_stage() -> Iterator[Any]:
    with import_scripts("quality", ("second_stage",)) as scripts:
        yield scripts.second_stage


def make_candidates(second_stage: SimpleNamespace, *, count: int = 200, seed: int = 0) -> Any:
    """Return candidates of equal scores whose crops are bright in the middle where they are hits."""
    random = np.random.default_rng(seed)
    is_hit, objects = random.random(count) < 0.5, random.integers(2, size=count)
    crops = random.normal(size=(count, *[second_stage.EDGE] * 3))
    crops[:, 12:20, 12:20, 12:20] += 2 * is_hit[:, None, None, None]
    places = np.arange(count)[:, None] * np.array([0.0, 0.0, 1000.0])
    names = np.array([spec.name for spec in SPECS])[objects]
    picks = Picks.build("R", list(names), places, scores=np.full(count, 0.5))
    tensors = (torch.from_numpy(crops.astype(np.float16)), torch.from_numpy(objects), torch.from_numpy(is_hit))
    return second_stage.Candidates(picks, picks.where(is_hit), SPECS, *tensors)


def test_crops_lie_about_their_candidates_even_at_faces(second_stage: SimpleNamespace) -> None:
    volume = np.random.default_rng(0).normal(size=(20, 40, 50)).astype(np.float32)
    grid = VoxelGrid.isotropic(volume.shape, 10.0)
    indices = np.array([[0, 0, 0], [19, 39, 49], [10.4, 20.6, 25.0]])
    crops = second_stage.cut_crops(Tomogram("R", volume, grid), grid.positions_from_indices(indices))
    half = second_stage.EDGE // 2
    nearest = np.rint(indices).astype(int)
    assert crops.shape == (3, *[2 * half] * 3)
    assert [crop[half, half, half] for crop in crops] == [np.float16(volume[tuple(index)]) for index in nearest]
    middle = crops[2][half - 5 : half + 5, half - 5 : half + 5, half - 5 : half + 5]
    assert np.array_equal(middle, volume[5:15, 16:26, 20:30].astype(np.float16))
    assert np.array_equal(crops[0][half - 1], crops[0][half + 1])  # mirrored


def test_untrained_it_changes_nothing(second_stage: SimpleNamespace) -> None:
    judged = make_candidates(second_stage, count=20)
    network = second_stage.SecondLook(len(SPECS)).eval()
    assert np.array_equal(second_stage.rescore(network, judged), judged.logits.numpy())


def test_it_learns_what_a_crop_shows(second_stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_stage, "BATCH", 24)
    learnt, judged = (make_candidates(second_stage, seed=seed) for seed in (0, 1))
    found = second_stage.rescore(second_stage.train(learnt, 30, seed=0), judged)
    is_hit = judged.is_hit.numpy()
    assert found[is_hit].min() > found[~is_hit].max()


def test_turns_leave_the_first_axis_along_the_beam(second_stage: SimpleNamespace) -> None:
    random = np.random.default_rng(0)
    crop = torch.zeros(1, 4, 4, 4)
    crop[:, 1] = 1
    turned = [second_stage.turn(crop, random)[0] for _ in range(20)]
    planes = {tuple(one.mean(dim=(1, 2)).tolist()) for one in turned}
    assert planes == {(0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)}


def test_end_to_end(
    second_stage: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"shape_zyx": (48, 96, 96), "noise": 0.3}
    write_phantom_project(tmp_path / "learn", runs=["a"], seed=1, **options)
    write_phantom_project(tmp_path / "judge", runs=["b", "c"], seed=2, **options)
    folders = [str(tmp_path / name) for name in ("learn", "judge")]
    command = [
        "second_stage.py",
        "czii-sim-small",
        *folders,
        "--steps",
        "3",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    second_stage.main()
    found = json.loads((tmp_path / "out" / "second_stage.json").read_text())
    assert set(found) == {"candidates", "before", "after", "gain"}
    assert found["gain"].keys() == found["before"].keys() >= {"total", "ribosome"}
    assert json.dumps(found, indent=2) in capsys.readouterr().out


def test_hits_are_candidates_on_a_particle_of_their_kind(
    second_stage: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_phantom_project(tmp_path / "project", runs=["a"], seed=1, shape_zyx=(48, 96, 96))
    place = open_project(project).read_picks().of_object("ribosome").positions_zyx_angstrom[:1]
    found = Picks.build(
        "a", ["ribosome", "apo-ferritin", "ribosome"], np.add(place, [[0], [0], [400]]), scores=[0.9, 0.8, 0.7]
    )
    (tmp_path / "picks").mkdir()
    found.to_csv(tmp_path / "picks" / "picks.csv")
    candidates = second_stage.find_candidates(
        load_model("czii-sim-small"), "czii-sim-small", project, tmp_path / "picks"
    )
    assert candidates.is_hit.tolist() == [True, False, False]
    names = [spec.name for spec in candidates.particles]
    assert [names[number] for number in candidates.objects] == ["ribosome", "apo-ferritin", "ribosome"]


def test_runs_that_the_model_has_seen_are_refused(
    second_stage: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_phantom_project(tmp_path / "project", runs=["a"], seed=1, shape_zyx=(48, 96, 96))
    (tmp_path / "picks").mkdir()
    Picks.empty().to_csv(tmp_path / "picks" / "picks.csv")
    monkeypatch.setattr(second_stage, "is_seen", lambda run, seen: True)
    with pytest.raises(InSampleError, match="run a"):
        second_stage.find_candidates(load_model("czii-sim-small"), "czii-sim-small", project, tmp_path / "picks")
