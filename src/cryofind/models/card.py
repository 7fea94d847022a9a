"""What a model says about itself: `model.json`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from cryofind.config import LocateConfig, ModelConfig, PreprocessConfig
from cryofind.errors import CryofindError, ModelError
from cryofind.models.familiar import FamiliarKind
from cryofind.types import Calibration, ParticleSpec

FORMAT_VERSION = 1
Byte = Annotated[int, Field(ge=0, le=255)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CardObject(_Frozen):
    """One object that the model finds, as `ParticleSpec` describes it."""

    name: str
    radius_angstrom: float | None
    label: int
    color: tuple[Byte, Byte, Byte, Byte] = (100, 100, 100, 255)
    score_weight: float = 1.0
    is_particle: bool = True

    @classmethod
    def from_spec(cls, spec: ParticleSpec) -> Self:
        """Return the card's entry of a spec."""
        return cls(
            name=spec.name,
            radius_angstrom=spec.radius_angstrom,
            label=spec.label,
            color=spec.color,
            score_weight=spec.score_weight,
            is_particle=spec.is_particle,
        )

    def to_spec(self, score_threshold: float | None = None) -> ParticleSpec:
        """Return the spec of this entry, with the threshold the model gives its picks."""
        return ParticleSpec(
            self.name,
            self.radius_angstrom,
            self.label,
            self.color,
            self.score_weight,
            score_threshold,
            self.is_particle,
        )


class SeenRun(_Frozen):
    """A run that the model has seen, known again by the hashes of its volumes and picks."""

    run: str
    volume_sha256: tuple[str, ...] = ()
    picks_sha256: str = ""
    role: Literal["train", "validate", "tune"] = "train"  # learnt from, chose the checkpoint, or fitted thresholds


class AveragedModel(_Frozen):
    """A model whose weights went into a mean: its name, the hash of its weights, and the recipe it was trained with."""

    name: str
    weights_sha256: str
    training: dict[str, Any] = {}


class ModelCard(_Frozen):
    """Everything needed to use a model, and where it comes from.

    Parameters
    ----------
    format_version
        Version of this layout.
    name
        Name of the model.
    network
        Architecture: what `build_network` needs.
    objects
        Objects in channel order, background left out.
    activation, background_channel
        `softmax` with background as channel 0, or `sigmoid` without; follow from `network` when left out.
    voxel_spacing_angstrom
        Voxel spacing of the tomograms the model was trained on, Angstrom.
    flavours
        Kinds of reconstruction it was trained on, such as `denoised`.
    preprocess
        Normalisation it expects.
    polarity
        Contrast of the training tomograms: `dark`, `bright` or `unclear`.
    thresholds
        Score by object above which a pick is selected, 0 to 1.
    calibration
        By object, how raw scores become probabilities: a table with the knots of the curve and the counts of the
        candidates it was learnt from. Older cards hold slope and intercept of a line between log-odds.
    calibrated_for
        What ran the network for that: `engine`, `precision`, `test_time_augmentation`, `members` of the ensemble.
    locate
        Settings of the peak finder for which the thresholds hold.
    training_runs
        Runs it has seen, and what for.
    familiar
        What the tomograms it learned from look like, one entry for each kind; empty on older cards.
    averaged_from
        Models whose weights this one is the mean of (`cryofind tune --soup`).
    versions, training, metrics
        Versions of the software, the resolved recipe, and scores: for people, not read by the program.
    weights_sha256
        SHA-256 of the weights file; filled in by `save_model`.
    """

    format_version: Literal[1] = 1
    name: str = Field(min_length=1)
    network: ModelConfig
    objects: tuple[CardObject, ...] = Field(min_length=1)
    activation: Literal["softmax", "sigmoid"]
    background_channel: Literal[0] | None
    voxel_spacing_angstrom: float = Field(gt=0)
    flavours: tuple[str, ...] = ()
    preprocess: PreprocessConfig = PreprocessConfig()
    polarity: Literal["dark", "bright", "unclear"] = "unclear"
    thresholds: dict[str, Probability] = {}
    calibration: dict[str, Annotated[Calibration, BeforeValidator(Calibration.read)]] = {}
    calibrated_for: dict[str, str | int] = {}
    locate: LocateConfig = LocateConfig()
    training_runs: tuple[SeenRun, ...] = ()
    familiar: tuple[FamiliarKind, ...] = ()
    averaged_from: tuple[AveragedModel, ...] = ()
    versions: dict[str, str] = {}
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    weights_sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _derive_activation(cls, document: Any) -> Any:
        if not isinstance(document, dict) or "network" not in document:
            return document
        network = document["network"]
        named = network.get("activation") if isinstance(network, dict) else getattr(network, "activation", None)
        found = named or "softmax"
        derived = {"activation": found, "background_channel": 0 if found == "softmax" else None}
        return {**derived, **document}

    @field_validator("objects")
    @classmethod
    def _check_objects(cls, objects: tuple[CardObject, ...]) -> tuple[CardObject, ...]:
        for field, values in (("name", [o.name for o in objects]), ("label", [o.label for o in objects])):
            if len(set(values)) != len(values):
                raise ValueError(f"two objects have the same {field}")
        for entry in objects:
            try:
                entry.to_spec()
            except CryofindError as error:
                raise ValueError(f"{error.subject} {error.problem}") from error
        return objects

    @model_validator(mode="after")
    def _check_agreement(self) -> Self:
        if self.activation != self.network.activation:
            raise ValueError(f"activation is {self.activation}, that of the network {self.network.activation}")
        if (self.background_channel == 0) != (self.activation == "softmax"):
            raise ValueError("background_channel must be 0 for softmax and null for sigmoid")
        unknown = (self.thresholds.keys() | self.calibration.keys()) - set(self.object_names)
        if unknown:
            raise ValueError(f"thresholds or calibration name {sorted(unknown)[0]!r}, which is not an object")
        return self

    @property
    def object_names(self) -> tuple[str, ...]:
        """Names of the objects in channel order."""
        return tuple(entry.name for entry in self.objects)

    def specs(self) -> tuple[ParticleSpec, ...]:
        """Return the objects in channel order, each with the model's threshold."""
        return tuple(entry.to_spec(self.thresholds.get(entry.name)) for entry in self.objects)


def card_objects(specs: Sequence[ParticleSpec]) -> tuple[CardObject, ...]:
    """Return the card's entries of specs, in their order."""
    return tuple(CardObject.from_spec(spec) for spec in specs)


def parse_card(document: Any, where: str) -> ModelCard:
    """Return the card of a JSON document; `where` names its file in errors.

    Raises
    ------
    ModelError
        If the format version is another one, or a field is missing, unknown or out of range.
    """
    if not isinstance(document, dict):
        raise ModelError(where, "is not a JSON object", "give a model.json written by cryofind")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{where}: format_version",
            f"is {version!r}, expected {FORMAT_VERSION}",
            "use a matching version of cryofind",
        )
    try:
        return ModelCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(part) for part in first["loc"]) or "card"
        raise ModelError(f"{where}: {dotted}", first["msg"].lower(), "give a model.json written by cryofind") from error
