"""Every default, once: one frozen model per stage, changed by a TOML recipe and by `--set stage.key=value`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from cryofind.documents import merge_recipe, parse_document

Triple = tuple[int, int, int]


class StageConfig(BaseModel):
    """A table of a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PreprocessConfig(StageConfig):
    """Grey values and voxel spacing before the network."""

    normalization: Literal["zscore", "percentile", "robust"] = "zscore"
    clip_percentiles: tuple[float, float] = (0.1, 99.9)  # used by `percentile` and `robust`
    statistics_stride: int = Field(4, ge=1)  # statistics are taken from every n-th voxel along each axis
    polarity: Literal["report", "match"] = "report"  # `match` inverts a tomogram of the other contrast than the model's
    max_nonfinite_fraction: float = Field(0.0, ge=0.0, le=1.0)  # NaN or inf voxels up to this share become the median

    @field_validator("clip_percentiles")
    @classmethod
    def _check_percentiles(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        low, high = percentiles
        if not 0 <= low < high <= 100:
            raise PydanticCustomError("percentiles", "should be two ascending numbers from 0 to 100")
        return percentiles


class TargetConfig(StageConfig):
    """What the network is asked to say, drawn on the stride-2 grid."""

    kind: Literal["point", "ball", "gaussian", "labels"] = "ball"
    radius_factor: float = Field(0.5, gt=0, le=2.0)  # target radius (or Gaussian sigma) = factor x particle radius
    radius_factors: dict[str, float] = {}  # by object, instead of radius_factor
    ignore_shell_factor: float = Field(0.8, ge=0)  # cells between target and factor x radius carry no loss
    segmentation: str | None = None  # copick segmentation (name, user or URI) with label volumes, for kind `labels`
    annotated_region: Literal["everywhere", "near-picks", "mask"] = "everywhere"  # elsewhere there is no loss
    annotated_distance_angstrom: float = Field(500.0, gt=0)  # for `near-picks`
    annotated_mask: str | None = None  # copick segmentation that is non-zero where annotation is complete


class ModelConfig(StageConfig):
    """The network."""

    network: str = "res32"
    widths: tuple[int, ...] | None = None  # channels at strides 2, 4, 8, 16; the network's own when None
    encoder_blocks: tuple[int, ...] | None = None
    decoder_blocks: tuple[int, ...] | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    options: dict[str, Any] = {}  # for networks of plug-ins


class LossConfig(StageConfig):
    """The loss; each reads the fields it needs."""

    name: str = "weighted_cross_entropy"
    foreground_weight: float = Field(32.0, gt=0)  # weight of object cells against background in cross-entropy
    object_weights: dict[str, float] = {}  # further weight by object
    tversky_false_positive: float = Field(0.3, ge=0)
    tversky_false_negative: float = Field(0.7, ge=0)
    focal_gamma: float = Field(1.33, gt=0)
    dice_share: float = Field(0.5, ge=0, le=1)  # share of Dice (or Tversky) in the mixed losses
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class AugmentConfig(StageConfig):
    """Random changes of training crops; probabilities are per crop."""

    flip_probability: float = Field(0.5, ge=0, le=1)  # each axis on its own
    quarter_turn_probability: float = Field(0.75, ge=0, le=1)  # 90-degree turns in xy
    rotate_z_probability: float = Field(0.3, ge=0, le=1)  # any angle about z
    tilt_degrees: float = Field(0.0, ge=0, le=15)  # rotations about x and y move the missing wedge: only when asked
    scale_probability: float = Field(0.3, ge=0, le=1)  # among the rotated crops first: fewer are blurred by resampling
    scale_range: float = Field(0.05, ge=0, lt=0.5)  # 1 +- this
    intensity_scale: float = Field(0.15, ge=0, lt=1)  # grey values x (1 +- this)
    intensity_shift: float = Field(0.15, ge=0)  # + up to this many standard deviations
    noise_sigma: float = Field(0.15, ge=0)  # Gaussian, up to this many standard deviations
    spectrum_probability: float = Field(0.0, ge=0, le=1)  # a random gain by resolution, as of another microscope
    spectrum_sigma: float = Field(0.4, ge=0, le=2)  # sd of the logarithm of that gain
    low_pass_probability: float = Field(0.0, ge=0, le=1)  # fine detail is lost, as in a filtered tomogram
    low_pass_angstrom: float = Field(50.0, gt=0)  # the filter's period is drawn between two voxels and this
    wedge_probability: float = Field(0.0, ge=0, le=1)  # high tilts are lost, as of a microscope that tilts less far
    wedge_degrees: float = Field(35.0, ge=5, le=60)  # each end of the tilts that stay is drawn between this and 60
    mixup_probability: float = Field(0.0, ge=0, le=1)
    copy_paste_probability: float = Field(0.0, ge=0, le=1)


class TrainConfig(StageConfig):
    """The training loop."""

    steps: int = Field(3000, ge=1)
    batch_size: int = Field(8, ge=1)
    crop_zyx: Triple = (64, 64, 64)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    gradient_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)
    background_fraction: float = Field(0.15, ge=0, le=1)  # share of crops drawn anywhere
    project_weights: tuple[float, ...] = ()  # shares of the crops by PROJECT, in their order; empty: all places alike
    project_weights_end: tuple[float, ...] = ()  # shares at the end, linear in between; empty: they stay the same
    project_weights_end_from: float = Field(1.0, gt=0, le=1)  # the end shares hold from this share of the steps on
    unlabelled_probability: float = Field(0.9, gt=0, le=1)  # background cells predicted above this ...
    unlabelled_after: float = Field(0.5, ge=0, le=1)  # ... after this share of the steps carry no loss; 1: never
    validate_every: int = Field(500, ge=1)
    checkpoint_every: int = Field(250, ge=1)
    keep_best: bool = True  # the checkpoint of the best validation F-beta, not the last
    precision: Literal["auto", "bf16", "float32"] = "auto"
    devices: str = Field(
        "auto", pattern=r"^(auto|(cpu|cuda)(:[1-9]\d*)?)$"
    )  # `auto`, `cpu`, `cuda`, `cuda:2` (two GPUs by DDP)
    memory_gigabytes: float | None = Field(
        default=None, gt=0
    )  # for preprocessed tomograms, None: half of what is free; those beyond are read from disk as they are needed
    profile: bool = False  # wait for the GPU after every part of a step, so that the reported times are exact
    seed: int = 0

    @field_validator("project_weights", "project_weights_end")
    @classmethod
    def _check_shares(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if weights and not (min(weights) >= 0 and max(weights) > 0):
            raise PydanticCustomError("shares", "should be numbers of 0 or more, not all of them 0")
        return weights

    @field_validator("project_weights_end")
    @classmethod
    def _check_same_projects(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        # Without this key the shares at the start were refused already.
        start = info.data.get("project_weights")
        if weights and start is not None and len(weights) != len(start):
            problem = "should be as many numbers as train.project_weights, which has {count}"
            raise PydanticCustomError("shares", problem, {"count": len(start)})
        return weights


class PredictConfig(StageConfig):
    """Network over a whole tomogram."""

    device: str = "auto"  # `auto`, `cpu`, `cuda`, `cuda:1` (the second GPU)
    devices: str = Field(
        "auto", pattern=r"^(auto|(cpu|cuda(:\d+)?)(,(cpu|cuda(:\d+)?))*)$"
    )  # of `cryofind pick`, a process each: `cuda:0,cuda:2`; `auto`: all GPUs, else `device`
    engine: Literal["auto", "torch", "openvino"] = "auto"  # `auto`: the fastest that is installed, by rule
    precision: Literal["auto", "bf16", "fp16", "float32", "int8"] = (
        "auto"  # `fp16` on GPUs; `int8` by OpenVINO, calibrated on the first tomogram
    )
    memory_gigabytes: float | None = Field(
        default=None, gt=0
    )  # main memory for tomograms and what is made of them, None: half of what is free; above it, tiles, then columns
    tile_zyx: Triple | None = None  # None: derived from memory
    tile_overlap: float = Field(0.25, ge=0, lt=0.9)
    test_time_augmentation: Literal[1, 2, 4, 8] = 1  # flips and quarter turns in xy
    keep_probabilities: bool = False
    segmentation_threshold: float = Field(0.5, gt=0, lt=1)


class LocateConfig(StageConfig):
    """Probability volumes to picks. Distances derive from the particle's radius."""

    method: Literal["peaks", "watershed"] = "peaks"
    smoothing_angstrom: float = Field(0.0, ge=0)  # Gaussian sigma
    floor: float = Field(0.02, gt=0, lt=1)  # candidates of a lower probability are dropped for good
    floors: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}  # ... of one object, where that is higher
    floor_factor: float = Field(
        0.05, ge=0, lt=1
    )  # when picking, also those below this x threshold that no calibration counts, but with `cross_separation_factor`
    thresholds: Literal["tuned", "expected"] = (
        "tuned"  # `expected`: those of the highest expected F-beta, by tomogram, from calibrated scores without a truth
    )
    abundance_spread: float = Field(
        0.0, ge=0, le=5
    )  # sd of the logarithm of how many times as frequent particles are as where scores were calibrated; 0: not adapted
    separation_factor: float = Field(1.2, ge=0)  # least distance of two picks of one object, in radii
    separation_factors: dict[str, Annotated[float, Field(ge=0)]] = {}  # by object, instead of separation_factor
    cross_separation_factor: float = Field(0.0, ge=0)  # ... of two objects, in radii of the smaller; 0: none
    refine: bool = True  # sub-voxel position
    recentre_factor: float = Field(0.75, ge=0, le=1)  # ... then the centre of mass within this x radius; 0: none
    watershed_threshold: float = Field(0.3, gt=0, lt=1)
    min_volume_factor: float = Field(0.0, ge=0)  # watershed regions below factor x target ball are dropped
    max_volume_factor: float = Field(8.0, gt=0)  # ... and above
    border_angstrom: float = Field(0.0, ge=0)  # picks nearer to a face are dropped
    max_candidates: int = Field(20000, ge=1)  # per object and run, best first

    def floor_of(self, name: str) -> float:
        """Return the least probability of an object's candidates."""
        return max(self.floor, self.floors.get(name, 0.0))

    def separation_of(self, name: str) -> float:
        """Return the least distance of two picks of an object, in radii."""
        return self.separation_factors.get(name, self.separation_factor)


class TuneConfig(StageConfig):
    """Thresholds and calibration from runs that the model never saw."""

    calibrate: bool = True
    min_picks: int = Field(5, ge=1)  # objects with fewer annotated picks keep their old threshold
    separation: bool = True  # also choose locate.separation_factors, unless `cross_separation_factor` is above 0


class ScoreConfig(StageConfig):
    """The metric."""

    mode: Literal["kaggle", "one-to-one", "octopi"] = "kaggle"
    beta: float = Field(4.0, gt=0)
    distance_factor: float | None = Field(
        None, gt=0
    )  # match radius in particle radii; None: the mode's (0.5, octopi 0.8)


# What `cryofind search` goes through unasked: what mattered most where it was tried by hand.
_SEARCHED: dict[str, Any] = {
    "train.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
    "loss.foreground_weight": {"low": 4.0, "high": 256.0, "log": True},
    "targets.radius_factor": [0.25, 0.8],
    "augment.mixup_probability": [0.0, 1.0],
    "augment.intensity_scale": [0.0, 0.6],
    "augment.spectrum_probability": [0.0, 1.0],
}


class SearchConfig(StageConfig):
    """The search for a recipe: its budget, and where to look. Only `cryofind search` reads this table."""

    trials: int = Field(30, ge=1)
    minutes: float | None = Field(default=None, gt=0)  # for all trials together, over all calls; None: no limit
    seeds: int = Field(1, ge=1)  # trainings of a trial, which differ in their seed; their mean counts
    prune: bool = True  # end a trial whose best validation so far is below the median of the others there
    prune_after: int = Field(5, ge=1)  # no trial is ended before so many are complete
    space: dict[str, Any] = _SEARCHED  # by key of the recipe: `[low, high]`, `{low, high, log}`, or choices


class Config(StageConfig):
    """The whole recipe."""

    preprocess: PreprocessConfig = PreprocessConfig()
    targets: TargetConfig = TargetConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    locate: LocateConfig = LocateConfig()
    tune: TuneConfig = TuneConfig()
    score: ScoreConfig = ScoreConfig()


def load_config(
    recipe: Path | None = None, settings: Sequence[str] = (), *, base: dict[str, Any] | None = None
) -> Config:
    """Return the defaults, changed by `base`, then by a TOML recipe, then by `stage.key=value` settings.

    Parameters
    ----------
    recipe
        TOML file with a table per stage.
    settings
        Strings such as `train.learning_rate=3e-4`; the value is read as TOML, else as plain text.
    base
        Nested dictionary that replaces defaults, such as the stages that a model was trained with.

    Raises
    ------
    ConfigError
        If a key is unknown (with the nearest known one) or a value does not fit.
    """
    document = merge_recipe(recipe, settings, base=base)
    return parse_config(document, str(recipe) if recipe is not None else "--set")


def parse_config(document: dict[str, Any], where: str) -> Config:
    """Return the configuration of a nested dictionary; `where` names it in errors."""
    return parse_document(Config, document, where)
