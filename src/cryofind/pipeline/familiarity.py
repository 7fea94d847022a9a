"""Whether a tomogram looks like those that a model learned from, and by which figure it does not.

Runs of one kind differ by what is in them, so each number has a spread. A further run of the same kind lies, for normal
numbers, within t standard deviations of their mean, with the quantile of Student's distribution that makes all numbers
together raise a false alarm in `FALSE_ALARMS` of the tomograms; spectrum, contrast and features share these evenly. A
few runs tell the spread badly: it is held against a usual one as if that were known from `PRIOR_RUNS` more (the
posterior predictive of a scaled inverse chi-squared prior, Gelman et al., Bayesian Data Analysis, 3rd edition, sections
2.6 and 3.3).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import nn

from cryofind.models import FamiliarKind, ModelCard, TraitRange, measure_features
from cryofind.pipeline.trait_words import describe_outlier, join_kinds, kind_of
from cryofind.preprocess import measure_traits, place_blocks
from cryofind.types import Tomogram

Floats = NDArray[np.float64]

FALSE_ALARMS = 0.01
PRIOR_RUNS = 4
# Standard deviations between runs of one recipe, about as measured on simulated tomograms; the finest bands depend on
# the filter, the coarsest on single large objects. Of the features: of the logarithm of their distance.
USUAL_SPREADS: dict[str, tuple[float, ...]] = {
    "spectrum": (0.6, 0.7, 0.4, 0.25, 0.2, 0.2, 0.25, 0.4),
    "skewness": (0.3, 0.35, 0.45),
    "kurtosis": (0.2, 0.2, 0.25),
    "dark": (0.15, 0.15, 0.15),
    "bright": (0.2, 0.2, 0.2),
    "features": (0.45,),
}
# ... and of the mean of a channel, in standard deviations from cell to cell.
USUAL_FEATURE_SPREAD = 0.2
# How runs of one kind differ most in their features, by how much is in them above all, says nothing of their kind: so
# many directions, the principal ones, are left out of distances. The greater part of what is left is then noise, ...
LEFT_OUT_DIRECTIONS = 2
# ... if so many runs say what it is.
MIN_FEATURE_RUNS = 8
# Features take longer than all else: they are looked at in so many blocks.
FEATURE_BLOCKS = 4
DIGITS = 4


@dataclass(frozen=True, eq=False)
class Look:
    """What was measured of a tomogram: `traits` of `measure_traits`, `features` of `measure_features` or None."""

    traits: Mapping[str, Floats]
    features: Floats | None


class _Reference(NamedTuple):
    """What features are compared with: mean and spread of each channel, and unit vectors that are left out."""

    centre: Floats
    scale: Floats
    left_out: Floats

    def distance(self, features: Floats) -> Floats:
        """Return the logarithm of how far the means of channels are off, shape (1,)."""
        off = (np.split(features, 2)[0] - self.centre) / self.scale
        off = off - (off @ self.left_out.T) @ self.left_out
        return np.asarray(np.log(np.sqrt(np.mean(off**2, keepdims=True)) + 1e-3))


@dataclass(frozen=True, eq=False)
class Familiarity:
    """How a tomogram compares with the nearest kind of those that a model learned from.

    Parameters
    ----------
    kind
        That kind.
    traits
        The tomogram's numbers, of the traits of the kind.
    excess
        For each of them the distance from the mean in units of the greatest that is still familiar; 0 within the range
        of the kind's runs. Above 1 is outside.
    spacing_angstrom
        Voxel spacing at which they were measured.
    """

    kind: FamiliarKind
    traits: Mapping[str, Floats]
    excess: Mapping[str, Floats]
    spacing_angstrom: float

    @property
    def worst(self) -> float:
        """The greatest excess."""
        return max(float(values.max()) for values in self.excess.values())

    @property
    def warning(self) -> str | None:
        """What to tell the user, in one line without the name of the run; None if nothing is outside."""
        outside = [trait for trait, values in self.excess.items() if values.max() > 1]
        if not outside:
            return None
        trait = max(outside, key=lambda name: float(self.excess[name].max()))
        number = int(np.argmax(self.excess[trait]))
        limits = self.kind.traits[trait]
        figure = describe_outlier(
            trait,
            number,
            float(self.traits[trait][number]),
            (limits.least[number], limits.greatest[number]),
            self.spacing_angstrom,
        )
        return (
            f"does not look like the tomograms the model learned from: {figure} (outside in {join_kinds(outside)}); "
            "expect worse picks (tune on annotated runs, or train on such tomograms)"
        )

    def as_record(self) -> dict[str, Any]:
        """Return all numbers for a record, JSON-ready."""
        return {
            "warning": self.warning,
            "compared_with": {"flavour": self.kind.flavour, "runs": self.kind.runs},
            "traits": {
                name: {
                    "values": list(_rounded(values)),
                    "least": list(self.kind.traits[name].least),
                    "greatest": list(self.kind.traits[name].greatest),
                    "excess": list(_rounded(self.excess[name])),
                }
                for name, values in self.traits.items()
            },
        }


def compare_volume(volume_zyx: NDArray[Any], network: nn.Module, card: ModelCard) -> Familiarity | None:
    """Return how a preprocessed tomogram compares with those that a model learned from; see `compare_blocks`."""
    places = place_blocks(volume_zyx.shape) if card.familiar else ()
    return compare_blocks([volume_zyx[place] for place in places], network, card)


def compare_blocks(blocks_zyx: Sequence[NDArray[Any]], network: nn.Module, card: ModelCard) -> Familiarity | None:
    """Return how a tomogram compares with the nearest kind of those that a model learned from.

    Parameters
    ----------
    blocks_zyx
        Preprocessed voxels of its `place_blocks`.
    network, card
        The model.

    Returns
    -------
    Familiarity or None
        None if the card says nothing of what the model learned from, or the tomogram is constant.
    """
    look = look_at(blocks_zyx, network) if card.familiar else None
    return None if look is None else compare_look(look, card.familiar, card.voxel_spacing_angstrom)


def compare_look(look: Look, kinds: Sequence[FamiliarKind], spacing_angstrom: float) -> Familiarity:
    """Return how a look, at that voxel spacing, compares with the nearest of one or more kinds."""
    return min((_compare(look, kind, spacing_angstrom) for kind in kinds), key=lambda found: found.worst)


def warnings_of(familiarity: Familiarity | None) -> tuple[str, ...]:
    """Return the warning, if there is one, for the notes of a result."""
    return () if familiarity is None or familiarity.warning is None else (familiarity.warning,)


def learn_familiar(network: nn.Module, tomograms: Iterable[Tomogram]) -> tuple[FamiliarKind, ...]:
    """Return the kinds of preprocessed tomograms, one for each flavour, as a network sees them."""
    return summarize_looks((tomogram.flavour, look_at_volume(tomogram.volume_zyx, network)) for tomogram in tomograms)


def look_at_volume(volume_zyx: NDArray[Any], network: nn.Module) -> Look | None:
    """Return what a preprocessed tomogram looks like to a network; None of one that is constant."""
    return look_at([volume_zyx[place] for place in place_blocks(volume_zyx.shape)], network)


def look_at(blocks_zyx: Sequence[NDArray[Any]], network: nn.Module) -> Look | None:
    """Return what a tomogram looks like, from the preprocessed voxels of its blocks; None of one that is constant."""
    traits = measure_traits(blocks_zyx)
    if traits is None:
        return None
    chosen = np.unique(np.linspace(0, len(blocks_zyx) - 1, FEATURE_BLOCKS).round().astype(int))
    return Look(traits, measure_features(network, [blocks_zyx[number] for number in chosen]))


def summarize_looks(looks: Iterable[tuple[str, Look | None]]) -> tuple[FamiliarKind, ...]:
    """Return the kinds that looks, each with the flavour of its tomogram, make up: one for each flavour."""
    by_flavour: dict[str, list[Look]] = {}
    for flavour, look in looks:
        if look is not None:
            by_flavour.setdefault(flavour, []).append(look)
    return tuple(_summarize(flavour, found) for flavour, found in by_flavour.items())


def _summarize(flavour: str, looks: Sequence[Look]) -> FamiliarKind:
    rows = {name: np.stack([look.traits[name] for look in looks]) for name in looks[0].traits}
    features = [look.features for look in looks if look.features is not None]
    reference = None
    if len(features) == len(looks) >= MIN_FEATURE_RUNS:
        vectors = np.stack(features)
        reference = _refer_to(vectors)
        others = [_refer_to(np.delete(vectors, run, axis=0)) for run in range(len(vectors))]
        rows["features"] = np.stack([other.distance(vector) for other, vector in zip(others, vectors, strict=True)])
    return FamiliarKind(
        flavour=flavour,
        runs=len(looks),
        traits={name: _find_range(values) for name, values in rows.items()},
        feature_centre=_rounded(reference.centre) if reference else (),
        feature_scale=_rounded(reference.scale) if reference else (),
        feature_left_out=tuple(map(_rounded, reference.left_out)) if reference else (),
    )


def _find_range(rows: Floats) -> TraitRange:
    deviation = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    return TraitRange(
        mean=_rounded(rows.mean(axis=0)),
        deviation=_rounded(deviation),
        least=_rounded(rows.min(axis=0)),
        greatest=_rounded(rows.max(axis=0)),
    )


def _refer_to(vectors: Floats) -> _Reference:
    """Return what to compare with from the features of several runs, shape (runs, 2 C)."""
    means, deviations = np.split(vectors, 2, axis=1)
    deviation = deviations.mean(axis=0)
    # A channel that hardly varies from cell to cell still has a scale.
    usual = USUAL_FEATURE_SPREAD * np.maximum(deviation, 0.1 * deviation.mean() + 1e-6)
    centre, scale = means.mean(axis=0), _hold_against(means.std(axis=0, ddof=1), usual, len(means))
    directions = np.linalg.svd((means - centre) / scale, full_matrices=False)[2]
    return _Reference(centre, scale, directions[:LEFT_OUT_DIRECTIONS])


def _compare(look: Look, kind: FamiliarKind, spacing_angstrom: float) -> Familiarity:
    traits = {name: values for name, values in look.traits.items() if name in kind.traits}
    if "features" in kind.traits and look.features is not None:
        known = (kind.feature_centre, kind.feature_scale, kind.feature_left_out)
        traits["features"] = _Reference(*map(np.array, known)).distance(look.features)
    kinds = [kind_of(name) for name, values in traits.items() for _ in values]
    excess = {}
    for name, values in traits.items():
        limits, usual = kind.traits[name], np.array(USUAL_SPREADS[name])
        spread = _hold_against(np.array(limits.deviation), usual, kind.runs) * np.sqrt(1 + 1 / kind.runs)
        chance = FALSE_ALARMS / len(set(kinds)) / kinds.count(kind_of(name))
        # Features are outside only if they are too far away.
        is_one_sided = name == "features"
        quantile = stdtrit(kind.runs - 1 + PRIOR_RUNS, 1 - chance / (1 if is_one_sided else 2))
        is_within = (values <= limits.greatest) & (is_one_sided | (values >= limits.least))
        excess[name] = np.where(is_within, 0.0, np.abs(values - limits.mean) / (quantile * spread))
    return Familiarity(kind, traits, excess, spacing_angstrom)


def _hold_against(deviation: Floats, usual: Floats | float, runs: int) -> Floats:
    known = runs - 1
    return np.asarray(np.sqrt((known * deviation**2 + PRIOR_RUNS * np.square(usual)) / (known + PRIOR_RUNS)))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
