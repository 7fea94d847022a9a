"""What a calibration holds for: the same network run otherwise gives other scores."""

from collections.abc import Mapping

from cryofind.config import Config, LocateConfig
from cryofind.models import ModelCard

Conditions = dict[str, str | int]

# Settings of location that decide which candidates there are; the others select among them.
_SETTINGS_OF_SELECTION = {"thresholds", "abundance_spread", "floor_factor"}


def describe_conditions(engine: Mapping[str, str], config: Config, *, member_count: int) -> Conditions:
    """Return what decides the scores of a model's candidates, as a card has it.

    Parameters
    ----------
    engine
        Record of what runs the networks (`EngineChoice.as_record`).
    config
        The recipe.
    member_count
        Networks whose mean is taken.
    """
    return {
        "engine": engine["engine"],
        "precision": engine["precision"],
        "test_time_augmentation": config.predict.test_time_augmentation,
        "members": member_count,
    }


def doubt_calibration(card: ModelCard, locate: LocateConfig, conditions: Conditions) -> str | None:
    """Return a line that says how picking differs from what a model was calibrated for; None if it does not.

    Parameters
    ----------
    card
        The model.
    locate
        Options of location in use.
    conditions
        What runs the networks now (`describe_conditions`).
    """
    differences = find_differences(card, locate, conditions)
    if not card.calibration or not differences:
        return None
    return f"scores were calibrated for {'; '.join(differences)}: `cryofind tune` would calibrate them for this"


def find_differences(card: ModelCard, locate: LocateConfig, conditions: Conditions) -> list[str]:
    """Return how candidates differ from those that a card's calibration is for; see `doubt_calibration`."""
    differences = [
        f"{name} {card.calibrated_for[name]}, not {now}"
        for name, now in conditions.items()
        if card.calibrated_for.get(name, now) != now
    ]
    before, now = (settings.model_dump(exclude=_SETTINGS_OF_SELECTION) for settings in (card.locate, locate))
    return differences + [
        f"locate.{name} {before[name]}, not {now[name]}" for name in before if before[name] != now[name]
    ]
