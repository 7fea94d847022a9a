import errno
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cryofind.errors import ConfigError, CryofindError, ModelError, OutputError
from cryofind.models import build_network
from cryofind.models.sealed import write_sealed_files
from cryofind.train import TrainResult, read_metrics, train_network
from cryofind.train.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_newest_checkpoint,
    restore_network,
    save_checkpoint,
)
from cryofind.train.metrics import MetricsFile
from tests.tiny_models import TINY, TinySampler, build_tiny, cross_entropy, tiny_config


def _train(
    out: Path,
    *,
    sampler: TinySampler | None = None,
    objects: tuple[str, ...] = ("a", "b"),
    data: Mapping[str, Any] | None = None,
    **train: Any,
) -> TrainResult:
    return train_network(
        sampler or TinySampler(),
        build_tiny(seed=3),
        tiny_config(**train),
        out=out,
        validate=None,
        object_names=objects,
        loss=cross_entropy,
        data=data or {},
    )


def test_a_single_value_per_channel_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    sampler = TinySampler(size=4)
    with pytest.raises(ConfigError, match=r"^train\.batch_size: is 1, expected 2 or more with crops of 4 x 4 x 4"):
        _train(tmp_path, sampler=sampler, batch_size=1, crop_zyx=(4, 4, 4))
    assert sampler.steps == []


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _train(tmp_path)
    newest = list_checkpoints(tmp_path / "checkpoints")[-1] / "tensors.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 4
    newest.write_bytes(content)
    sampler = TinySampler()
    again = _train(tmp_path, sampler=sampler)
    assert sampler.steps == [9, 10, 11]
    assert "trying the previous checkpoint" in caplog.text
    torch.testing.assert_close(whole.network.state_dict(), again.network.state_dict(), rtol=0, atol=0)


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, Checkpoint(7, {"weight": torch.arange(12.0)}, {"skipped": 0}, {"a": {"b": 1}}))
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for position in range(len(content)):
            file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(ModelError, match="SHA-256"):
                load_checkpoint(path)
        file.write_bytes(content)
    assert load_checkpoint(path).step == 7


def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    _train(tmp_path)
    for path in list_checkpoints(tmp_path / "checkpoints"):
        (path / "state.json").unlink()
    with pytest.raises(ModelError, match="only damaged checkpoints; remove it to start anew"):
        _train(tmp_path)


def test_a_half_written_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    whole = _train(tmp_path)
    shutil.copytree(
        list_checkpoints(tmp_path / "checkpoints")[0], tmp_path / "checkpoints" / ".step-00000011.partial.1"
    )
    torch.testing.assert_close(_train(tmp_path).network.state_dict(), whole.network.state_dict(), rtol=0, atol=0)
    assert load_newest_checkpoint(tmp_path / "nothing", {}) is None


def test_a_checkpoint_of_another_training_is_refused_field_by_field(tmp_path: Path) -> None:
    _train(tmp_path)
    with pytest.raises(
        ModelError, match=r"train\.learning_rate is 0\.001 there and 0\.01 here; .* steps|train\.steps is 12 there"
    ):
        _train(tmp_path, learning_rate=1e-2, steps=20)
    with pytest.raises(ModelError, match=r"objects is \['a', 'b'\] there and \['a', 'c'\] here"):
        _train(tmp_path, objects=("a", "c"))
    with pytest.raises(ModelError, match="and 2 more; use the old recipe"):
        _train(tmp_path, learning_rate=1e-2, steps=20, seed=5, weight_decay=0.0, ema_decay=0.5)


def test_a_training_goes_on_only_with_the_same_data(tmp_path: Path) -> None:
    def describe(hashes: tuple[str, ...], **changes: Any) -> dict[str, Any]:
        runs = [{"run": f"TS_{number}", "picks_sha256": 64 * text} for number, text in enumerate(hashes)]
        return {"learning": runs, "held_out": ("TS_9",), "voxel_spacing_angstrom": 10.0, "init": None, **changes}

    _train(tmp_path, data=describe(("a", "b")))
    sampler = TinySampler()
    _train(tmp_path, sampler=sampler, data=describe(("a", "b")))
    assert sampler.steps == []
    for data, message in (
        (describe(("a", "c")), r"data\.learning\[1\]\.picks_sha256 is 'b{27}\.\.\. there and 'c{27}\.\.\. here; use"),
        (describe(("a", "b", "c")), r"data\.learning has 2 entries there and 3 here; use the old recipe and data"),
        (describe(("a", "b"), init="phantom"), r"data\.init is None there and 'phantom' here"),
        (describe(("a", "b"), held_out=()), r"data\.held_out is \['TS_9'\] there and \[\] here"),
        ({}, r"data\.held_out is \['TS_9'\] there and missing here"),
    ):
        with pytest.raises(ModelError, match=message):
            _train(tmp_path, data=data)


def test_a_training_goes_on_only_with_the_same_weights_of_projects(tmp_path: Path) -> None:
    schedule: dict[str, Any] = {"project_weights": (1, 0), "project_weights_end": (0.2, 0.8)}
    _train(tmp_path, **schedule)
    sampler = TinySampler()
    _train(tmp_path, sampler=sampler, **schedule)
    assert sampler.steps == []
    with pytest.raises(ModelError, match=r"train\.project_weights_end is \[0\.2, 0\.8\] there and \[0\.5, 0\.5\] here"):
        _train(tmp_path, project_weights=(1, 0), project_weights_end=(0.5, 0.5))
    with pytest.raises(ModelError, match=r"train\.project_weights_end_from is 1\.0 there and 0\.5 here"):
        _train(tmp_path, **schedule, project_weights_end_from=0.5)
    with pytest.raises(ModelError, match=r"train\.project_weights is \[1\.0, 0\.0\] there and \[\] here"):
        _train(tmp_path)


def test_data_that_json_cannot_hold_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _train(tmp_path, data={"spacing": float("nan")})


def test_what_does_not_change_the_weights_may_change(tmp_path: Path) -> None:
    _train(tmp_path)
    sampler = TinySampler()
    _train(tmp_path, sampler=sampler, devices="auto" if not torch.cuda.is_available() else "cpu", checkpoint_every=2)
    assert sampler.steps == []


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    tensors = build_tiny().state_dict()
    other = build_network(TINY.model_copy(update={"widths": (6, 8)}), 2)
    with pytest.raises(ModelError, match="has shape"):
        restore_network(other, tensors, "there")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "format_version"), ('{"format_version": 9}', "is 9, expected 1")]
)
def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = save_checkpoint(tmp_path, Checkpoint(1, {"weight": torch.zeros(1)}))
    tensors = (path / "tensors.safetensors").read_bytes()
    write_sealed_files(path, {"tensors.safetensors": tensors, "state.json": text.encode()})
    with pytest.raises(ModelError, match=message):
        load_checkpoint(path)


def test_steps_without_a_finite_loss_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = _train(tmp_path, sampler=TinySampler(nonfinite_steps=(2, 3, 7)))
    assert result.skipped_steps == 3
    assert caplog.text.count("step skipped") == 3
    for tensor in load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[-1]).tensors.values():
        assert torch.isfinite(tensor).all()
    losses = [row["value"] for row in read_metrics(result.history) if row["name"] == "loss"]
    assert [loss is None for loss in losses] == [step in (2, 3, 7) for step in range(12)]


def test_skipping_survives_an_interruption(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", sampler=TinySampler(nonfinite_steps=(2, 4)))
    with pytest.raises(RuntimeError):
        _train(tmp_path / "cut", sampler=TinySampler(nonfinite_steps=(2, 4), fail_at=8))
    resumed = _train(tmp_path / "cut", sampler=TinySampler(nonfinite_steps=(2, 4)))
    assert resumed.skipped_steps == 2
    torch.testing.assert_close(whole.network.state_dict(), resumed.network.state_dict(), rtol=0, atol=0)


def test_a_loss_that_stays_not_finite_ends_with_advice(tmp_path: Path) -> None:
    with pytest.raises(CryofindError, match=r"11 times in a row; lower train\.learning_rate"):
        _train(tmp_path, sampler=TinySampler(nonfinite_steps=tuple(range(1, 12))))
    for path in list_checkpoints(tmp_path / "checkpoints"):
        assert all(torch.isfinite(tensor).all() for tensor in load_checkpoint(path).tensors.values())


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        _train(tmp_path / "file" / "out")


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, Checkpoint(1, {"weight": torch.zeros(1)}))

    def fail(path: Path, content: bytes) -> None:
        raise OutputError(path, "cannot be written (No space left on device)", "free space")

    monkeypatch.setattr("cryofind.models.sealed.write_bytes", fail)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(tmp_path, Checkpoint(2, {"weight": torch.ones(1)}))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path / "step-00000001").step == 1


def test_metrics_on_a_full_disk_are_a_clear_error(tmp_path: Path) -> None:
    class FullDisk(io.StringIO):
        def flush(self) -> None:
            if not self.closed and self.getvalue():
                raise OSError(errno.ENOSPC, "No space left on device")

    with MetricsFile(tmp_path / "metrics.jsonl", 0) as metrics:
        assert metrics._file is not None
        metrics._file.close()
        metrics._file = FullDisk()
        with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot be written \(No space left"):
            metrics.append(1, {"loss": 1.0})
        metrics._file = None


def test_an_error_of_the_sampler_arrives_with_its_own_type(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        _train(tmp_path, sampler=TinySampler(fail_at=0))
    assert list_checkpoints(tmp_path / "checkpoints") == []
