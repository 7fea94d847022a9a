"""What `cryofind report` says of folders that are no model, or of one that is damaged."""

import json
import shutil
from pathlib import Path

import pytest

from cryofind.errors import ModelError, OutputError
from cryofind.pipeline.ensembles import is_model
from cryofind.pipeline.report_model import gather_model, report_model
from cryofind.pipeline.training_history import read_histories


def write_metrics(folder: Path, *lines: str) -> Path:
    path = folder / "training" / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert not is_model(tmp_path)
    with pytest.raises(ModelError, match=r"holds neither model\.json nor a training; give a folder that"):
        report_model(tmp_path, tmp_path / "page")
    assert not (tmp_path / "page").exists()
    with pytest.raises(ModelError, match="is neither a folder nor the name of a shipped model"):
        report_model(tmp_path / "nothing", tmp_path / "page")
    assert not is_model(tmp_path / "nothing")


def test_a_result_of_another_command_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"made_by": "cryofind pick", "finished": "today"}))
    assert not is_model(tmp_path)
    with pytest.raises(ModelError, match="holds neither"):
        gather_model(tmp_path)


def test_broken_lines_of_the_metrics_are_left_out_and_counted(tmp_path: Path) -> None:
    write_metrics(
        tmp_path,
        '{"step": 1, "name": "loss", "value": 1.5}',
        '{"step": 2, "name": "loss", "val',
        "\x00\x00",
        '{"step": "3", "name": "loss", "value": 1}',
        '{"step": 4, "name": "loss", "value": "low"}',
        '{"step": 5, "name": ["loss"], "value": 1}',
        '{"step": 6, "name": "loss"}',
        "[1, 2]",
        '{"step": 7, "name": "loss", "value": null}',
    )
    (history,) = read_histories(tmp_path)
    assert history.broken_lines == 7
    assert history.curve("loss").steps.tolist() == [1, 7]
    assert history.steps == 7
    report = gather_model(tmp_path)
    assert report.notes[-1] == "training: 7 lines of metrics.jsonl could not be read, left out."
    numbers = report_model(tmp_path, tmp_path / "page")
    assert "1 of 7 steps were skipped" in numbers["warnings"][0]


def test_metrics_without_any_row_still_make_a_page(tmp_path: Path) -> None:
    write_metrics(tmp_path, "")
    numbers = report_model(tmp_path, tmp_path / "page")
    assert numbers["trainings"][0]["steps"] == 0


def test_checkpoints_that_cannot_be_read_leave_the_number_of_steps_unknown(tmp_path: Path) -> None:
    write_metrics(tmp_path, '{"step": 1, "name": "loss", "value": 1.5}')
    state = tmp_path / "training" / "checkpoints" / "step-00000001" / "state.json"
    state.parent.mkdir(parents=True)
    for content in ("{", "[]", "{}", '{"identity": {"train": {"steps": "many"}}}'):
        state.write_text(content)
        (history,) = read_histories(tmp_path)
        assert history.planned_steps is None
    state.write_text('{"identity": {"train": {"steps": 9}}}')
    assert read_histories(tmp_path)[0].planned_steps == 9


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    write_metrics(tmp_path, '{"step": 1, "name": "loss", "value": 1.5}')
    (tmp_path / "run.json").write_text("{")
    assert is_model(tmp_path)
    with pytest.raises(OutputError, match=r"run\.json: cannot be read"):
        report_model(tmp_path, tmp_path / "page")


@pytest.mark.parametrize(
    "record",
    [
        {"projects": "everywhere", "selection": [1], "environment": "laptop", "config": [2], "finished": 5},
        {"projects": [None, 7, {}], "selection": {"voxel_spacing_angstrom": "wide"}, "config": {"train": 3}},
        {"projects": [], "config": {"train": {"steps": "many"}}},
    ],
)
def test_odd_records_do_not_stop_the_page(model: Path, tmp_path: Path, record: dict[str, object]) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(model, odd)
    (odd / "run.json").write_text(json.dumps({"made_by": "cryofind train", **record}))
    assert report_model(odd, tmp_path / "page")["examples"] == []


def test_damaged_weights_are_an_error(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="does not match its SHA-256"):
        report_model(damaged, tmp_path / "page")
