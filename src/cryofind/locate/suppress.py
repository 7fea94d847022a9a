"""One pick per particle: of candidates that are too close, the best stays."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Candidates are looked at in blocks of this many, best first, which bounds the memory for pairs.
BLOCK_SIZE = 100_000


def suppress_neighbours(
    positions_zyx_angstrom: Floats,
    scores: NDArray[np.floating],
    channels: Ints,
    *,
    separations_angstrom: Floats,
    max_per_channel: int | None = None,
) -> Ints:
    """Keep candidates greedily, best score first, each at its least distance from all kept before.

    Parameters
    ----------
    positions_zyx_angstrom
        Shape (N, 3), zyx, Angstrom.
    scores
        Shape (N,), compared across channels as they are; of equal ones the earlier row is the better.
    channels
        Object index of every candidate, shape (N,), 0 to K - 1.
    separations_angstrom
        Shape (K, K), symmetric: two candidates of channels a and b nearer than `[a, b]` are not both kept.
    max_per_channel
        Keep at most this many of every channel, best first; None for all.

    Returns
    -------
    ndarray of shape (M,)
        Kept rows, best score first.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    limit = len(order) if max_per_channel is None else max_per_channel
    kept = np.zeros(0, np.int64)
    for start in range(0, len(order), BLOCK_SIZE):
        block = order[start : start + BLOCK_SIZE]
        is_full = np.bincount(channels[kept], minlength=len(separations_angstrom)) >= limit
        # What is kept leads the pool and is free of conflicts, so it stays: the result equals one pass over all.
        pool = np.concatenate([kept, block[~is_full[channels[block]]]])
        pairs = _find_close_pairs(positions_zyx_angstrom[pool], channels[pool], separations_angstrom)
        kept = pool[_keep_greedily(len(pool), pairs)]
        kept = kept[_rank_within_channel(channels[kept]) < limit]
    return kept


def _find_close_pairs(positions: Floats, channels: Ints, separations_angstrom: Floats) -> Ints:
    """Return pairs (P, 2) of rows nearer than their channels allow, the better row first."""
    within = np.diagonal(separations_angstrom)
    between = np.where(np.eye(len(within), dtype=bool), 0.0, separations_angstrom)
    pairs = [np.zeros((0, 2), np.int64)]
    for channel, separation in enumerate(within):
        rows = np.flatnonzero(channels == channel)
        pairs.append(rows[_query_pairs(positions[rows], float(separation))])
    across = _query_pairs(positions, float(between.max(initial=0.0)))
    differ = across[channels[across[:, 0]] != channels[across[:, 1]]]
    pairs.append(differ)
    found = np.concatenate(pairs)
    first, second = found.T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    return np.asarray(found[distances < separations_angstrom[channels[first], channels[second]]])


def _query_pairs(positions: Floats, separation: float) -> Ints:
    if separation <= 0 or len(positions) < 2:
        return np.zeros((0, 2), np.int64)
    return np.asarray(KDTree(positions).query_pairs(separation, output_type="ndarray"), dtype=np.int64)


def _keep_greedily(count: int, pairs: Ints) -> Ints:
    """Return the rows, of `count` sorted best first, that a greedy pass keeps; pairs (P, 2) exclude each other.

    Done in rounds over all rows: a row without an open better partner is kept, and its partners are dropped.
    """
    better, worse = pairs.min(axis=1), pairs.max(axis=1)
    is_open, is_kept = np.ones(count, bool), np.zeros(count, bool)
    while is_open.any():
        has_better = np.zeros(count, bool)
        has_better[worse] = True
        newly_kept = is_open & ~has_better
        is_kept |= newly_kept
        is_open[newly_kept] = False
        is_open[worse[newly_kept[better]]] = False
        still = is_open[better] & is_open[worse]
        better, worse = better[still], worse[still]
    return np.flatnonzero(is_kept)


def _rank_within_channel(channels: Ints) -> Ints:
    """Return how many earlier rows share each row's channel."""
    order = np.argsort(channels, kind="stable")
    starts = np.searchsorted(channels[order], channels[order])
    ranks = np.empty(len(channels), np.int64)
    ranks[order] = np.arange(len(channels)) - starts
    return ranks
