"""From the probability volumes of one run to its candidate picks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.config import LocateConfig
from cryofind.locate.peaks import find_peaks
from cryofind.locate.refine import refine_peaks
from cryofind.locate.split_merge import find_regions, volume_of_target_ball
from cryofind.locate.suppress import suppress_neighbours
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, VoxelGrid, find_spec

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Candidates:
    positions_zyx_angstrom: Floats
    scores: NDArray[np.float32]


def find_picks(
    probabilities: ProbabilityVolume, specs: Sequence[ParticleSpec], config: LocateConfig, *, grid: VoxelGrid
) -> Picks:
    """Return every candidate of every particle, none selected against: thresholds come later.

    Maxima (method `peaks`) or split regions (method `watershed`) of at least the floor, refined between the cells,
    inside the tomogram and away from its faces as configured, thinned out best first by the least distances within
    and across objects. Across objects the higher score wins; scores are compared as they are. Channels of objects
    that are not particles (membranes) yield no picks.

    Parameters
    ----------
    probabilities
        Volumes of one run, float16 or float32, usually on the stride-2 grid.
    specs
        At least the objects of the channels; their radii set all distances.
    config
        Options of this stage.
    grid
        Grid of the tomogram: positions outside its box are dropped (a coarse grid may hang over an odd edge).

    Returns
    -------
    Picks
        Sorted by object in channel order, then by descending score; all selected.

    Raises
    ------
    ConfigError
        If a channel's object is not among the specs.
    ModelError
        If a probability is NaN or infinite.
    """
    channels = [
        (spec, probabilities.probabilities[channel])
        for channel, spec in enumerate(find_spec(specs, name) for name in probabilities.objects)
        if spec.is_particle
    ]
    if not channels:
        return Picks.empty()
    located = [
        _keep_inside(_locate_object(volume, probabilities, spec, config), grid, config) for spec, volume in channels
    ]
    return _thin_out(located, [spec for spec, _ in channels], probabilities.run, config)


def _locate_object(
    probability_zyx: NDArray[np.floating], probabilities: ProbabilityVolume, spec: ParticleSpec, config: LocateConfig
) -> _Candidates:
    subject = f"run '{probabilities.run}', object '{spec.name}'"
    smoothed = _smooth(probability_zyx, probabilities.grid, config.smoothing_angstrom)
    if config.method == "watershed":
        return _locate_regions(smoothed, probabilities.grid, spec, config, subject)
    peaks = find_peaks(smoothed, floor=config.floor, subject=subject)
    indices = refine_peaks(smoothed, peaks) if config.refine else peaks.cells_zyx.astype(np.float64)
    return _Candidates(probabilities.grid.positions_from_indices(indices), peaks.scores)


def _smooth(probability_zyx: NDArray[np.floating], grid: VoxelGrid, sigma_angstrom: float) -> NDArray[np.floating]:
    if sigma_angstrom == 0:
        return probability_zyx
    sigma_cells = [sigma_angstrom / spacing for spacing in grid.spacing_zyx_angstrom]
    smoothed = ndimage.gaussian_filter(probability_zyx.astype(np.float32), sigma_cells, mode="nearest")
    return np.asarray(smoothed, dtype=np.float32)


def _locate_regions(
    probability_zyx: NDArray[np.floating], grid: VoxelGrid, spec: ParticleSpec, config: LocateConfig, subject: str
) -> _Candidates:
    radius_angstrom = spec.particle_radius_angstrom
    regions = find_regions(
        probability_zyx,
        threshold=max(config.watershed_threshold, config.floor),
        radius_angstrom=radius_angstrom,
        spacing_zyx_angstrom=grid.spacing_zyx_angstrom,
        subject=subject,
    )
    volumes_in_balls = (
        regions.volumes_cells * float(np.prod(grid.spacing_zyx_angstrom)) / volume_of_target_ball(radius_angstrom)
    )
    fits = (volumes_in_balls >= config.min_volume_factor) & (volumes_in_balls <= config.max_volume_factor)
    fitting = regions.where(fits)
    return _Candidates(grid.positions_from_indices(fitting.centroids_zyx), fitting.scores)


def _keep_inside(candidates: _Candidates, grid: VoxelGrid, config: LocateConfig) -> _Candidates:
    inside = grid.contains(candidates.positions_zyx_angstrom, margin_angstrom=config.border_angstrom)
    return _Candidates(candidates.positions_zyx_angstrom[inside], candidates.scores[inside])


def _thin_out(located: Sequence[_Candidates], specs: Sequence[ParticleSpec], run: str, config: LocateConfig) -> Picks:
    positions = np.concatenate([candidates.positions_zyx_angstrom for candidates in located])
    scores = np.concatenate([candidates.scores for candidates in located])
    channels = np.repeat(np.arange(len(located)), [len(candidates.scores) for candidates in located])
    kept = suppress_neighbours(
        positions,
        scores,
        channels,
        separations_angstrom=_separations(specs, config),
        max_per_channel=config.max_candidates,
    )
    kept = kept[np.argsort(channels[kept], kind="stable")]
    names = np.array([spec.name for spec in specs])[channels[kept]]
    return Picks.build([run] * len(kept), list(names), positions[kept], scores=scores[kept])


def _separations(specs: Sequence[ParticleSpec], config: LocateConfig) -> Floats:
    """Return the least distance (K, K), Angstrom, of candidates of every two objects."""
    radii = np.array([spec.particle_radius_angstrom for spec in specs])
    across = config.cross_separation_factor * np.minimum(radii[:, None], radii[None, :])
    within = config.separation_factor * radii
    return np.where(np.eye(len(radii), dtype=bool), within[:, None], across)
