"""What a measurement is asked for; every row runs in a process of its own and gets this as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cryofind import czii

REPOSITORY = Path(__file__).resolve().parents[2]
Triple = tuple[int, int, int]


class SkippedError(Exception):
    """A row that cannot be measured here; the text says why."""


PLOT_NAME = "growth.svg"


@dataclass(frozen=True)
class Options:
    """How to measure.

    `slow_repeats` is for what takes minutes: MONAI's sliding window, and MONAI's networks in our engine, as a ratio;
    `long_repeats` for the large volume that is streamed, and for growth.
    """

    shape_zyx: Triple = czii.TOMOGRAM_GRID.shape_zyx
    repeats: int = 5
    slow_repeats: int = 2
    long_repeats: int = 3
    quick: bool = False
    scratch: Path = REPOSITORY / "scratch" / "speed"
    model: str = ""  # for the row `precision`; empty: a shipped one
    runs: int = 3  # tomograms of the row `precision`
    streaming_gigabytes: float = 3.5  # predict.memory_gigabytes where a volume is streamed
    streaming_shape_zyx: Triple = (512, 1500, 1500)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "scratch": str(self.scratch)})

    @classmethod
    def from_json(cls, text: str) -> "Options":
        fields = json.loads(text)
        for name in ("shape_zyx", "streaming_shape_zyx"):
            z, y, x = fields[name]
            fields[name] = (z, y, x)
        return cls(**{**fields, "scratch": Path(fields["scratch"])})

    @property
    def patch(self) -> int:
        """Edge of the small block, voxels."""
        return 32 if self.quick else 128


def describe(shape_zyx: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape_zyx))
