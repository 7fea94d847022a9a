"""Annotated tomograms -> batches of crops, as a pure function of (seed, step, rank)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SFC64, Generator
from numpy.typing import NDArray

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.models import OUTPUT_STRIDE
from cryofind.targets import TrainingTarget, average_blocks, draw_targets, mark_near_picks, targets_from_labels
from cryofind.train.augment import (
    PASTE_EDGE_FACTOR,
    draw_intensity,
    draw_lattice_matrix,
    draw_matrix,
    draw_mixing,
    find_free_place,
    paste_patch,
)
from cryofind.train.changes import (
    NOISE_WINDOWS,
    BatchTensors,
    CropChange,
    DrawnBatch,
    gather_changes,
)
from cryofind.train.crop_map import CropMap, Floats, cut_crop, find_outside, place_crop
from cryofind.train.fit_of_options import check_options
from cryofind.train.mixing import project_shares_at
from cryofind.train.runs import RunPool, TrainingRun, gather_pools
from cryofind.train.spectrum import draw_spectrum_change
from cryofind.types import ParticleSpec, VoxelGrid
from cryofind.types.grid import FloatTriple, IntTriple

__all__ = ["CropSampler", "TrainingRun"]

CENTRAL_SHARE = 0.7  # a chosen particle lies anywhere in this central part of its crop, along each axis
_STATISTICS_STRIDE = 8


class _Particles(NamedTuple):
    """Particles of one crop: crop indices (N, 3), channels (N,), radii (N,) in Angstrom as seen in the crop."""

    indices_zyx: Floats
    channels: NDArray[np.int64]
    radii_angstrom: Floats


class CropSampler:
    """Draws batches; the batch of (seed, step, rank) is always the same, whatever was drawn before.

    A crop shows a random particle of a random object, objects being equally likely however rare, except for a
    share `config.background_fraction` drawn anywhere. With `config.project_weights` the project is drawn first, by
    the shares of the step, and everything else, pasted particles too, comes from its runs.

    Parameters
    ----------
    runs
        Annotated tomograms, at least one.
    config
        Batch size, crop size, share of background crops, shares of the projects.
    augment
        Random changes.
    targets
        What is drawn as target.
    specs
        Objects in channel order.
    seed
        Seed; `config.seed` when None.

    Raises
    ------
    ConfigError
        If an option does not fit the runs.
    PicksError
        If no run has any particle, or with weights no run of some project.
    """

    def __init__(
        self,
        runs: Sequence[TrainingRun],
        config: TrainConfig,
        augment: AugmentConfig,
        targets: TargetConfig,
        specs: Sequence[ParticleSpec],
        seed: int | None = None,
    ) -> None:
        check_options(runs, config, augment, targets, specs)
        self._runs = tuple(runs)
        self._config = config
        self._augment = augment
        self._targets = targets
        self._seed = config.seed if seed is None else seed
        self._object_count = len(specs)
        self._radii_angstrom = np.array([spec.radius_angstrom or np.nan for spec in specs], dtype=np.float64)
        self._radius_factors = [targets.radius_factors.get(spec.name, targets.radius_factor) for spec in specs]
        self._indices = [run.grid.indices_from_positions(run.positions_zyx_angstrom) for run in self._runs]
        self._deviations = [_measure_deviation(run.volume_zyx) for run in self._runs]
        by_project, from_labels = bool(config.project_weights), targets.kind == "labels"
        self._pools = gather_pools(runs, len(specs), by_project=by_project, from_labels=from_labels)

    def draw(self, step: int, rank: int = 0, out: BatchTensors | None = None) -> DrawnBatch:
        """Return the batch of a step on the CPU, its grey values as they are in the tomograms, and their changes.

        `out` is a batch of this sampler that nobody needs any more, to be written over.
        """
        random = Generator(SFC64([self._seed, step, rank]))
        crops = self._make_room() if out is None else out
        images, values, weights = (tensor.numpy() for tensor in crops)
        shares = project_shares_at(step, self._config)
        drawn = []
        for crop in range(len(images)):
            pool = self._choose_pool(shares, random)
            target, row, crop_map = self._draw_crop(pool, random, images[crop, 0])
            values[crop], weights[crop] = target.values, target.weights
            drawn.append(self._draw_change(row, crop_map, random))
        mixing = draw_mixing(len(images), self._augment.mixup_probability, random)
        return DrawnBatch(crops, gather_changes(drawn, mixing))

    def _make_room(self) -> BatchTensors:
        count, shape = self._config.batch_size, self._config.crop_zyx
        cells = tuple(size // OUTPUT_STRIDE for size in shape)
        return BatchTensors(
            images=torch.empty(count, 1, *shape),
            values=torch.empty(count, self._object_count, *cells),
            weights=torch.empty(count, *cells),
        )

    def _draw_change(self, row: int, crop_map: CropMap, random: Generator) -> CropChange:
        # No number is drawn where nothing can come of it, so that what a seed gives stays.
        augment = self._augment
        intensity = draw_intensity(augment, random, deviation=self._deviations[row])
        starts = random.integers(NOISE_WINDOWS, size=2) if augment.noise_sigma else None
        spacing_angstrom = self._runs[row].grid.spacing_angstrom
        spectrum = draw_spectrum_change(
            augment, random, matrix_zyx=crop_map.matrix_zyx, spacing_angstrom=spacing_angstrom
        )
        return CropChange(intensity, starts, spectrum)

    def _choose_pool(self, shares: Floats, random: Generator) -> RunPool:
        # Without weights there is one pool, and no random number is spent on it.
        return self._pools[int(random.choice(len(shares), p=shares)) if len(shares) else 0]

    def _draw_crop(
        self, pool: RunPool, random: Generator, image: NDArray[np.float32]
    ) -> tuple[TrainingTarget, int, CropMap]:
        """Fill `image` with a random crop; return its target, the row of its run and where it lies there."""
        row, crop_map = self._draw_map(pool, random)
        run = self._runs[row]
        volume = cut_crop(run.volume_zyx, crop_map)
        annotated = self._find_particles(row, crop_map)
        particles = annotated
        if random.random() < self._augment.copy_paste_probability:
            volume, particles = self._paste_particle(volume, annotated, run.grid, pool, random)
        image[...] = volume
        return self._draw_target(run, crop_map, annotated, particles), row, crop_map

    def _draw_map(self, pool: RunPool, random: Generator) -> tuple[int, CropMap]:
        shape = np.asarray(self._config.crop_zyx)
        if random.random() < self._config.background_fraction:
            row = pool.choose_run(random)
            room = np.maximum(np.asarray(self._runs[row].grid.shape_zyx) - shape, 0)
            point = random.integers(0, room, endpoint=True) + (shape - 1) / 2
            point_in_crop = (shape - 1) / 2
        else:
            row, point = pool.choose_place(random)
            reach = CENTRAL_SHARE * (shape - 1) / 2
            point_in_crop = (shape - 1) / 2 + random.uniform(-reach, reach)
        matrix = draw_matrix(self._augment, random)
        volume_shape = self._runs[row].grid.shape_zyx
        crop_map = place_crop(
            matrix, self._config.crop_zyx, volume_shape, point_zyx=point, point_in_crop_zyx=point_in_crop
        )
        return row, crop_map

    def _find_particles(self, row: int, crop_map: CropMap) -> _Particles:
        channels = self._runs[row].channels
        radii_angstrom = self._radii_angstrom[channels] * crop_map.magnification
        return _Particles(crop_map.crop_from_source(self._indices[row]), channels, radii_angstrom)

    def _paste_particle(
        self, volume: NDArray[np.float32], there: _Particles, grid: VoxelGrid, pool: RunPool, random: Generator
    ) -> tuple[NDArray[np.float32], _Particles]:
        """Lay a particle of any run of the pool over a free place of the crop, if there is one."""
        donor, point, channel = self._choose_donor(pool, random)
        radius_angstrom = self._radii_angstrom[channel]
        radius_voxels = radius_angstrom / grid.spacing_angstrom
        half_edge = int(np.ceil(PASTE_EDGE_FACTOR * radius_voxels)) + 1
        patch_map = CropMap(draw_lattice_matrix(self._augment, random), np.rint(point), (2 * half_edge + 1,) * 3)
        place = find_free_place(
            self._config.crop_zyx,
            half_edge,
            taken_zyx=there.indices_zyx,
            taken_reaches_voxels=there.radii_angstrom / grid.spacing_angstrom,
            reach_voxels=PASTE_EDGE_FACTOR * radius_voxels,
            random=random,
        )
        source = self._runs[donor].volume_zyx
        if place is None or find_outside(patch_map, self._runs[donor].grid.shape_zyx, stride=1) is not None:
            return volume, there
        centre = patch_map.crop_from_source(point)
        pasted = paste_patch(
            volume, cut_crop(source, patch_map), place, centre_zyx=centre, particle_radius_voxels=radius_voxels
        )
        return pasted, _Particles(
            np.vstack([there.indices_zyx, place - half_edge + centre]),
            np.append(there.channels, channel),
            np.append(there.radii_angstrom, radius_angstrom),
        )

    def _choose_donor(self, pool: RunPool, random: Generator) -> tuple[int, Floats, int]:
        row, point = pool.choose_place(random)
        chosen = int(np.argmin(np.square(self._indices[row] - point).sum(axis=1)))
        return row, point, int(self._runs[row].channels[chosen])

    def _draw_target(
        self, run: TrainingRun, crop_map: CropMap, annotated: _Particles, particles: _Particles
    ) -> TrainingTarget:
        crop_grid, cells = _grids_of_crop(crop_map.shape_zyx, run.grid.spacing_zyx_angstrom)
        is_annotated = self._find_annotated(run, crop_map, crop_grid.positions_from_indices(annotated.indices_zyx))
        if self._targets.kind == "labels" and run.labels_zyx is not None:
            labels = cut_crop(run.labels_zyx, crop_map, order=0)
            present = {int(label): int(label) - 1 for label in np.unique(labels) if 0 < label <= self._object_count}
            target = targets_from_labels(labels, present, object_count=self._object_count, stride=OUTPUT_STRIDE)
            target.weights[~is_annotated] = 0
            return target
        return draw_targets(
            crop_grid.positions_from_indices(particles.indices_zyx),
            particles.channels,
            particles.radii_angstrom,
            cells,
            object_count=self._object_count,
            config=self._targets,
            radius_factors=self._radius_factors,
            annotated_zyx=is_annotated,
        )

    def _find_annotated(self, run: TrainingRun, crop_map: CropMap, positions_angstrom: Floats) -> NDArray[np.bool_]:
        """Return the cells of the crop that lie in the volume and where the annotation is complete."""
        _, cells = _grids_of_crop(crop_map.shape_zyx, run.grid.spacing_zyx_angstrom)
        is_annotated = np.ones(cells.shape_zyx, dtype=np.bool_)
        if self._targets.annotated_region == "near-picks":
            # In the crop's own Angstrom: a magnified crop shows the same region magnified.
            reach_angstrom = self._targets.annotated_distance_angstrom * crop_map.magnification
            is_annotated = mark_near_picks(positions_angstrom, cells, reach_angstrom)
        elif self._targets.annotated_region == "mask" and run.annotated_mask_zyx is not None:
            mask = cut_crop(run.annotated_mask_zyx, crop_map, order=0)
            is_annotated = average_blocks(mask, OUTPUT_STRIDE) >= 0.5
        is_outside = find_outside(crop_map, run.grid.shape_zyx, stride=OUTPUT_STRIDE)
        if is_outside is not None:
            is_annotated &= ~is_outside
        return is_annotated


@lru_cache(maxsize=8)
def _grids_of_crop(shape_zyx: IntTriple, spacing_zyx_angstrom: FloatTriple) -> tuple[VoxelGrid, VoxelGrid]:
    """Return the grids of a crop and of its target."""
    grid = VoxelGrid(shape_zyx, spacing_zyx_angstrom)
    return grid, grid.coarsened(OUTPUT_STRIDE)


def _measure_deviation(volume_zyx: NDArray[Any]) -> float:
    stride = _STATISTICS_STRIDE
    deviation = float(np.std(volume_zyx[::stride, ::stride, ::stride].astype(np.float32)))
    return deviation if np.isfinite(deviation) else 1.0
