"""How a tomogram that is larger than memory is cut into columns, and what is refused then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cryofind.config import Config, LocateConfig
from cryofind.errors import ConfigError, MemoryLimitError
from cryofind.io import TomogramSource
from cryofind.models import OUTPUT_STRIDE
from cryofind.pipeline.survey import estimate_survey_bytes
from cryofind.predict.columns import HALO_VOXELS, Column, plan_columns
from cryofind.predict.needs import PREPARED_BYTES, MemoryNeeds
from cryofind.predict.tiling import round_up
from cryofind.preprocess import needs_resampling
from cryofind.types import ParticleSpec, VoxelGrid
from cryofind.types.grid import IntTriple


@dataclass(frozen=True)
class ColumnPlan:
    """How a tomogram is cut.

    Parameters
    ----------
    columns
        They cover it; their cores do so once.
    halo_voxels
        Surroundings of every core.
    largest_zyx
        Voxels of the largest, surroundings included.
    needed_bytes
        What the largest takes.
    budget_bytes
        What it may take.
    """

    columns: tuple[Column, ...]
    halo_voxels: int
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
            "halo_voxels": self.halo_voxels,
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


def plan_streaming(
    source: TomogramSource, needs: MemoryNeeds, config: Config, specs: Sequence[ParticleSpec], *, budget_bytes: float
) -> ColumnPlan:
    """Return the fewest columns of a tomogram that fit in memory.

    Parameters
    ----------
    source
        The tomogram.
    needs
        Of the networks.
    config
        How statistics are taken, and how particles are located.
    specs
        The particles: for large ones the columns need more surroundings.
    budget_bytes
        What may be taken beside the program.

    Raises
    ------
    MemoryLimitError
        If not even the slimmest column fits, or the survey does not.
    """
    shape, halo = source.grid.shape_zyx, choose_halo(specs, config.locate, source.grid)

    def column_bytes(box_zyx: IntTriple) -> float:
        return max(needs.column_bytes(box_zyx), _bytes_of_reading(source, box_zyx))

    def fits(box_zyx: IntTriple) -> bool:
        return needs.can_take(box_zyx) and column_bytes(box_zyx) <= budget_bytes

    multiple = needs.ensemble.multiple
    survey_bytes = estimate_survey_bytes(source, config.preprocess)
    # Of slimmer columns the surroundings are more than eight times the core.
    columns = plan_columns(shape, multiple=multiple, fits=fits, halo_voxels=halo, least_core_voxels=halo)
    if columns is None or survey_bytes > budget_bytes:
        side = 3 * round_up(halo, multiple)
        slimmest = (shape[0], min(shape[1], side), min(shape[2], side))
        needed_bytes = max(column_bytes(slimmest), survey_bytes)
        chunks_weigh = source.reading_bytes(slimmest) > needs.column_bytes(slimmest)
        raise _too_little_memory(source, needed_bytes, budget_bytes, config, chunks_weigh=chunks_weigh)
    largest = max((_shape_of(shape[0], column) for column in columns), key=column_bytes)
    return ColumnPlan(tuple(columns), halo, largest, max(column_bytes(largest), survey_bytes), budget_bytes)


def choose_halo(specs: Sequence[ParticleSpec], config: LocateConfig, grid: VoxelGrid) -> int:
    """Return the voxels of surroundings that a column needs: what networks and location look at.

    A position is moved by up to one window, to the mean of what is within a window; smoothing looks at four sigma.
    """
    cell_angstrom = OUTPUT_STRIDE * max(grid.spacing_zyx_angstrom[1:])
    windows = [config.recentre_factor * spec.particle_radius_angstrom for spec in specs if spec.is_particle]
    window = max(windows, default=0.0) if config.refine else 0.0
    reach = 4 * config.smoothing_angstrom + 2 * (window + cell_angstrom)
    return max(HALO_VOXELS, math.ceil(reach / min(grid.spacing_zyx_angstrom[1:])))


def _bytes_of_reading(source: TomogramSource, box_zyx: IntTriple) -> float:
    """Return what a column takes while it is read: itself, and the piece that is decoded or prepared."""
    piece = source.piece_voxels(box_zyx)
    # As decoded, with unusable voxels replaced, and prepared.
    preparing = piece * (2 * source.dtype.itemsize + PREPARED_BYTES)
    return float(PREPARED_BYTES * math.prod(box_zyx) + max(source.reading_bytes(box_zyx), preparing))


def _shape_of(depth: int, column: Column) -> IntTriple:
    return depth, column.outer_y[1] - column.outer_y[0], column.outer_x[1] - column.outer_x[0]


def _too_little_memory(
    source: TomogramSource, needed_bytes: float, budget_bytes: float, config: Config, *, chunks_weigh: bool
) -> MemoryLimitError:
    needed = format_gigabytes(needed_bytes)
    is_set = config.predict.memory_gigabytes is not None
    allowed = f"{budget_bytes / 1e9:.3g} GB ({'predict.memory_gigabytes' if is_set else 'its share of what is free'})"
    chunks = " x ".join(str(length) for length in source.chunk_zyx)
    parts = f"piece by piece, its chunks having {chunks} voxels" if chunks_weigh else "column by column"
    return MemoryLimitError(
        f"run '{source.run}'",
        f"takes {needed} GB of memory even when it is picked {parts}, and may take {allowed}",
        f"set predict.memory_gigabytes to {needed} where as much is free"
        + (", or store it in smaller chunks" if chunks_weigh else ", or take a smaller network"),
    )


def format_gigabytes(needed_bytes: float) -> str:
    """Return gigabytes as text with three digits, rounded up, so that a setting of that number suffices."""
    gigabytes = needed_bytes / 1e9
    digits = 2 - math.floor(math.log10(max(gigabytes, 1e-9)))
    return f"{math.ceil(gigabytes * 10**digits) / 10**digits:.{max(digits, 0)}f}"
