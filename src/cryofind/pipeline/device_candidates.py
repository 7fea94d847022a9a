"""Probabilities that lie on a device -> candidates, the same as `cryofind.locate` finds in their copy on the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from cryofind.config import LocateConfig
from cryofind.errors import ModelError
from cryofind.locate import Candidates, Peaks, refine_peaks
from cryofind.locate.peaks import NEIGHBOUR_OFFSETS_ZYX
from cryofind.locate.refine import LEAST_WINDOW_CELLS, RECENTRE_STEPS, draw_soft_ball
from cryofind.predict.device_peaks import Crests, centre_on_mass, count_damaged, find_crests, gather_neighbourhoods
from cryofind.types import ParticleSpec, VoxelGrid, find_spec

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Maxima:
    """Maxima of all channels, by channel and then in the order of their cells."""

    channels: Ints
    peaks: Peaks


def can_locate_on_device(config: LocateConfig) -> bool:
    """Return whether `locate_on_device` knows this way to locate; watersheds and smoothing are for the host."""
    return config.method == "peaks" and config.smoothing_angstrom == 0


def locate_on_device(
    probabilities: Tensor,
    objects: Sequence[str],
    grid: VoxelGrid,
    specs: Sequence[ParticleSpec],
    config: LocateConfig,
    *,
    run: str,
) -> Candidates:
    """Return what `cryofind.locate.locate_candidates` returns, of probabilities that stay where they are.

    Only arrays of the candidates' size come to the host: cells, scores, their 3 x 3 x 3 neighbourhoods, positions.
    On the device at most 256 MiB are taken beside the probabilities, however many candidates there are.

    Parameters
    ----------
    probabilities
        Shape (K, z, y, x), values 0 to 1, float32, float16 or bfloat16, on any device.
    objects
        Names of the K channels.
    grid
        Grid of one channel.
    specs
        At least the objects of the channels.
    config
        Options for which `can_locate_on_device` holds.
    run
        Name of the run, for errors.

    Returns
    -------
    Candidates
        Every maximum of every particle, by channel and then in the order of the cells.

    Raises
    ------
    ConfigError
        If a channel's object is not among the specs.
    ModelError
        If a probability of a particle is NaN or infinite.
    ValueError
        If shapes do not agree, or the options ask for another way to locate.
    """
    if tuple(probabilities.shape) != (len(objects), *grid.shape_zyx):
        raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}, expected {len(objects)} x grid")
    if not can_locate_on_device(config):
        raise ValueError(f"method '{config.method}' with smoothing {config.smoothing_angstrom} is not for a device")
    channel_specs = [find_spec(specs, name) for name in objects]
    particles = [channel for channel, spec in enumerate(channel_specs) if spec.is_particle]
    _check_finite(probabilities, particles, objects, run)
    floors = [config.floor_of(objects[channel]) for channel in particles]
    maxima = _choose_maxima(find_crests(probabilities, particles, floors=floors))
    indices = _refine(probabilities, maxima) if config.refine else maxima.peaks.cells_zyx.astype(np.float64)
    centred = _recentre(probabilities, maxima.channels, indices, channel_specs, grid, config)
    positions = grid.positions_from_indices(indices), grid.positions_from_indices(centred)
    return Candidates(*positions, maxima.peaks.scores, maxima.channels)


def _check_finite(probabilities: Tensor, channels: Sequence[int], objects: Sequence[str], run: str) -> None:
    for channel, damaged in count_damaged(probabilities, channels).items():
        raise ModelError(
            f"run '{run}', object '{objects[channel]}'",
            f"{damaged} of {probabilities[channel].numel()} probabilities are not finite numbers",
            "predict again with --set predict.precision=float32",
        )


def _choose_maxima(crests: Crests) -> _Maxima:
    """Return one cell of each plateau that is a maximum: the nearest to its mean, then the first in array order."""
    plateau_of_crest, is_maximum = _group_plateaus(crests)
    plateau_count = len(is_maximum)
    sizes = np.bincount(plateau_of_crest, minlength=plateau_count)
    sums = [np.bincount(plateau_of_crest, weights=axis, minlength=plateau_count) for axis in crests.cells_zyx.T]
    centres = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
    distances = np.sum((crests.cells_zyx - centres[plateau_of_crest]) ** 2, axis=1)
    # lexsort is stable: of equally near cells the first comes first.
    order = np.lexsort((distances, plateau_of_crest))
    _, first = np.unique(plateau_of_crest[order], return_index=True)
    winners = np.sort(order[first[is_maximum]])
    plateaus = plateau_of_crest[winners]
    chosen = crests.where(winners)
    return _Maxima(chosen.channels, Peaks(chosen.cells_zyx, centres[plateaus], sizes[plateaus] > 1, chosen.scores))


def _group_plateaus(crests: Crests) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the plateau (N,) of every crest and whether each plateau is a maximum.

    Touching crests are of equal value, for neither exceeds the other. A plateau with an equal neighbour that is no
    crest leads up to something higher: no maximum.
    """
    touching = np.flatnonzero(crests.equal_neighbours)
    sources, targets = _touching_pairs(crests.where(touching))
    ends = np.concatenate([sources, targets])
    leads_up = np.bincount(ends, minlength=len(touching)) != crests.equal_neighbours[touching]
    pairs = (np.ones(len(sources), bool), (touching[sources], touching[targets]))
    plateau_count, labels = connected_components(coo_array(pairs, shape=(len(crests),) * 2), directed=False)
    plateau_of_crest = np.asarray(labels, dtype=np.int64)
    is_maximum = np.ones(plateau_count, bool)
    is_maximum[plateau_of_crest[touching[leads_up]]] = False
    return plateau_of_crest, is_maximum


def _touching_pairs(crests: Crests) -> tuple[Ints, Ints]:
    """Return the rows of every two crests of a channel that are neighbours, each pair once."""
    if len(crests) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # One empty cell around every channel, so that a step out of it meets no crest.
    depth, height, width = (int(last) + 3 for last in crests.cells_zyx.max(axis=0))
    z, y, x = crests.cells_zyx.T + 1
    numbers = ((crests.channels * depth + z) * height + y) * width + x
    sources, targets = [], []
    for step_z, step_y, step_x in (offset for offset in NEIGHBOUR_OFFSETS_ZYX if offset > (0, 0, 0)):
        neighbours = numbers + (step_z * height + step_y) * width + step_x
        places = np.minimum(np.searchsorted(numbers, neighbours), len(numbers) - 1)
        found = np.flatnonzero(numbers[places] == neighbours)
        sources.append(found)
        targets.append(places[found])
    return np.concatenate(sources), np.concatenate(targets)


def _refine(probabilities: Tensor, maxima: _Maxima) -> Floats:
    """Return the fractional indices that `refine_peaks` gives for the maxima of every channel."""
    peaks = maxima.peaks
    indices = np.empty((len(peaks), 3))
    for rows, around in gather_neighbourhoods(probabilities, maxima.channels, peaks.cells_zyx):
        part = Peaks(peaks.cells_zyx[rows], peaks.centres_zyx[rows], peaks.is_plateau[rows], peaks.scores[rows])
        indices[rows] = _refine_stacked(around, part, np.array(probabilities.shape[1:]))
    return indices


def _refine_stacked(around: NDArray[np.float32], peaks: Peaks, shape_zyx: Ints) -> Floats:
    """Refine maxima by their neighbourhoods (N, 3, 3, 3), which stacked along z are a volume with N maxima."""
    middles = np.array([1, 1, 1]) + np.arange(len(peaks))[:, None] * np.array([3, 0, 0])
    shifts = middles - peaks.cells_zyx
    stacked = Peaks(middles, peaks.centres_zyx + shifts, peaks.is_plateau, peaks.scores)
    offsets = refine_peaks(around.reshape(-1, 3, 3), stacked) - middles
    # In the stack no maximum lies at a face, where an axis is not refined.
    at_face = (peaks.cells_zyx == 0) | (peaks.cells_zyx == shape_zyx - 1)
    offsets[at_face & ~peaks.is_plateau[:, None]] = 0.0
    return np.asarray(peaks.cells_zyx + offsets)


def _recentre(
    probabilities: Tensor,
    channel_of_row: Ints,
    indices_zyx: Floats,
    channel_specs: Sequence[ParticleSpec],
    grid: VoxelGrid,
    config: LocateConfig,
) -> Floats:
    """Return the indices that `recentre_peaks` gives for the maxima of every channel."""
    if not config.refine or config.recentre_factor == 0:
        return indices_zyx
    spacing = np.array(grid.spacing_zyx_angstrom)
    windows = np.array([config.recentre_factor * (spec.radius_angstrom or 0.0) for spec in channel_specs])
    is_wide = windows >= LEAST_WINDOW_CELLS * spacing.max()
    channels = [int(channel) for channel in np.unique(channel_of_row) if is_wide[channel]]
    rows = [np.flatnonzero(channel_of_row == channel) for channel in channels]
    moved = centre_on_mass(
        probabilities,
        [indices_zyx[chosen] for chosen in rows],
        [_soft_ball(windows[channel], spacing) for channel in channels],
        channels=channels,
        steps=RECENTRE_STEPS,
    )
    centred = indices_zyx.copy()
    for chosen, ends, channel in zip(rows, moved, channels, strict=True):
        centred[chosen] = _shorten(indices_zyx[chosen], ends, windows[channel], spacing)
    return centred


def _soft_ball(window_angstrom: float, spacing: Floats) -> Floats:
    """Return the weights of a soft ball as an odd cube."""
    steps, weights = draw_soft_ball(window_angstrom, spacing)
    reach = steps.max(axis=0)
    cube = np.zeros(2 * reach + 1)
    cube[tuple((steps + reach).T)] = weights
    return cube


def _shorten(starts_zyx: Floats, ends_zyx: Floats, most_angstrom: float, spacing: Floats) -> Floats:
    """Return the ends, at most so far from their starts."""
    shifts = (ends_zyx - starts_zyx) * spacing
    lengths = np.linalg.norm(shifts, axis=1, keepdims=True)
    return np.asarray(starts_zyx + shifts * np.minimum(1.0, most_angstrom / np.maximum(lengths, 1e-9)) / spacing)
