"""Model folders in, a picker out."""

import logging
from collections.abc import Sequence
from pathlib import Path

from cryofind.config import Config, load_config
from cryofind.errors import ModelError
from cryofind.models import ModelCard, find_model, load_model_folder
from cryofind.pipeline.ensembles import member_folders
from cryofind.pipeline.picker import Picker

logger = logging.getLogger("cryofind")


def load_model(
    *models: str | Path, config: Config | None = None, recipe: Path | None = None, settings: Sequence[str] = ()
) -> Picker:
    """Load a model, or several as an ensemble, ready to pick.

    Parameters
    ----------
    models
        Names of shipped models, model folders, or folders of a fold ensemble.
    config
        A resolved recipe. Default: the model's own preprocessing and location, changed by `recipe` and `settings`.
    recipe, settings
        See `cryofind.load_config`.

    Returns
    -------
    Picker
        With `pick(volume_zyx, voxel_spacing_angstrom=...)`.

    Raises
    ------
    ModelError
        If a model is missing, damaged, or members do not fit each other.
    """
    folders = [member for model in models for member in member_folders(find_model(model))]
    loaded = [load_model_folder(folder) for folder in folders]
    if not loaded:
        raise ModelError("load_model", "no model is named", "give a model folder or name")
    cards = tuple(member.card for member in loaded)
    _check_members_agree(cards, folders)
    if config is None:
        config = load_config(recipe, settings, base=stages_of_model(cards[0]))
        _warn_of_other_normalization(config, cards[0])
    return Picker(tuple(member.network for member in loaded), cards, tuple(folders), config)


def stages_of_model(card: ModelCard) -> dict[str, dict[str, object]]:
    """Return the stages of the recipe that must be at prediction what they were in training."""
    return {
        "preprocess": card.preprocess.model_dump(),
        "model": card.network.model_dump(),
        "locate": card.locate.model_dump(),
    }


def _warn_of_other_normalization(config: Config, card: ModelCard) -> None:
    if config.preprocess.normalization != card.preprocess.normalization:
        logger.warning(
            "the model was trained with normalization '%s', not '%s': expect worse picks",
            card.preprocess.normalization,
            config.preprocess.normalization,
        )


def _check_members_agree(cards: Sequence[ModelCard], folders: Sequence[Path]) -> None:
    first = cards[0]
    for card, folder in zip(cards[1:], folders[1:], strict=True):
        for what, found, expected in (
            ("objects", [spec.name for spec in card.specs()], [spec.name for spec in first.specs()]),
            ("activation", card.activation, first.activation),
            ("voxel_spacing_angstrom", card.voxel_spacing_angstrom, first.voxel_spacing_angstrom),
            ("preprocess", card.preprocess, first.preprocess),
        ):
            if found != expected:
                problem = f"{what} {found} differ from {expected} of {folders[0]}"
                raise ModelError(folder, problem, "put only like models into an ensemble")
