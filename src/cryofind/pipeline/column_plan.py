"""How a tomogram that is larger than memory is cut into columns, and what is refused then."""

import math
from dataclasses import dataclass

from cryofind.config import Config
from cryofind.errors import ConfigError, MemoryLimitError
from cryofind.io import TomogramSource
from cryofind.pipeline.survey import estimate_survey_bytes
from cryofind.predict.columns import HALO_VOXELS, Column, plan_columns
from cryofind.predict.needs import MemoryNeeds
from cryofind.predict.tiling import round_up
from cryofind.preprocess import needs_resampling
from cryofind.types import VoxelGrid
from cryofind.types.grid import IntTriple

# Of slimmer columns the surroundings are more than eight times the core.
LEAST_CORE_VOXELS = HALO_VOXELS


@dataclass(frozen=True)
class ColumnPlan:
    """How a tomogram is cut.

    Parameters
    ----------
    columns
        They cover it; their cores do so once.
    largest_zyx
        Voxels of the largest, surroundings included.
    needed_bytes
        What the largest takes.
    budget_bytes
        What it may take.
    """

    columns: tuple[Column, ...]
    largest_zyx: IntTriple
    needed_bytes: float
    budget_bytes: float

    def describe(self) -> str:
        """Return the plan as one line."""
        size = " x ".join(str(length) for length in self.largest_zyx)
        noun = "column" if len(self.columns) == 1 else "columns"
        used, allowed = self.needed_bytes / 1e9, self.budget_bytes / 1e9
        return f"streamed in {len(self.columns)} {noun} of up to {size} voxels ({used:.3g} of {allowed:.3g} GB)"

    def as_record(self) -> dict[str, object]:
        """Return the plan for a record, JSON-ready."""
        return {
            "columns": len(self.columns),
            "largest_zyx": list(self.largest_zyx),
            "halo_voxels": HALO_VOXELS,
            "memory_gigabytes": round(self.budget_bytes / 1e9, 3),
        }


def refuse_volumes(setting: str, *, run: str, whole_bytes: float, budget_bytes: float) -> ConfigError:
    """Return the refusal of what only a tomogram picked as a whole can give, with the memory that this takes."""
    return ConfigError(
        setting,
        f"cannot be had of run '{run}', which is picked column by column: as a whole it takes "
        f"{format_gigabytes(whole_bytes)} GB, and {budget_bytes / 1e9:.3g} GB are allowed",
        "leave it out, or set predict.memory_gigabytes to that much where there is as much",
    )


def refuse_resampling(grid: VoxelGrid, spacing_angstrom: float, *, run: str, whole_bytes: float) -> None:
    """Refuse to stream a tomogram that has not the voxel spacing of the model.

    Raises
    ------
    MemoryLimitError
        With the memory that picking it as a whole takes.
    """
    if needs_resampling(grid, spacing_angstrom, run=run):
        raise MemoryLimitError(
            f"run '{run}'",
            f"is too large for memory and would have to be resampled from {grid.spacing_angstrom:.4g} to "
            f"{spacing_angstrom:.4g} Angstrom per voxel, which takes all of it, {format_gigabytes(whole_bytes)} GB",
            "resample it beforehand, or set predict.memory_gigabytes to that much where there is as much",
        )


def plan_streaming(source: TomogramSource, needs: MemoryNeeds, config: Config, *, budget_bytes: float) -> ColumnPlan:
    """Return the fewest columns of a tomogram that fit in memory.

    Parameters
    ----------
    source
        The tomogram.
    needs
        Of the networks.
    config
        How statistics are taken.
    budget_bytes
        What may be taken beside the program.

    Raises
    ------
    MemoryLimitError
        If not even the slimmest column fits, or the survey does not.
    """
    shape = source.grid.shape_zyx

    def column_bytes(box_zyx: IntTriple) -> float:
        reading = 4.0 * math.prod(box_zyx) + source.chunk_bytes
        return max(needs.column_bytes(box_zyx), reading)

    def fits(box_zyx: IntTriple) -> bool:
        return needs.can_take(box_zyx) and column_bytes(box_zyx) <= budget_bytes

    multiple = needs.ensemble.multiple
    survey_bytes = estimate_survey_bytes(source, config.preprocess)
    columns = plan_columns(shape, multiple=multiple, fits=fits, least_core_voxels=LEAST_CORE_VOXELS)
    if columns is None or survey_bytes > budget_bytes:
        side = round_up(LEAST_CORE_VOXELS, multiple) + 2 * round_up(HALO_VOXELS, multiple)
        slimmest = (shape[0], min(shape[1], side), min(shape[2], side))
        raise _too_little_memory(source, max(column_bytes(slimmest), survey_bytes), budget_bytes)
    largest = max((_shape_of(shape[0], column) for column in columns), key=column_bytes)
    return ColumnPlan(tuple(columns), largest, max(column_bytes(largest), survey_bytes), budget_bytes)


def _shape_of(depth: int, column: Column) -> IntTriple:
    return depth, column.outer_y[1] - column.outer_y[0], column.outer_x[1] - column.outer_x[0]


def _too_little_memory(source: TomogramSource, needed_bytes: float, budget_bytes: float) -> MemoryLimitError:
    size = " x ".join(str(length) for length in source.grid.shape_zyx)
    return MemoryLimitError(
        f"run '{source.run}'",
        f"has {size} voxels, of which the slimmest column that can be picked takes {format_gigabytes(needed_bytes)} "
        f"GB, and {budget_bytes / 1e9:.3g} GB are allowed",
        "set predict.memory_gigabytes to that much, free memory, or take a smaller network or chunks",
    )


def format_gigabytes(needed_bytes: float) -> str:
    """Return gigabytes as text with three digits, rounded up, so that a setting of that number suffices."""
    gigabytes = needed_bytes / 1e9
    digits = 2 - math.floor(math.log10(max(gigabytes, 1e-9)))
    return f"{math.ceil(gigabytes * 10**digits) / 10**digits:.{max(digits, 0)}f}"
