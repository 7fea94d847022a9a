"""From the probability volumes of one run to its candidate picks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class Candidates:
    """Places that may hold a particle, before any is weighed against another.

    Parameters
    ----------
    positions_zyx_angstrom
        Of the maxima or regions, shape (N, 3).
    centred_zyx_angstrom
        The same, moved to the mean of the probability around them; equal where that is not asked for.
    scores
        Probability, shape (N,).
    channels
        Index of the object, shape (N,).
    """

    positions_zyx_angstrom: Floats
    centred_zyx_angstrom: Floats
    scores: NDArray[np.float32]
    channels: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Candidates":
        """Return the candidates of a mask or of row numbers, in their order."""
        return Candidates(
            self.positions_zyx_angstrom[keep], self.centred_zyx_angstrom[keep], self.scores[keep], self.channels[keep]
        )

    def centred(self) -> "Candidates":
        """Return the candidates at their centred positions."""
        return replace(self, positions_zyx_angstrom=self.centred_zyx_angstrom)

    @classmethod
    def concatenate(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """Return all candidates of some parts, of which there is at least one."""
        return cls(
            np.concatenate([part.positions_zyx_angstrom for part in parts]),
            np.concatenate([part.centred_zyx_angstrom for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.channels for part in parts]),
        )


def find_picks(
    probabilities: ProbabilityVolume, specs: Sequence[ParticleSpec], config: LocateConfig, *, grid: VoxelGrid
) -> Picks:
    """Return every candidate of every particle, none selected against: thresholds come later.

    Maxima (method `peaks`) or split regions (method `watershed`) of at least their object's floor, refined between the
    cells, inside the tomogram and away from its faces as configured, thinned out best first by the least distances
    within and across objects. Across objects the higher score wins; scores are compared as they are. Maxima of large
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
    candidates = locate_candidates(probabilities, specs, config)
    return settle_candidates(candidates, probabilities.objects, specs, config, run=probabilities.run, grid=grid)


def locate_candidates(
    probabilities: ProbabilityVolume, specs: Sequence[ParticleSpec], config: LocateConfig
) -> Candidates:
    """Return every maximum or region of every particle, wherever it lies; the first half of `find_picks`.

    What a volume gives by method `peaks` is what its parts give, so its parts may be searched one by one.
    """
    parts = [_no_candidates()]
    for channel, name in enumerate(probabilities.objects):
        spec = find_spec(specs, name)
        if spec.is_particle:
            parts.append(_find_object(probabilities, channel, spec, config))
    return Candidates.concatenate(parts)


def settle_candidates(
    candidates: Candidates,
    objects: Sequence[str],
    specs: Sequence[ParticleSpec],
    config: LocateConfig,
    *,
    run: str,
    grid: VoxelGrid,
) -> Picks:
    """Weigh the candidates of a whole run against each other; the second half of `find_picks`.

    Parameters
    ----------
    candidates
        Of all parts of the run.
    objects
        Names of the channels.
    specs, config, grid
        See `find_picks`.
    run
        Name of the run.
    """
    channel_specs = [find_spec(specs, name) for name in objects]
    kept = _thin_out(_keep_inside(candidates, grid, config), channel_specs, config)
    if _recentres(config):
        kept = _thin_out(_keep_inside(kept.centred(), grid, config), channel_specs, config)
    kept = kept.where(np.argsort(kept.channels, kind="stable"))
    names = [channel_specs[channel].name for channel in kept.channels]
    return Picks.build([run] * len(names), names, kept.positions_zyx_angstrom, scores=kept.scores)


def _no_candidates() -> Candidates:
    nowhere = np.zeros((0, 3))
    return Candidates(nowhere, nowhere, np.zeros(0, np.float32), np.zeros(0, np.int64))


def _recentres(config: LocateConfig) -> bool:
    return config.method == "peaks" and config.refine and config.recentre_factor > 0


def _find_object(
    probabilities: ProbabilityVolume, channel: int, spec: ParticleSpec, config: LocateConfig
) -> Candidates:
    grid = probabilities.grid
    indices, scores = _locate_object(probabilities, channel, spec, config)
    centred = indices
    if _recentres(config):
        centred = recentre_peaks(
            probabilities.probabilities[channel],
            indices,
            window_angstrom=config.recentre_factor * spec.particle_radius_angstrom,
            spacing_zyx_angstrom=grid.spacing_zyx_angstrom,
        )
    positions = grid.positions_from_indices(indices), grid.positions_from_indices(centred)
    return Candidates(*positions, scores, np.full(len(scores), channel))


def _locate_object(
    probabilities: ProbabilityVolume, channel: int, spec: ParticleSpec, config: LocateConfig
) -> tuple[Floats, NDArray[np.float32]]:
    """Return fractional indices (N, 3) and scores (N,) of one channel's candidates."""
    subject = f"run '{probabilities.run}', object '{spec.name}'"
    smoothed = _smooth(probabilities.probabilities[channel], probabilities.grid, config.smoothing_angstrom)
    if config.method == "watershed":
        return _locate_regions(smoothed, probabilities.grid, spec, config, subject)
    peaks = find_peaks(smoothed, floor=config.floor_of(spec.name), subject=subject)
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
    fits &= regions.scores >= config.floor_of(spec.name)
    return regions.centroids_zyx[fits], regions.scores[fits]


def _keep_inside(candidates: Candidates, grid: VoxelGrid, config: LocateConfig) -> Candidates:
    return candidates.where(grid.contains(candidates.positions_zyx_angstrom, margin_angstrom=config.border_angstrom))


def _thin_out(candidates: Candidates, channel_specs: Sequence[ParticleSpec], config: LocateConfig) -> Candidates:
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
    within = radii * [config.separation_of(spec.name) for spec in channel_specs]
    return np.where(np.eye(len(radii), dtype=bool), within[:, None], across)
