import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cryofind import model_files
from cryofind.config import ModelConfig
from cryofind.errors import ModelError
from cryofind.models import (
    CardObject,
    SeenRun,
    build_network,
    card_objects,
    find_model,
    initialize_from,
    load_model_folder,
    model_hash,
    save_model,
    shipped_model_names,
)
from cryofind.models.weights import StoredType
from cryofind.types import Calibration, CandidateCounts, ParticleSpec
from tests.tiny_models import SPECS, TINY, build_tiny, registered_network, tiny_card


@pytest.mark.parametrize(
    ("stored_type", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("float32", torch.float32)]
)
def test_weights_come_back_as_they_were_rounded(tmp_path: Path, stored_type: StoredType, dtype: torch.dtype) -> None:
    network = build_tiny().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    save_model(tmp_path / "m", network, tiny_card(), stored_type=stored_type)
    loaded = load_model_folder(tmp_path / "m")
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        expected = tensor.to(dtype).to(tensor.dtype) if tensor.ndim > 1 else tensor
        torch.testing.assert_close(loaded.network.state_dict()[name], expected, rtol=0, atol=0)


def test_saving_a_loaded_model_again_gives_the_same_bytes(tmp_path: Path) -> None:
    save_model(tmp_path / "a", build_tiny(), tiny_card())
    loaded = load_model_folder(tmp_path / "a")
    save_model(tmp_path / "b", loaded.network, loaded.card)
    for name in ("model.safetensors", "model.json", "SHA256SUMS"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert model_hash(tmp_path / "a") == model_hash(tmp_path / "b")


def test_card_comes_back(tmp_path: Path) -> None:
    card = tiny_card(
        calibration={"ribosome": Calibration.line(1.5, -0.25, CandidateCounts(0.003, 40, 9, 10, 0.3))},
        calibrated_for={"engine": "torch", "members": 1},
        training_runs=[SeenRun(run="TS_1", volume_sha256=("ab",), picks_sha256="cd", role="validate")],
        metrics={"f_beta": 0.5, "missing": None},
        flavours=["denoised"],
        polarity="dark",
    )
    saved = save_model(tmp_path / "m", build_tiny(), card)
    loaded = load_model_folder(tmp_path / "m").card
    assert loaded == saved
    assert loaded.model_copy(update={"weights_sha256": ""}) == card
    assert loaded.activation == "softmax"
    assert loaded.background_channel == 0


def test_specs_carry_the_thresholds_of_the_model() -> None:
    specs = tiny_card().specs()
    assert [spec.name for spec in specs] == ["ribosome", "apo-ferritin"]
    assert [spec.score_threshold for spec in specs] == [0.25, None]
    assert specs[1].score_weight == 2.0
    assert CardObject.from_spec(SPECS[0]).to_spec() == SPECS[0]


def test_an_older_model_is_replaced_as_a_whole_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_model(folder, build_tiny(seed=1), tiny_card())
    first = model_hash(folder)
    save_model(folder, build_tiny(seed=2), tiny_card())
    second = model_hash(folder)
    (folder / "training").mkdir()
    save_model(folder, build_tiny(seed=3), tiny_card())
    assert len({first, second, model_hash(folder)}) == 3
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "model.json", "model.safetensors", "training",
    ]  # fmt: skip


def test_seal_is_what_sha256sum_reads(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(), tiny_card())
    lines = (tmp_path / "m" / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["model.json", "model.safetensors"]
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert lines[1].startswith(card["weights_sha256"])


def test_models_are_found_by_folder_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "SHIPPED_MODELS", tmp_path)
    save_model(tmp_path / "phantom", build_tiny(), tiny_card())
    assert shipped_model_names() == ("phantom",)
    assert find_model("phantom") == tmp_path / "phantom"
    assert find_model(str(tmp_path / "phantom")) == tmp_path / "phantom"
    with pytest.raises(ModelError, match="did you mean 'phantom'"):
        find_model("fantom")
    with pytest.raises(ModelError, match="is a file"):
        find_model(tmp_path / "phantom" / "model.json")


def test_init_keeps_trunk_and_channels_of_the_same_name(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(seed=1), tiny_card(), stored_type="float32")
    loaded = load_model_folder(tmp_path / "m")
    fresh = build_tiny(3, seed=2)
    before = fresh.state_dict()["head.weight"].clone()
    objects = [ParticleSpec("virus", 100.0, 5), SPECS[1], ParticleSpec("other", 50.0, 6)]
    assert initialize_from(fresh, objects, loaded) == ("apo-ferritin",)
    old, new = loaded.network.state_dict(), fresh.state_dict()
    for name in old:
        if not name.startswith("head"):
            torch.testing.assert_close(new[name], old[name], rtol=0, atol=0)
    for part in ("head.weight", "head.bias"):
        torch.testing.assert_close(new[part][[0, 2]], old[part][[0, 2]], rtol=0, atol=0)
    torch.testing.assert_close(new["head.weight"][[1, 3]], before[[1, 3]], rtol=0, atol=0)


def test_init_with_the_same_objects_copies_everything(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(seed=1), tiny_card(), stored_type="float32")
    loaded, fresh = load_model_folder(tmp_path / "m"), build_tiny(seed=2).eval()
    assert initialize_from(fresh, SPECS, loaded) == ("ribosome", "apo-ferritin")
    images = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh(images), loaded.network(images), rtol=0, atol=0)


def test_init_between_activations_starts_the_head_fresh(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(seed=1), tiny_card(), stored_type="float32")
    fresh = build_tiny(2, seed=2, activation="sigmoid")
    before = fresh.state_dict()["head.weight"].clone()
    assert initialize_from(fresh, SPECS, load_model_folder(tmp_path / "m")) == ()
    torch.testing.assert_close(fresh.state_dict()["head.weight"], before, rtol=0, atol=0)


def test_init_from_a_sigmoid_model(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"activation": "sigmoid"})
    save_model(tmp_path / "m", build_tiny(seed=1, activation="sigmoid"), tiny_card(network=config))
    loaded, fresh = load_model_folder(tmp_path / "m"), build_tiny(2, seed=2, activation="sigmoid")
    assert initialize_from(fresh, SPECS[::-1], loaded) == ("apo-ferritin", "ribosome")
    head = loaded.network.state_dict()["head.weight"]
    torch.testing.assert_close(fresh.state_dict()["head.weight"], head.flip(0), rtol=0, atol=0)


def test_init_from_another_architecture_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(), tiny_card())
    wider = build_network(TINY.model_copy(update={"widths": (6, 8)}), 2)
    with pytest.raises(ModelError, match=r"has shape \(4,\), expected \(6,\)"):
        initialize_from(wider, SPECS, load_model_folder(tmp_path / "m"))


def test_init_of_a_larger_network_starts_with_the_same_answers(tmp_path: Path) -> None:
    trained = build_tiny(seed=1)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            assert module.running_mean is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    save_model(tmp_path / "m", trained, tiny_card(), stored_type="float32")
    loaded = load_model_folder(tmp_path / "m")
    larger = TINY.model_copy(update={"widths": (8, 24), "encoder_blocks": (2, 2), "decoder_blocks": (1,)})
    network = build_network(larger, 2).eval()
    assert initialize_from(network, SPECS, loaded) == ("ribosome", "apo-ferritin")
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), loaded.network(images), rtol=1e-4, atol=1e-5)


def test_copies_of_a_channel_part_when_they_are_trained(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build_tiny(seed=1), tiny_card(), stored_type="float32")
    network = build_network(TINY.model_copy(update={"widths": (8, 8)}), 2)
    initialize_from(network, SPECS, load_model_folder(tmp_path / "m"))
    network(torch.randn(2, 1, 8, 8, 8)).square().sum().backward()
    gradient = dict(network.named_parameters())["stem.0.weight"].grad
    assert gradient is not None
    assert not torch.allclose(gradient[:4], gradient[4:])


def _headless(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(in_channels, out_channels, 2, 2))


def test_init_without_a_head_needs_the_same_objects(tmp_path: Path) -> None:
    config = ModelConfig(network="headless")
    with registered_network("headless", _headless):
        save_model(tmp_path / "m", build_network(config, 2), tiny_card(network=config), stored_type="float32")
        loaded, fresh = load_model_folder(tmp_path / "m"), build_network(config, 2)
    assert initialize_from(fresh, card_objects(SPECS), loaded) == ("ribosome", "apo-ferritin")
    torch.testing.assert_close(fresh.state_dict(), loaded.network.state_dict(), rtol=0, atol=0)
    with pytest.raises(ModelError, match="head"):
        initialize_from(fresh, card_objects(SPECS[::-1]), loaded)
