"""Weight soups: several models averaged into one, with what is known of all of them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from cryofind.config import ModelConfig
from cryofind.errors import ModelError
from cryofind.models import (
    AveragedModel,
    FamiliarKind,
    ModelCard,
    average_networks,
    measure_kinship,
    round_as_stored,
)
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.records import describe_environment
from cryofind.pipeline.tuning import DEFAULT_THRESHOLD, Tuning

logger = logging.getLogger("cryofind")

# Measured between kernels of res16: 0.99 and more after fine-tuning, also for a new object; 0.2 to 0.4 between
# trainings from one random start on other data or with other augmentation, whose mean picked worse than both (F-beta
# 0.67 of 0.76 and 0.75); 0.01 between random starts, whose mean found nothing.
MIN_KINSHIP = 0.5
_ADVICE = "average models that were fine-tuned from the same one (train --init)"


def average_models(picker: Picker, *, name: str) -> Picker:
    """Return one model whose weights are the means of those of an ensemble's members; it is still to be tuned.

    Parameters
    ----------
    picker
        Two members or more, of one network, preprocessing and contrast. The first gives radii, labels and settings of
        location, as in an ensemble.
    name
        Name of the new model.

    Returns
    -------
    Picker
        A single network with the numbers that `save_model` will keep. Its card has seen the runs of all members and
        says which they were. Thresholds are the means of the members' for raw scores; nothing is calibrated. No folder
        holds it yet.

    Raises
    ------
    ModelError
        If there are fewer than two members, or they differ in network or contrast.
    """
    if len(picker.networks) < 2:
        raise ModelError("--soup", "found 1 model, expected 2 or more", "give --model for each model to average")
    _check_alike(picker)
    _warn_of_strangers(picker)
    network = round_as_stored(average_networks(picker.networks))
    return replace(picker, networks=(network,), cards=(_unite_cards(picker, name),), folders=())


def _check_alike(picker: Picker) -> None:
    expected = picker.card.network
    polarity = _find_polarity(picker.cards)
    for card, folder in zip(picker.cards, picker.folders, strict=True):
        for field in ModelConfig.model_fields:
            found, wanted = getattr(card.network, field), getattr(expected, field)
            if found != wanted:
                problem = f"is {found!r}, expected {wanted!r} as of {picker.folders[0]}"
                raise ModelError(f"{folder}: network.{field}", problem, _ADVICE)
        if card.polarity not in ("unclear", polarity):
            problem = f"is {card.polarity}, expected {polarity} as of the models before"
            raise ModelError(f"{folder}: polarity", problem, _ADVICE)


def _warn_of_strangers(picker: Picker) -> None:
    for network, folder in zip(picker.networks[1:], picker.folders[1:], strict=True):
        kinship = measure_kinship(picker.networks[0], network)
        if kinship < MIN_KINSHIP:
            what = f"{folder} has little in common with {picker.folders[0]} (cosine of weights {kinship:.2f})"
            logger.warning("%s: a soup of them will hardly pick; %s", what, _ADVICE)


def _unite_cards(picker: Picker, name: str) -> ModelCard:
    cards = picker.cards
    environment = describe_environment()
    return picker.card.model_copy(
        update={
            "name": name,
            "flavours": tuple(dict.fromkeys(flavour for card in cards for flavour in card.flavours)),
            "polarity": _find_polarity(cards),
            "thresholds": _average_thresholds(cards),
            "calibration": {},
            "calibrated_for": {},
            # Siblings have the runs of their start in common.
            "training_runs": tuple(dict.fromkeys(picker.seen_runs)),
            "familiar": _unite_familiar(cards),
            "versions": {"cryofind": environment["cryofind"], **environment["packages"]},
            "training": {},
            "metrics": {},
            "weights_sha256": "",
            "averaged_from": tuple(
                AveragedModel(name=card.name, weights_sha256=card.weights_sha256, training=card.training)
                for card in cards
            ),
        }
    )


def _find_polarity(cards: Sequence[ModelCard]) -> str:
    """Return the first contrast that is clear, else `unclear`."""
    return next((card.polarity for card in cards if card.polarity != "unclear"), "unclear")


def _average_thresholds(cards: Sequence[ModelCard]) -> dict[str, float]:
    """Return the mean thresholds for raw scores: for objects that there will be too few picks of to tune on."""
    raw = [Tuning(card.thresholds, card.calibration, {}).without_calibration().thresholds for card in cards]
    names = dict.fromkeys(name for thresholds in raw for name in thresholds)
    return {name: fmean(thresholds.get(name, DEFAULT_THRESHOLD) for thresholds in raw) for name in names}


def _unite_familiar(cards: Sequence[ModelCard]) -> tuple[FamiliarKind, ...]:
    """Return what the tomograms look like that any member learned from; nothing if that is not known of all.

    How far features scatter is left out: they were those of other networks.
    """
    if not all(card.familiar for card in cards):
        return ()
    united: list[FamiliarKind] = []
    for card in cards:
        for kind in card.familiar:
            plain = FamiliarKind(
                flavour=kind.flavour,
                runs=kind.runs,
                traits={name: limits for name, limits in kind.traits.items() if name != "features"},
            )
            if plain not in united:
                united.append(plain)
    return tuple(united)
