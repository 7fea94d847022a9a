"""`cryofind tune --soup`: several models become one that is tuned, picks, and says where it comes from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cryofind.models import load_model_folder, save_model
from cryofind.pipeline import load_model
from tests.e2e.conftest import Run

TUNE = ("--run", "P_4", "--set", "tune.min_picks=1")


def read_card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return card


@pytest.fixture(scope="module")
def sibling(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose weights are near those of the tiny one, and which has seen one run more."""
    loaded = load_model_folder(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in loaded.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.randn(tensor.shape, generator=generator).clamp(-3, 3))
    more = loaded.card.training_runs[0].model_copy(update={"run": "other", "volume_sha256": ("0" * 64,)})
    changes = {
        "name": "sibling",
        "training_runs": (*loaded.card.training_runs, more.model_copy(update={"role": "tune"})),
    }
    folder = tmp_path_factory.mktemp("sibling") / "sibling"
    save_model(folder, loaded.network, loaded.card.model_copy(update=changes))
    return folder


def test_two_models_become_one_that_is_tuned_and_picks(
    project: Path, model: Path, sibling: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "soup"
    code, text, err = run("tune", project, "--model", model, "--model", sibling, "--soup", "--out", out, *TUNE)
    assert code == 0, err
    assert "threshold" in text
    assert "little in common" not in err

    means = [load_model_folder(folder).network.state_dict() for folder in (model, sibling)]
    for name, tensor in load_model_folder(out).network.state_dict().items():
        if tensor.is_floating_point():
            mean = (means[0][name].double() + means[1][name].double()) / 2
            expected = mean.float().bfloat16().float() if tensor.ndim > 1 else mean.float()
            assert torch.equal(tensor, expected), name

    card = read_card(out)
    assert card["name"] == "soup"
    assert [(entry["name"], entry["weights_sha256"]) for entry in card["averaged_from"]] == [
        (read_card(folder)["name"], read_card(folder)["weights_sha256"]) for folder in (model, sibling)
    ]
    roles = [(seen["run"], seen["role"]) for seen in card["training_runs"]]
    assert roles == [("P_1", "train"), ("P_2", "train"), ("P_3", "validate"), ("other", "tune"), ("P_4", "tune")]
    assert set(card["metrics"]) == {"tuned_f_beta", "tuned_in_sample"}
    assert [kind["runs"] for kind in card["familiar"]] == [2, 1]  # of training, once; of tuning

    assert "averaged from: tiny, sibling" in run("info", out)[1]
    code, _, err = run("pick", project, "--model", out, "--out", tmp_path / "picks", "--run", "P_4")
    assert code == 0, err
    record = json.loads((tmp_path / "picks" / "run.json").read_text())
    assert len(record["models"]) == 1
    # What was tuned is what is stored: on the run that was tuned on, the folder reaches what its card says.
    report = json.loads(run("score", tmp_path / "picks", project, "--run", "P_4", "--in-sample", "--json")[1])
    for name, f_beta in card["metrics"]["tuned_f_beta"].items():
        assert report["objects"][name]["f_beta"] == pytest.approx(f_beta, abs=1e-6), name


def test_a_soup_of_one_model_with_itself_is_that_model_tuned(
    project: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    soup, plain = tmp_path / "soup", tmp_path / "plain"
    shutil.copytree(model, tmp_path / "copy")
    copies = ("--model", model, "--model", tmp_path / "copy", "--soup")
    for arguments in ((*copies, "--out", soup), ("--model", model, "--out", plain)):
        code, _, err = run("tune", project, *arguments, *TUNE)
        assert code == 0, err
    assert (soup / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    found, expected = read_card(soup), read_card(plain)
    for field in ("calibrated_for", "locate", "training_runs", "familiar", "weights_sha256"):
        assert found[field] == expected[field], field
    assert found["metrics"]["tuned_f_beta"] == expected["metrics"]["tuned_f_beta"]
    # a model of its own may keep the calibration of objects that could not be tuned, a soup not
    tuned = [name for name, f_beta in found["metrics"]["tuned_f_beta"].items() if f_beta]
    assert set(found["calibration"]) == set(tuned) <= set(expected["calibration"])
    for name in tuned:
        assert found["thresholds"][name] == expected["thresholds"][name]
        assert found["calibration"][name] == expected["calibration"][name]
    assert (len(found["averaged_from"]), len(expected["averaged_from"])) == (2, 0)


def test_a_soup_has_seen_what_any_of_its_models_saw(
    project: Path, model: Path, sibling: Path, tmp_path: Path, run: Run
) -> None:
    soup = ("--model", sibling, "--model", model, "--soup", "--out", tmp_path / "soup")
    code, _, err = run("tune", project, *soup, "--run", "P_1")
    assert code == 2
    assert "P_1" in err
    assert "--in-sample" in err
    assert not (tmp_path / "soup").exists()


def test_what_is_no_soup_is_refused(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    tune = ("tune", project, "--out", tmp_path / "soup", "--soup", *TUNE, "--model", model)
    code, _, err = run(*tune)
    assert code == 2
    assert (
        err.strip()
        .splitlines()[-1]
        .endswith("--soup: found 1 model, expected 2 or more; give --model for each model to average")
    )
    code, _, err = run(*tune, "--model", "czii-sim-small")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "czii-sim-small: preprocess" in err
    assert not (tmp_path / "soup").exists()


def test_several_models_without_soup_stay_an_ensemble(
    project: Path, model: Path, sibling: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "both"
    code, _, err = run("tune", project, "--model", model, "--model", sibling, "--out", out, *TUNE)
    assert code == 0, err
    assert [card.name for card in load_model(out).cards] == ["tiny", "sibling"]
    assert read_card(out / "member_2")["calibrated_for"]["members"] == 2
