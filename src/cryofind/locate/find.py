"""From the probability volumes of one run to its candidate picks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.config import LocateConfig
from cryofind.locate.peaks import find_peaks
from cryofind.locate.refine import recentre_peaks, refine_peaks
from cryofind.locate.split_merge import find_regions, volume_of_target_ball
from cryofind.locate.suppress import suppress_neighbours
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, VoxelGrid, find_spec

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Candidates:
    positions_zyx_angstrom: Floats
    scores: NDArray[np.float32]
    channels: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "_Candidates":
        return _Candidates(self.positions_zyx_angstrom[keep], self.scores[keep], self.channels[keep])


def find_picks(
    probabilities: ProbabilityVolume, specs: Sequence[ParticleSpec], config: LocateConfig, *, grid: VoxelGrid
) -> Picks:
    """Return every candidate of every particle, none selected against: thresholds come later.

    Maxima (method `peaks`) or split regions (method `watershed`) of at least the floor, refined between the cells,
    inside the tomogram and away from its faces as configured, thinned out best first by the least distances within
    and across objects. Across objects the higher score wins; scores are compared as they are. Maxima of large
    particles are then moved to the mean of the probability around them. Channels of objects that are not particles
    (membranes) yield no picks.

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
    channel_specs = [find_spec(specs, name) for name in probabilities.objects]
    candidates = _locate_all(probabilities, channel_specs, config)
    candidates = _thin_out(_keep_inside(candidates, grid, config), channel_specs, config)
    if config.method == "peaks" and config.refine and config.recentre_factor > 0:
        recentred = _recentre(candidates, probabilities, channel_specs, config)
        candidates = _thin_out(_keep_inside(recentred, grid, config), channel_specs, config)
    candidates = candidates.where(np.argsort(candidates.channels, kind="stable"))
    names = [channel_specs[channel].name for channel in candidates.channels]
    runs = [probabilities.run] * len(names)
    return Picks.build(runs, names, candidates.positions_zyx_angstrom, scores=candidates.scores)


def _locate_all(
    probabilities: ProbabilityVolume, channel_specs: Sequence[ParticleSpec], config: LocateConfig
) -> _Candidates:
    positions, scores, channels = [np.zeros((0, 3))], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for channel, spec in enumerate(channel_specs):
        if not spec.is_particle:
            continue
        indices, channel_scores = _locate_object(probabilities, channel, spec, config)
        positions.append(probabilities.grid.positions_from_indices(indices))
        scores.append(channel_scores)
        channels.append(np.full(len(channel_scores), channel))
    return _Candidates(np.concatenate(positions), np.concatenate(scores), np.concatenate(channels))


def _locate_object(
    probabilities: ProbabilityVolume, channel: int, spec: ParticleSpec, config: LocateConfig
) -> tuple[Floats, NDArray[np.float32]]:
    """Return fractional indices (N, 3) and scores (N,) of one channel's candidates."""
    subject = f"run '{probabilities.run}', object '{spec.name}'"
    smoothed = _smooth(probabilities.probabilities[channel], probabilities.grid, config.smoothing_angstrom)
    if config.method == "watershed":
        return _locate_regions(smoothed, probabilities.grid, spec, config, subject)
    peaks = find_peaks(smoothed, floor=config.floor, subject=subject)
    indices = refine_peaks(smoothed, peaks) if config.refine else peaks.cells_zyx.astype(np.float64)
    return indices, peaks.scores


def _smooth(probability_zyx: NDArray[np.floating], grid: VoxelGrid, sigma_angstrom: float) -> NDArray[np.floating]:
    if sigma_angstrom == 0:
        return probability_zyx
    sigma_cells = [sigma_angstrom / spacing for spacing in grid.spacing_zyx_angstrom]
    smoothed = ndimage.gaussian_filter(probability_zyx.astype(np.float32), sigma_cells, mode="nearest")
    return np.asarray(smoothed, dtype=np.float32)


def _locate_regions(
    probability_zyx: NDArray[np.floating], grid: VoxelGrid, spec: ParticleSpec, config: LocateConfig, subject: str
) -> tuple[Floats, NDArray[np.float32]]:
    radius_angstrom = spec.particle_radius_angstrom
    regions = find_regions(
        probability_zyx,
        threshold=max(config.watershed_threshold, config.floor),
        radius_angstrom=radius_angstrom,
        spacing_zyx_angstrom=grid.spacing_zyx_angstrom,
        subject=subject,
    )
    cell_volume = float(np.prod(grid.spacing_zyx_angstrom))
    volumes_in_balls = regions.volumes_cells * cell_volume / volume_of_target_ball(radius_angstrom)
    fits = (volumes_in_balls >= config.min_volume_factor) & (volumes_in_balls <= config.max_volume_factor)
    return regions.centroids_zyx[fits], regions.scores[fits]


def _recentre(
    candidates: _Candidates,
    probabilities: ProbabilityVolume,
    channel_specs: Sequence[ParticleSpec],
    config: LocateConfig,
) -> _Candidates:
    grid = probabilities.grid
    positions = candidates.positions_zyx_angstrom.copy()
    for channel in np.unique(candidates.channels):
        rows = candidates.channels == channel
        indices = recentre_peaks(
            probabilities.probabilities[channel],
            grid.indices_from_positions(positions[rows]),
            window_angstrom=config.recentre_factor * channel_specs[channel].particle_radius_angstrom,
            spacing_zyx_angstrom=grid.spacing_zyx_angstrom,
        )
        positions[rows] = grid.positions_from_indices(indices)
    return _Candidates(positions, candidates.scores, candidates.channels)


def _keep_inside(candidates: _Candidates, grid: VoxelGrid, config: LocateConfig) -> _Candidates:
    return candidates.where(grid.contains(candidates.positions_zyx_angstrom, margin_angstrom=config.border_angstrom))


def _thin_out(candidates: _Candidates, channel_specs: Sequence[ParticleSpec], config: LocateConfig) -> _Candidates:
    """Return the candidates that keep their distance, best score first."""
    kept = suppress_neighbours(
        candidates.positions_zyx_angstrom,
        candidates.scores,
        candidates.channels,
        separations_angstrom=_separations(channel_specs, config),
        max_per_channel=config.max_candidates,
    )
    return candidates.where(kept)


def _separations(channel_specs: Sequence[ParticleSpec], config: LocateConfig) -> Floats:
    """Return the least distance (K, K), Angstrom, of candidates of every two channels; 0 where it is no particle."""
    radii = np.array([spec.radius_angstrom or 0.0 for spec in channel_specs])
    across = config.cross_separation_factor * np.minimum(radii[:, None], radii[None, :])
    within = config.separation_factor * radii
    return np.where(np.eye(len(radii), dtype=bool), within[:, None], across)
