"""What the tomograms look like that a model learned from: a part of its card."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TraitRange(_Frozen):
    """Where the numbers of one trait lie, run by run: all fields have the length of the trait.

    Parameters
    ----------
    mean, deviation
        Over runs; the standard deviation with n - 1, 0 for a single run.
    least, greatest
        Of any run.
    """

    mean: tuple[float, ...] = Field(min_length=1)
    deviation: tuple[float, ...]
    least: tuple[float, ...]
    greatest: tuple[float, ...]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if {len(self.deviation), len(self.least), len(self.greatest)} != {len(self.mean)}:
            raise ValueError("mean, deviation, least and greatest differ in length")
        return self


class FamiliarKind(_Frozen):
    """Tomograms of one kind that a model learned from.

    Parameters
    ----------
    flavour
        Kind of reconstruction; empty when unknown.
    runs
        How many tomograms.
    traits
        Of `cryofind.preprocess.measure_traits`, and `features`: the logarithm of how far those of one run are from the
        others'. Without `features` these are not compared.
    feature_centre, feature_scale
        Of the means of channels that `measure_features` gives: their mean over runs, and how far these scatter.
    feature_left_out
        Unit vectors, in units of the scale: what runs differ by most, and is not counted in distances.
    """

    flavour: str = ""
    runs: int = Field(ge=1)
    traits: dict[str, TraitRange]
    feature_centre: tuple[float, ...] = ()
    feature_scale: tuple[float, ...] = ()
    feature_left_out: tuple[tuple[float, ...], ...] = ()

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        lengths = {len(part) for part in (self.feature_centre, self.feature_scale, *self.feature_left_out)}
        if len(lengths) > 1:
            raise ValueError("feature_centre, feature_scale and feature_left_out differ in length")
        if bool(self.feature_centre) != ("features" in self.traits) or min(self.feature_scale, default=1.0) <= 0:
            raise ValueError("features have no range, or no scale above 0")
        return self
