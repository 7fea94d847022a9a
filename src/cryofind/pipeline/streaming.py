"""Picking a tomogram that is larger than memory: column by column, with the picks of the whole."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryofind.config import Config
from cryofind.io import TomogramSource
from cryofind.locate import Candidates, settle_candidates
from cryofind.models import OUTPUT_STRIDE
from cryofind.pipeline.candidates import predict_tomogram
from cryofind.pipeline.column_plan import ColumnPlan, plan_streaming
from cryofind.pipeline.familiarity import Familiarity, compare_blocks, warnings_of
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.survey import survey_tomogram
from cryofind.pipeline.timing import timed
from cryofind.predict.columns import Column
from cryofind.predict.needs import MemoryNeeds
from cryofind.preprocess import Preparation
from cryofind.progress import report_progress
from cryofind.types import Tomogram, VoxelGrid
from cryofind.types.grid import IntTriple

logger = logging.getLogger("cryofind")

# Two columns that find the same maximum at their seam may place it twice this apart. Refined places of two maxima are
# two voxels apart at least.
SEAM_VOXELS = 0.5


@dataclass(frozen=True, eq=False)
class StreamedTomogram:
    """A tomogram that has been surveyed and compared, and is about to be read again, column by column."""

    source: TomogramSource
    preparation: Preparation
    plan: ColumnPlan
    familiarity: Familiarity | None = None


def survey_for_streaming(
    picker: Picker, source: TomogramSource, needs: MemoryNeeds, *, budget_bytes: float
) -> tuple[str, StreamedTomogram]:
    """Return the fingerprint of a tomogram, and the tomogram ready for `pick_streamed`.

    Parameters
    ----------
    picker
        The model.
    source
        The tomogram, of the model's voxel spacing.
    needs
        Of the model's networks.
    budget_bytes
        What may be taken beside the program.

    Raises
    ------
    TomogramError
        If memory does not suffice, or the voxels do not suit (see `survey_tomogram`).
    """
    plan = plan_streaming(source, needs, picker.config, picker.specs, budget_bytes=budget_bytes)
    survey = survey_tomogram(source, picker.config.preprocess, polarity=picker.card.polarity)
    familiarity = compare_blocks(survey.blocks_zyx, picker.networks[0], picker.card)
    return survey.fingerprint, StreamedTomogram(source, survey.preparation, plan, familiarity)


def pick_streamed(picker: Picker, tomogram: StreamedTomogram, needs: MemoryNeeds) -> PickResult:
    """Return the picks of a tomogram, of which one column at a time is in memory.

    Parameters
    ----------
    picker
        The model.
    tomogram
        Surveyed and cut into columns.
    needs
        Of the model's networks.

    Raises
    ------
    CryofindError
        As in `Picker.pick_tomogram`; also if a chunk cannot be read any more.
    """
    source, plan = tomogram.source, tomogram.plan
    logger.info("run '%s': %s", source.run, plan.describe())
    search = _Search(picker, tomogram, needs)
    found = []
    with report_progress(f"stream {source.run}", len(plan.columns)) as progress:
        for column in plan.columns:
            found.append(search.search(column))
            progress.advance()
    with timed(search.seconds, "locate"):
        candidates = join_columns(found, source.grid)
        names = [spec.name for spec in picker.specs]
        settled = settle_candidates(
            candidates, names, picker.specs, picker.config.locate, run=source.run, grid=source.grid
        )
        selection = picker.select(settled)
    notes = source.notes + tomogram.preparation.notes + search.describe_engines() + warnings_of(tomogram.familiarity)
    engine = picker.ready_networks.choice
    return PickResult(selection.picks, notes, search.seconds, engine, None, plan, selection.trust, tomogram.familiarity)


def join_columns(parts: Sequence[Candidates], grid: VoxelGrid) -> Candidates:
    """Return the candidates of all columns, of each that two columns found the one with the higher score.

    Parameters
    ----------
    parts
        Candidates of each column, those at its seams included; at least one part.
    grid
        Grid of the tomogram.
    """
    candidates = Candidates.concatenate(parts)
    columns = np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])
    places = grid.indices_from_positions(candidates.positions_zyx_angstrom)
    pairs = cKDTree(places).query_pairs(2 * SEAM_VOXELS, output_type="ndarray")
    first, second = pairs.T
    is_same = (columns[first] != columns[second]) & (candidates.channels[first] == candidates.channels[second])
    first, second = first[is_same], second[is_same]
    worse = np.where(candidates.scores[first] >= candidates.scores[second], second, first)
    joined = candidates.where(np.setdiff1d(np.arange(len(columns)), worse))
    return joined.where(_order_of_whole(joined, grid))


@dataclass(frozen=True, eq=False)
class _Search:
    """The columns of one tomogram, one after the other; `seconds` adds up by stage, `precisions` by column."""

    picker: Picker
    tomogram: StreamedTomogram
    needs: MemoryNeeds
    seconds: dict[str, float] = field(default_factory=dict)
    precisions: list[str] = field(default_factory=list)

    def search(self, column: Column) -> Candidates:
        """Return the candidates in the core of a column, and a little beyond."""
        picker = self.picker
        prepared = self._prepare(column)
        with timed(self.seconds, "network"):
            config = self._config_for(prepared.grid.shape_zyx)
            prediction = predict_tomogram(picker.ready_networks, prepared, picker.specs, picker.card.activation, config)
        self.precisions.append(prediction.engine.precision if prediction.engine else "")
        with timed(self.seconds, "locate"):
            found = prediction.locate(picker.specs, picker.locate_config)
            places = self.tomogram.source.grid.indices_from_positions(found.positions_zyx_angstrom)
            return found.where(column.owns(places[:, 1:], margin_voxels=SEAM_VOXELS))

    def describe_engines(self) -> tuple[str, ...]:
        """Return a note if columns were predicted in a wider number type than chosen."""
        wider = len(self.precisions) - self.precisions.count(self.picker.ready_networks.choice.precision)
        return (f"{wider} of {len(self.precisions)} columns were predicted in float32",) if wider else ()

    def _prepare(self, column: Column) -> Tomogram:
        """Return a column as the network expects it."""
        source = self.tomogram.source
        (top, bottom), (left, right) = column.outer_y, column.outer_x
        start, stop = (0, top, left), (source.grid.shape_zyx[0], bottom, right)
        grid = _cut_grid(source.grid, start, stop)
        voxels = np.empty(grid.shape_zyx, np.float32)
        for first, last in source.cut_pieces(start, stop):
            with timed(self.seconds, "read"):
                values = source.read_box(first, last)
            with timed(self.seconds, "preprocess"):
                self._place(voxels, values, first, start)
        return Tomogram(source.run, voxels, grid, source.flavour)

    def _place(
        self, voxels: NDArray[np.float32], values: NDArray[np.generic], first_zyx: IntTriple, start_zyx: IntTriple
    ) -> None:
        here = tuple(
            slice(first - start, first - start + length)
            for first, start, length in zip(first_zyx, start_zyx, values.shape, strict=True)
        )
        voxels[here] = self.tomogram.preparation.apply(values)

    def _config_for(self, shape_zyx: IntTriple) -> Config:
        """Return the recipe for a column: in one block, since that has been seen to fit."""
        config = self.picker.config
        if not self.needs.runs_in_main_memory or config.predict.tile_zyx is not None:
            return config
        predict = config.predict.model_copy(update={"tile_zyx": self.needs.block_of(shape_zyx)})
        return config.model_copy(update={"predict": predict})


def _order_of_whole(candidates: Candidates, grid: VoxelGrid) -> NDArray[np.int64]:
    """Return the rows by channel and cell, as a whole volume gives them: of equal scores the first counts."""
    cells = np.rint(grid.coarsened(OUTPUT_STRIDE).indices_from_positions(candidates.positions_zyx_angstrom))
    z, y, x = cells.T
    return np.lexsort((x, y, z, candidates.channels))


def _cut_grid(grid: VoxelGrid, start_zyx: IntTriple, stop_zyx: IntTriple) -> VoxelGrid:
    z, y, x = (stop - start for start, stop in zip(start_zyx, stop_zyx, strict=True))
    origin_z, origin_y, origin_x = (float(place) for place in grid.positions_from_indices(start_zyx))
    return replace(grid, shape_zyx=(z, y, x), origin_zyx_angstrom=(origin_z, origin_y, origin_x))
