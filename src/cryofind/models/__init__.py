"""Networks, and the folders they are kept in. Networks know nothing of files of data or of picks."""

from cryofind.memory import ask_for_huge_pages
from cryofind.model_files import shipped_model_names
from cryofind.models.blocks import OUTPUT_STRIDE, ToStrideTwo
from cryofind.models.card import AveragedModel, CardObject, ModelCard, SeenRun, card_objects, parse_card
from cryofind.models.familiar import FamiliarKind, TraitRange
from cryofind.models.features import measure_features
from cryofind.models.fold import fold_batch_norm
from cryofind.models.precision import choose_precision
from cryofind.models.soup import average_networks, measure_kinship
from cryofind.models.unet import ResidualUNet, build_network, network_multiple
from cryofind.models.weights import (
    DEFAULT_MODEL,
    LoadedModel,
    find_model,
    initialize_from,
    load_model_folder,
    model_hash,
    round_as_stored,
    save_model,
)
from cryofind.models.widen import can_widen, widen_weights

__all__ = [
    "DEFAULT_MODEL",
    "OUTPUT_STRIDE",
    "AveragedModel",
    "CardObject",
    "FamiliarKind",
    "LoadedModel",
    "ModelCard",
    "ResidualUNet",
    "SeenRun",
    "ToStrideTwo",
    "TraitRange",
    "average_networks",
    "build_network",
    "can_widen",
    "card_objects",
    "choose_precision",
    "find_model",
    "fold_batch_norm",
    "initialize_from",
    "load_model_folder",
    "measure_features",
    "measure_kinship",
    "model_hash",
    "network_multiple",
    "parse_card",
    "round_as_stored",
    "save_model",
    "shipped_model_names",
    "widen_weights",
]

ask_for_huge_pages()
