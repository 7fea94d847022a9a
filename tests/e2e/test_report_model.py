"""`cryofind report MODEL_DIR`: the page of a tiny trained model, with its curves, crops and card."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofind.cli import main
from cryofind.models import load_model_folder, shipped_model_names
from cryofind.pipeline.ensembles import is_model
from cryofind.pipeline.report_model import gather_model, report_model
from cryofind.report.training_facts import ExampleCrop
from cryofind.train import read_metrics
from tests.e2e.conftest import TINY, Run, copy_project

# A crop ends where the tomogram goes on.
ROOM = 0.02


def test_the_page_shows_the_training_its_crops_and_the_card(model: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("report", model, "--out", tmp_path / "page")
    assert code == 0
    assert "index.html" in out
    page = (tmp_path / "page" / "index.html").read_text()
    numbers = json.loads((tmp_path / "page" / "report.json").read_text())
    assert numbers["kind"] == "model"
    (training,) = numbers["trainings"]
    rows = read_metrics(model / "training" / "metrics.jsonl")
    losses = [row["value"] for row in rows if row["name"] == "loss"]
    assert training["steps"] == training["planned_steps"] == len(losses) == 12
    assert training["last"]["loss"] == losses[-1]
    assert [step for step, _ in training["validation"][""]] == [6, 12]
    assert page.count("<figcaption>Loss</figcaption>") == 1
    card = load_model_folder(model).card
    for name, threshold in card.thresholds.items():
        assert name in page
        assert f"{threshold:.4f}" in page
    assert "12 steps" in page
    assert "validate" in page


def test_crops_are_of_annotated_particles_of_the_held_out_run(model: Path) -> None:
    report = gather_model(model)
    assert report.finished
    assert report.examples_source == "From held-out run P_3."
    assert report.notes == ()
    assert report.card is not None
    names = [spec.name for spec in report.card.specs]
    assert {crop.object_name for crop in report.examples} <= set(names)
    darkness = []
    for crop in report.examples:
        channel = names.index(crop.object_name)
        assert crop.run == "P_3"
        assert crop.grey.shape == tuple(2 * size for size in crop.target.shape[1:])
        assert crop.target.shape == crop.prediction.shape == (len(names), *crop.target.shape[1:])
        row, column = (int(place) // 2 for place in crop.center)
        # The target is drawn where the particle is.
        assert crop.target[channel, row, column] == 1
        assert 0 <= crop.prediction.min() <= crop.prediction.max() <= 1
        assert 0 < crop.score <= 1
        darkness.append(crop.grey.mean() - crop.grey[_in_circle(crop)].mean())
    # Particles of the phantoms are dark.
    assert np.mean(darkness) > 0.2
    counts = [sum(crop.object_name == name for crop in report.examples) for name in names]
    assert 0 < max(counts) <= 3


def _in_circle(crop: ExampleCrop) -> np.ndarray:
    assert crop.radius_pixels is not None
    rows, columns = np.indices(crop.grey.shape)
    return np.asarray(np.hypot(rows - crop.center[0], columns - crop.center[1]) < 0.8 * crop.radius_pixels)


def test_the_prediction_of_a_crop_is_that_of_the_whole_tomogram(model: Path, project: Path) -> None:
    from cryofind.io import open_project
    from cryofind.pipeline import load_model

    picker = load_model(model)
    (entry,) = open_project(project).select_tomograms("", runs=("P_3",))
    prepared = picker.prepare(entry.read())
    whole = picker.predict(prepared).volume
    for crop in gather_model(model).examples:
        voxel = prepared.grid.nearest_indices_from_positions(crop.position_zyx_angstrom).tolist()
        z, y, x = (slice(max(index // 2 - 1, 0), index // 2 + 2) for index in voxel)
        channel = list(whole.objects).index(crop.object_name)
        assert crop.score == pytest.approx(float(whole.probabilities[channel, z, y, x].max()), rel=ROOM)


def test_tomograms_that_moved_are_noted_and_the_page_is_made(
    model: Path, project: Path, tmp_path: Path, run: Run
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    record = json.loads((moved / "run.json").read_text())
    (moved / "run.json").write_text(json.dumps({**record, "projects": [str(tmp_path / "gone" / "copick.json")]}))
    numbers = report_model(moved, tmp_path / "page")
    assert numbers["examples"] == []
    assert any("moved or cannot be read" in note for note in numbers["notes"])
    assert len(numbers["trainings"]) == 1
    copied = copy_project(project, tmp_path / "project")
    (moved / "run.json").write_text(json.dumps({**record, "projects": [str(copied)]}))
    assert report_model(moved, tmp_path / "page")["examples"]
    shutil.rmtree(next(copied.parent.rglob("*P_3*")))
    assert report_model(moved, tmp_path / "page")["examples"] == []


def test_picks_that_changed_since_the_training_are_not_shown(model: Path, project: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    copied = copy_project(project, tmp_path / "project")
    for path in copied.parent.rglob("P_3/Picks/*.json"):
        document = json.loads(path.read_text())
        for point in document["points"]:
            point["location"]["z"] += 4.0
        path.write_text(json.dumps(document))
    record = json.loads((changed / "run.json").read_text())
    (changed / "run.json").write_text(json.dumps({**record, "projects": [str(copied)]}))
    report = gather_model(changed)
    assert report.examples == ()
    assert "has other picks than in the training" in report.notes[0]


def test_a_training_that_has_not_ended_says_so(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(model, cut, ignore=shutil.ignore_patterns("model.*", "SHA256SUMS"))
    record = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps({key: record[key] for key in ("made_by", "kind")}))
    metrics = cut / "training" / "metrics.jsonl"
    rows = [row for row in read_metrics(metrics) if row["step"] <= 7]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 8, "na')
    report = gather_model(cut)
    assert report.is_running_or_cut
    assert report.card is None
    (history,) = report.histories
    assert (history.steps, history.planned_steps, history.broken_lines) == (7, 12, 1)
    numbers = report_model(cut, tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Not finished: running, or cut off" in page
    assert "There is no model yet" in page
    assert numbers["card"] is None


def test_a_shipped_model_is_a_card_alone(tmp_path: Path) -> None:
    (name, *_) = shipped_model_names()
    assert is_model(Path(name))
    numbers = report_model(Path(name), tmp_path)
    assert numbers["trainings"] == []
    assert "no curves: the card alone" in numbers["notes"][0]
    assert "What a raw score is worth" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("keep", ["refit", "ensemble"])
def test_folds_are_shown_together(project: Path, tmp_path: Path, keep: str) -> None:
    out = tmp_path / "folds"
    settings = [part for setting in (*TINY, "train.steps=3") for part in ("--set", setting)]
    runs = [part for name in ("P_1", "P_2") for part in ("--run", name)]
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "train", str(project), "--out", str(out), "--folds", "2", "--keep", keep, *runs, *settings])
    assert stopped.value.code == 0
    report = gather_model(out, examples_each=1)
    expected = ["fold 1", "fold 2"] + (["all runs"] if keep == "refit" else [])
    assert [history.name for history in report.histories] == expected
    assert report.card is not None
    assert report.examples_source.startswith("From training run")
    facts = dict(report.card.lines)
    assert ("models" in facts) == (keep == "ensemble")
    numbers = report_model(out, tmp_path / "page", examples_each=1)
    assert [training["steps"] for training in numbers["trainings"]] == [3] * len(expected)
