"""Model folders: `model.safetensors`, `model.json` and their seal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cryofind import model_files
from cryofind.errors import ConfigError, ModelError, advise_known_names
from cryofind.model_files import CARD_NAME, WEIGHTS_NAME, shipped_model_names
from cryofind.models.card import ModelCard, parse_card
from cryofind.models.sealed import hash_bytes, read_sealed_files, write_sealed_files
from cryofind.models.unet import ResidualUNet, build_network, find_heads
from cryofind.models.widen import can_widen, widen_weights

# What picks when no model is named.
DEFAULT_MODEL = "czii-sim"

StoredType = Literal["bf16", "fp16", "float32"]
STORED_TYPE: StoredType = "bf16"
_STORED_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}


class Named(Protocol):
    """Anything with the name of an object: a `CardObject`, a `ParticleSpec`."""

    @property
    def name(self) -> str:
        """Name of the object."""
        ...


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready for use.

    Parameters
    ----------
    network
        In eval mode and float32.
    card
        What the model says about itself.
    folder
        Where it came from.
    """

    network: nn.Module
    card: ModelCard
    folder: Path


def save_model(
    folder: Path, network: nn.Module, card: ModelCard, *, stored_type: StoredType = STORED_TYPE
) -> ModelCard:
    """Write a model folder and return its card with the hash of the weights filled in.

    Parameters
    ----------
    folder
        Where to write; an older model there is replaced.
    network
        The network that `card.network` and `card.objects` describe.
    card
        Its card.
    stored_type
        Type of stored kernels. One-dimensional tensors (norms, biases) stay float32: they are small, and statistics
        of a norm lose more by rounding.

    Raises
    ------
    ModelError
        If a weight is not finite or too large for the type, or a field of the card (as changed by `model_copy`)
        is out of range.
    OutputError
        If the file system refuses.
    """
    tensors = {name: _as_stored(name, tensor, stored_type) for name, tensor in network.state_dict().items()}
    weights = save_tensors(tensors)
    fields = {name: getattr(card, name) for name in ModelCard.model_fields}
    card = parse_card({**fields, "weights_sha256": hash_bytes(weights)}, str(folder / CARD_NAME))
    text = json.dumps(card.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
    write_sealed_files(folder, {WEIGHTS_NAME: weights, CARD_NAME: text.encode()})
    return card


def round_as_stored(network: nn.Module) -> nn.Module:
    """Return a network after rounding its weights, in place, to those that `save_model` keeps; errors as there."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.copy_(_as_stored(name, tensor, STORED_TYPE))
    return network


def load_model_folder(folder: Path) -> LoadedModel:
    """Return the model of a folder, verified against its hashes. Nothing in the folder is executed.

    Raises
    ------
    ModelError
        If the folder or a file is missing or damaged, the card is of another format version or does not fit, the
        network is not known, or the weights are those of another architecture.
    """
    contents = read_sealed_files(folder, (WEIGHTS_NAME, CARD_NAME))
    card = parse_card(_parse_json(folder / CARD_NAME, contents[CARD_NAME]), str(folder / CARD_NAME))
    weights_path = folder / WEIGHTS_NAME
    if card.weights_sha256 != hash_bytes(contents[WEIGHTS_NAME]):
        raise ModelError(weights_path, "does not match weights_sha256 of the card", "fetch or write the model again")
    network = _build_from_card(card, folder / CARD_NAME)
    tensors = read_tensors(contents[WEIGHTS_NAME], weights_path)
    check_tensors(tensors, network.state_dict(), str(weights_path))
    network.load_state_dict(tensors)
    return LoadedModel(network.float().eval(), card, folder)


def read_tensors(content: bytes, where: Path) -> dict[str, Tensor]:
    """Return the tensors of safetensors bytes; `where` names the file in errors.

    Raises
    ------
    ModelError
        If the bytes are not safetensors.
    """
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except (SafetensorError, ValueError) as error:
        raise ModelError(where, f"is not a safetensors file ({error})", "fetch or write it again") from error
    return tensors


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes of tensors with those of a network.

    Raises
    ------
    ModelError
        With the first differences.
    """
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is not part of the network" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & found.keys()
        if found[name].shape != expected[name].shape
    ]
    if problems:
        raise ModelError(where, _summarize(sorted(problems)), "use the weights and the card of one model")


def model_hash(folder: Path) -> str:
    """Return the SHA-256 of a model's card, which holds that of its weights: the identity of the model.

    Raises
    ------
    ModelError
        If a file is missing or damaged.
    """
    return hash_bytes(read_sealed_files(folder, (WEIGHTS_NAME, CARD_NAME))[CARD_NAME])


def find_model(name_or_folder: str | Path) -> Path:
    """Return the folder of a model, given as a folder or by the name of a shipped model.

    Raises
    ------
    ModelError
        If it is neither, with the nearest name.
    """
    text = str(name_or_folder)
    if text in shipped_model_names() and not Path(text).is_dir():
        return model_files.SHIPPED_MODELS / text
    if Path(text).is_dir():
        return Path(text)
    if Path(text).is_file():
        raise ModelError(text, "is a file, expected the folder of a model", "give the folder that holds model.json")
    advice = advise_known_names(text, shipped_model_names())
    raise ModelError(f"model '{text}'", "is neither a folder nor the name of a shipped model", advice)


def initialize_from(network: nn.Module, objects: Sequence[Named], loaded: LoadedModel) -> tuple[str, ...]:
    """Start a network from a trained model: its trunk, and the channels of objects of the same name.

    Parameters
    ----------
    network
        Fresh network of the same architecture, or a wider and deeper residual U-Net, which then starts as a copy of the
        model's (`widen_weights`); changed in place. Its last layer is a Conv3d called `head`.
    objects
        Its objects in channel order.
    loaded
        The trained model.

    Returns
    -------
    tuple of str
        Objects whose channels were kept; others (and, between softmax and sigmoid, all) start fresh.

    Raises
    ------
    ModelError
        If the architectures differ, or objects differ and the network has no layer called `head`.
    """
    names = tuple(entry.name for entry in objects)
    target = network.state_dict()
    source = _weights_to_start_from(loaded.network, network)
    head_names = {name for head, _ in find_heads(network) for name in (f"{head}.weight", f"{head}.bias")}
    if not head_names and names != loaded.card.object_names:
        raise ModelError(loaded.folder, "the network has no layer called 'head'", "train without --init")
    trunk = {name: tensor for name, tensor in source.items() if name not in head_names}
    check_tensors(trunk, {name: t for name, t in target.items() if name not in head_names}, str(loaded.folder))
    channels = _pair_channels(network, names, loaded)
    with torch.no_grad():
        for name, tensor in target.items():
            if name not in head_names:
                tensor.copy_(source[name])
                continue
            for new, old in channels.values():
                tensor[new].copy_(source[name][old])
    return tuple(name for name in names if name in channels) if head_names else names


def _weights_to_start_from(trained: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """Return the trained weights, in the shapes of the network where that is a larger one of the same kind."""
    if not can_widen(trained, network):
        return trained.state_dict()
    return widen_weights(cast(ResidualUNet, trained), cast(ResidualUNet, network))


def _pair_channels(network: nn.Module, names: tuple[str, ...], loaded: LoadedModel) -> dict[str, tuple[int, int]]:
    heads = [head for _, head in find_heads(network)]
    if not heads:
        return {}
    new_offset = heads[0].out_channels - len(names)
    old_offset = 1 if loaded.card.background_channel == 0 else 0
    if new_offset != old_offset:
        return {}
    old_names = loaded.card.object_names
    pairs = {
        name: (index + new_offset, old_names.index(name) + old_offset)
        for index, name in enumerate(names)
        if name in old_names
    }
    # the empty name cannot be an object's: it stands for the background
    return {**pairs, "": (0, 0)} if old_offset else pairs


def _as_stored(name: str, tensor: Tensor, stored_type: StoredType) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
    if not tensor.is_floating_point():
        return tensor
    stored = tensor.to(torch.float32 if tensor.ndim < 2 else _STORED_TYPES[stored_type])
    if not bool(torch.isfinite(stored).all()):
        raise ModelError(f"weight {name}", f"is not finite as {stored_type}", "train again with a lower learning rate")
    return stored


def _parse_json(path: Path, content: bytes) -> object:
    try:
        document: object = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(path, f"is not JSON ({error})", "give a model.json written by cryofind") from error
    return document


def _build_from_card(card: ModelCard, path: Path) -> nn.Module:
    try:
        return build_network(card.network, len(card.objects))
    except ConfigError as error:
        raise ModelError(f"{path}: {error.subject}", error.problem, error.advice) from error


def _summarize(problems: list[str]) -> str:
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
