"""What a simulated tomogram may look like: every parameter of the simulator with the range it is drawn from.

A recipe is a TOML file with the tables below. A value is a number or a range `[low, high]`; `SimulationRecipe.draw`
puts a number drawn from each range in its place, so what a run was made with is a recipe again, and can be made again.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from cryofind.config import StageConfig

Flavour = Literal["wbp", "ctfdeconvolved", "denoised"]
Table = TypeVar("Table", bound=BaseModel)


class Range(BaseModel):
    """Numbers from `low` to `high`; in a recipe a number or `[low, high]`.

    Parameters
    ----------
    low, high
        Ends, finite, in ascending order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float = Field(strict=True)
    high: float = Field(strict=True)

    @classmethod
    def of(cls, low: float, high: float | None = None) -> "Range":
        """Return the range of one number or of two."""
        return cls(low=low, high=low if high is None else high)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | list | tuple | dict | Range):
            raise PydanticCustomError("range", "should be a number or [low, high]")
        if isinstance(value, int | float):
            return {"low": value, "high": value}
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise PydanticCustomError("range", "should be a number or [low, high]")
            return {"low": value[0], "high": value[1]}
        return value

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise PydanticCustomError("range", "should be [low, high] in ascending order")
        return self

    @model_serializer
    def _write(self) -> float | list[float]:
        return self.low if self.low == self.high else [self.low, self.high]

    @property
    def value(self) -> float:
        """The number, once it has been drawn.

        Raises
        ------
        ValueError
            If it still is a range.
        """
        if self.low != self.high:
            raise ValueError(f"the range [{self.low}, {self.high}] has not been drawn from")
        return self.low

    def draw(self, random: np.random.Generator, *, is_logarithmic: bool = False) -> float:
        """Return a number from the range, uniform, or uniform in its logarithm."""
        if self.low == self.high:
            return self.low
        if is_logarithmic:
            return float(np.exp(random.uniform(np.log(self.low), np.log(self.high))))
        return float(random.uniform(self.low, self.high))


# Where a number must be above another, clipping leaves so much between.
LEAST_ABOVE = 1e-3


class Limits:
    """Check of a range: the least and greatest number that make sense."""

    def __init__(self, low: float = -np.inf, high: float = np.inf, *, above: float = -np.inf) -> None:
        self.low, self.high, self.above = low, high, above

    def clip(self, found: Range) -> Range:
        """Return the part of the range within the limits, or the nearest number."""
        low = max(self.low, self.above + LEAST_ABOVE)
        return Range.of(float(np.clip(found.low, low, self.high)), float(np.clip(found.high, low, self.high)))

    def __call__(self, found: Range) -> Range:
        """Return the range, or refuse it."""
        if found.low <= self.above:
            raise PydanticCustomError("range", "should be greater than {above}", {"above": f"{self.above:g}"})
        if found.low < self.low:
            raise PydanticCustomError("range", "should be {low} or more", {"low": f"{self.low:g}"})
        if found.high > self.high:
            raise PydanticCustomError("range", "should be {high} or less", {"high": f"{self.high:g}"})
        return found


def _limits(low: float = -np.inf, high: float = np.inf, *, above: float = -np.inf) -> AfterValidator:
    return AfterValidator(Limits(low, high, above=above))


_LOGARITHMIC = Limits(above=0.0)
LogarithmicRange = Annotated[Range, AfterValidator(_LOGARITHMIC)]  # drawn uniformly in the logarithm
PositiveRange = Annotated[Range, _limits(above=0)]
NonNegativeRange = Annotated[Range, _limits(0)]
FractionRange = Annotated[Range, _limits(0, 1)]
# Upper limits are beyond all that has been used, and catch numbers in another unit.
NearbyRange = Annotated[Range, _limits(high=5_000, above=0)]  # Angstrom, within a tomogram
DefocusErrorRange = Annotated[Range, _limits(0, 10)]  # micrometre
MarginRange = Annotated[Range, _limits(0, 5_000)]
DepthRange = Annotated[Range, _limits(-20_000, 20_000)]
ConcentrationRange = Annotated[Range, _limits(0, 700)]  # solid protein has 1,350
FactorRange = Annotated[Range, _limits(0.05, 20)]
SlabTiltRange = Annotated[Range, _limits(-30, 30)]


class SpeciesRecipe(StageConfig):
    """One kind of particle to place and to find."""

    body: str = ""  # a shipped body, or the path of a density map or an atomic model; empty: named like the species
    mass_kilodalton: float | None = Field(
        None, ge=1, le=1e7, strict=True
    )  # a map needs it; a shipped body or an atomic model knows it
    voxel_spacing_angstrom: float | None = Field(None, ge=0.1, le=100, strict=True)  # of a map, if its file is wrong
    radius_angstrom: float | None = Field(
        None, gt=0, le=5000, strict=True
    )  # of the picks; None: the challenge's, or the body's own
    count: NonNegativeRange = Range.of(10, 30)  # in a volume of 184 x 630 x 630 voxels of 10.012 Angstrom
    clustering: FractionRange = Range.of(0)  # probability that a particle is put beside one of its kind ...
    neighbour_distance_angstrom: NearbyRange = Range.of(100, 300)  # ... centre to centre; drawn for each
    least_distance_angstrom: MarginRange = Range.of(0)  # to the next of its kind, centre to centre
    size: FactorRange = Range.of(1)  # factor on every length of the body
    contrast: FactorRange = Range.of(1)  # factor on its density


class SampleRecipe(StageConfig):
    """The layer of ice and how densely it is filled."""

    slab_thickness_angstrom: Annotated[Range, _limits(10, 20_000)] = Range.of(
        690, 1250
    )  # of the ice; a box that is not as deep cuts it off
    slab_tilt_y_degrees: SlabTiltRange = Range.of(-6, 6)  # rise of the slab along y ...
    slab_tilt_x_degrees: SlabTiltRange = Range.of(-6, 6)  # ... and along x
    slab_offset_angstrom: DepthRange = Range.of(
        -310, 0
    )  # of its middle from the middle of the box along z, as far as the box has room
    crowding: Annotated[Range, _limits(high=1_000, above=0)] = Range.of(1)  # factor on the counts of all species
    overlap: FractionRange = Range.of(0.0, 0.04)  # share of a particle that may lie within others
    edge_margin_angstrom: MarginRange = Range.of(
        70
    )  # no particle of a species is centred nearer to x, y faces; at most a quarter of the side


class SurroundingsRecipe(StageConfig):
    """Everything in the ice that is not to be found. Counts are for a volume of the challenge's size."""

    albumin_milligram_per_millilitre: ConcentrationRange = Range.of(2, 9)  # 66 kDa, a dense background
    lysate_milligram_per_millilitre: ConcentrationRange = Range.of(1, 6)  # soluble proteins of 15 to 400 kDa
    crowd_unevenness: FractionRange = Range.of(0.0, 0.3)  # sd of the two concentrations over the field, as a share
    distractor_count: NonNegativeRange = Range.of(200, 1100)  # generic bodies of 50 to 2,500 kDa
    clump_share: FractionRange = Range.of(0.15, 0.6)  # of the distractors that stick together in clumps
    vesicle_count: NonNegativeRange = Range.of(0, 8)
    vesicle_radius_angstrom: NearbyRange = Range.of(150, 900)  # drawn for each
    membrane_sheet_count: NonNegativeRange = Range.of(0, 2)
    membrane_contrast: Annotated[Range, _limits(0, 20)] = Range.of(0.7, 1.3)  # of the leaflets, relative to protein
    membrane_protein_share: FractionRange = Range.of(0.05, 0.6)  # of a membrane's area, at most; drawn for each
    vesicle_content_milligram_per_millilitre: ConcentrationRange = Range.of(0, 60)  # at most; drawn for each
    gold_count: NonNegativeRange = Range.of(0)
    gold_radius_angstrom: NearbyRange = Range.of(40, 60)
    carbon_probability: FractionRange = Range.of(0.1)  # that a run shows the edge of the carbon film
    carbon_thickness_angstrom: NearbyRange = Range.of(100, 200)
    thickness_variation: FractionRange = Range.of(0.0, 0.05)  # sd of the ice's thickness over x and y, as a share


class MicroscopeRecipe(StageConfig):
    """Tilt scheme, optics, dose and detector."""

    tilt_maximum_degrees: Annotated[Range, _limits(high=80, above=0)] = Range.of(45)
    tilt_step_degrees: Annotated[Range, _limits(0.25)] = Range.of(3)
    dropped_tilts: Annotated[Range, _limits(0, 200)] = Range.of(0, 2)  # three at least stay
    total_dose_electrons_per_square_angstrom: PositiveRange = Range.of(55, 72)
    defocus_micrometre: Annotated[Range, _limits(high=30, above=0)] = Range.of(2, 5)  # positive is underfocus
    defocus_jitter_micrometre: DefocusErrorRange = Range.of(0.05)  # sd, each tilt
    defocus_gradient: bool = True  # with height: the sides of a tilted sample lie nearer to focus, or farther
    voltage_kilovolts: Annotated[Range, _limits(60, 1_500)] = Range.of(300)
    spherical_aberration_millimetre: Annotated[Range, _limits(0, 10)] = Range.of(2.7)
    amplitude_contrast: FractionRange = Range.of(0.07, 0.10)
    envelope_b_square_angstrom: Annotated[Range, _limits(0, 20_000)] = Range.of(50, 300)
    protein_potential_volts: Annotated[Range, _limits(0.01, 50)] = Range.of(2.9, 4.3)  # of solid protein above ice
    damage: Annotated[Range, _limits(0, 20)] = Range.of(1)  # factor on the fading with dose; 0: none
    mean_free_path_angstrom: Annotated[Range, _limits(100)] = Range.of(
        3100
    )  # of inelastic scattering; the energy filter removes it
    quantum_efficiency: Annotated[Range, _limits(high=1, above=0)] = Range.of(0.75, 0.9)
    shift_error_angstrom: Annotated[Range, _limits(0, 500)] = Range.of(
        0, 5
    )  # what alignment leaves, sd along x and y, each tilt
    angle_error_degrees: Annotated[Range, _limits(0, 10)] = Range.of(0, 0.3)  # sd, each tilt


class ReconstructionRecipe(StageConfig):
    """From tilt images to a tomogram."""

    method: Literal["wbp", "sirt"] = "wbp"
    sirt_iterations: int = Field(15, ge=1)
    defocus_error_micrometre: DefocusErrorRange = Range.of(0, 0.2)  # of the estimate: a series' offset, either sign ...
    defocus_error_jitter_micrometre: DefocusErrorRange = Range.of(0.03)  # ... and sd of each tilt
    deconvolution_constant: LogarithmicRange = Range.of(0.0007, 0.0045)  # c of ctf / (ctf^2 + c/h); less restores more
    deconvolution_high_pass_angstrom: NonNegativeRange = Range.of(400, 1100)  # h is 0 far beyond it; 0: h = 1


class DenoisingRecipe(StageConfig):
    """The flavour `denoised`, made from two halves of the dose."""

    method: Literal["wiener", "noise2noise"] = "wiener"
    strength: NonNegativeRange = Range.of(0.5, 1.1)  # exponent of the half-map Wiener weight
    detail: FractionRange = Range.of(
        0.05, 0.35
    )  # share of that exponent on strong signal: networks blur particles less
    residual: FractionRange = Range.of(0.02, 0.1)  # share of what the filter took that stays
    noise2noise_steps: int = Field(400, ge=1)  # of the network that `noise2noise` trains on halves of the recipe first


class OutputRecipe(StageConfig):
    """What is written of a run."""

    voxel_spacing_angstrom: float = Field(10.012, ge=1, le=100, strict=True)
    flavours: tuple[Flavour, ...] = Field(
        ("denoised",), min_length=1
    )  # several make a project that `--tomogram` must choose from

    @field_validator("flavours")
    @classmethod
    def _refuse_repeats(cls, flavours: tuple[Flavour, ...]) -> tuple[Flavour, ...]:
        if len(set(flavours)) < len(flavours):
            raise PydanticCustomError("flavours", "should name each flavour once")
        return flavours


class SimulationRecipe(StageConfig):
    """A whole recipe."""

    description: str = ""
    species: dict[str, SpeciesRecipe]
    sample: SampleRecipe = SampleRecipe()
    surroundings: SurroundingsRecipe = SurroundingsRecipe()
    microscope: MicroscopeRecipe = MicroscopeRecipe()
    reconstruction: ReconstructionRecipe = ReconstructionRecipe()
    denoising: DenoisingRecipe = DenoisingRecipe()
    output: OutputRecipe = OutputRecipe()

    @property
    def is_drawn(self) -> bool:
        """Whether every range is a number."""
        return self.draw(np.random.default_rng(0)) == self

    def clipped(self) -> "SimulationRecipe":
        """Return the recipe with every range of its stages within its limits, such as one that was extrapolated."""
        tables = {name: table for name, table in self if isinstance(table, StageConfig)}
        return self.model_copy(update={name: _clip_table(table) for name, table in tables.items()})

    def draw(self, random: np.random.Generator) -> "SimulationRecipe":
        """Return the recipe of one run: a number from every range.

        Ranges that are drawn for each particle or membrane stay as they are.
        """
        return _draw_table(self, random)


# Drawn for each particle or membrane, not for the run.
DRAWN_FOR_EACH = frozenset({"neighbour_distance_angstrom", "vesicle_radius_angstrom", "gold_radius_angstrom"})


def _clip_table(table: Table) -> Table:
    changes = {}
    for name, field in type(table).model_fields.items():
        checks = [mark.func for mark in field.metadata if isinstance(mark, AfterValidator)]
        for limits in checks:
            if isinstance(limits, Limits):
                changes[name] = limits.clip(getattr(table, name))
    return table.model_copy(update=changes)


def _draw_table(table: Table, random: np.random.Generator) -> Table:
    changes: dict[str, Any] = {}
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if isinstance(value, Range) and name not in DRAWN_FOR_EACH:
            is_logarithmic = any(getattr(mark, "func", None) is _LOGARITHMIC for mark in field.metadata)
            changes[name] = Range.of(value.draw(random, is_logarithmic=is_logarithmic))
        elif isinstance(value, StageConfig):
            changes[name] = _draw_table(value, random)
        elif isinstance(value, dict):
            changes[name] = {key: _draw_table(member, random) for key, member in value.items()}
    return table.model_copy(update=changes)
