import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save as save_tensors

from cryofind.config import LocateConfig, ModelConfig
from cryofind.errors import ModelError, OutputError
from cryofind.models import card_objects, load_model_folder, model_hash, parse_card, save_model
from cryofind.models.sealed import hash_bytes, render_seal
from cryofind.types import ParticleSpec
from tests.tiny_models import SPECS, build_tiny, tiny_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", build_tiny(), tiny_card())
    return tmp_path / "model"


def _reseal(folder: Path, *, card: dict[str, Any] | bytes | None = None, weights: bytes | None = None) -> None:
    """Change a model by hand so that only the change itself is wrong."""
    weights = (folder / "model.safetensors").read_bytes() if weights is None else weights
    if not isinstance(card, bytes):
        document = json.loads((folder / "model.json").read_text()) if card is None else card
        card = json.dumps({**document, "weights_sha256": hash_bytes(weights)}).encode()
    contents = {"model.json": card, "model.safetensors": weights}
    for name, content in {**contents, "SHA256SUMS": render_seal(contents).encode()}.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "SHA256SUMS"])
def test_every_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    for position in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << position % 8)]) + content[position + 1 :]
        )
        with pytest.raises(ModelError, match="SHA-256"):
            load_model_folder(folder)
    path.write_bytes(content)
    load_model_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "SHA256SUMS"])
def test_truncated_and_missing_files_are_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(ModelError, match="SHA-256") as caught:
            load_model_folder(folder)
        assert name in str(caught.value) or name == "SHA256SUMS"
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: is missing"):
        model_hash(folder)
    (folder / name).mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model_folder(folder)


def test_missing_folder_and_file_instead_of_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model_folder(folder.parent / "nothing")
    with pytest.raises(ModelError, match="is not a folder"):
        load_model_folder(folder / "model.json")
    with pytest.raises(OutputError, match="is a file"):
        save_model(folder / "model.json", build_tiny(), tiny_card())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"format_version: is 2, expected 1"),
        ({"format_version": None}, "format_version"),
        ({"name": ""}, "model.json: name"),
        ({"surprise": 1}, "model.json: surprise"),
        ({"voxel_spacing_angstrom": 0}, "voxel_spacing_angstrom"),
        ({"voxel_spacing_angstrom": "wide"}, "voxel_spacing_angstrom"),
        ({"network": {"network": "res61"}}, "did you mean 'res16'"),
        ({"network": "res16"}, "model.json: network"),
        ({"objects": []}, "objects"),
        ({"thresholds": {"ribosom": 0.5}}, "'ribosom', which is not an object"),
        ({"thresholds": {"ribosome": 1.5}}, "thresholds.ribosome"),
        ({"activation": "sigmoid"}, "activation is sigmoid"),
        ({"background_channel": None}, "background_channel"),
        ({"polarity": "grey"}, "polarity"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_by_field(folder: Path, changes: dict[str, Any], message: str) -> None:
    card = json.loads((folder / "model.json").read_text())
    _reseal(folder, card={**card, **changes})
    with pytest.raises(ModelError, match=message) as caught:
        load_model_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_card_that_is_not_a_json_object_is_refused(folder: Path, text: bytes) -> None:
    _reseal(folder, card=text)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model_folder(folder)


def test_a_card_of_other_weights_is_refused(folder: Path) -> None:
    card = (folder / "model.json").read_bytes()
    _reseal(folder, card=card, weights=save_tensors({"a": torch.zeros(1)}))
    with pytest.raises(ModelError, match="weights_sha256"):
        load_model_folder(folder)


@pytest.mark.parametrize(
    ("field", "objects"),
    [
        ("name", (SPECS[0], ParticleSpec("ribosome", 10.0, 9))),
        ("label", (SPECS[0], ParticleSpec("other", 10.0, 1))),
    ],
)
def test_objects_must_differ(field: str, objects: tuple[ParticleSpec, ...]) -> None:
    with pytest.raises(ValidationError, match=f"same {field}"):
        tiny_card(objects=card_objects(objects), thresholds={})


@pytest.mark.parametrize("changes", [{"radius_angstrom": -1.0}, {"label": 0}, {"name": "two words"}])
def test_objects_must_be_sound(changes: dict[str, Any]) -> None:
    document = tiny_card().model_dump(mode="json")
    document["objects"][0].update(changes)
    document["thresholds"] = {}
    with pytest.raises(ModelError, match="objects"):
        parse_card(document, "card")


def test_a_card_changed_by_copy_is_checked_when_saved(tmp_path: Path) -> None:
    wrong = tiny_card().model_copy(update={"thresholds": {"unknown": 0.5}})
    with pytest.raises(ModelError, match="unknown"):
        save_model(tmp_path / "m", build_tiny(), wrong)
    lists = tiny_card().model_copy(update={"training_runs": [], "locate": LocateConfig(floor=0.1)})
    assert save_model(tmp_path / "m", build_tiny(), lists).training_runs == ()


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    _reseal(folder, card={**card, "network": {**card["network"], "widths": [4, 10]}})
    with pytest.raises(ModelError, match=r"has shape .*expected .*and \d+ more"):
        load_model_folder(folder)
    tensors = {"stem.0.weight": torch.zeros(1), "surplus": torch.zeros(1)}
    _reseal(folder, weights=save_tensors(tensors))
    with pytest.raises(ModelError, match="is missing"):
        load_model_folder(folder)


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch marker",)


@pytest.mark.parametrize("content", [pickle.dumps(_Payload()), b"", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 60])
def test_what_is_not_safetensors_is_refused_and_never_run(
    folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    _reseal(folder, weights=content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model_folder(folder)
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, value: float) -> None:
    network = build_tiny()
    network.state_dict()["head.weight"][0, 0] = value
    with pytest.raises(ModelError, match=r"head\.weight: is not finite as fp16"):
        save_model(tmp_path / "m", network, tiny_card(), stored_type="fp16")
    assert not (tmp_path / "m").exists()


def test_an_unknown_plug_in_is_named(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    _reseal(folder, card={**card, "network": ModelConfig(network="gone").model_dump()})
    with pytest.raises(ModelError, match="network 'gone'"):
        load_model_folder(folder)
