"""A volume cut into pieces that stay in the processor's cache, worked on by a few threads."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = tuple[int, slice]
Result = TypeVar("Result")

# 512 KB of float32, which a second-level cache holds; the calls of numpy then cost little beside their work.
PIECE_VOXELS = 2**17
# These passes wait for memory, which few cores saturate.
MAX_THREADS = 4


def map_pieces(shape_zyx: tuple[int, ...], work: Callable[[Piece], Result]) -> list[Result]:
    """Call a function with the index (plane, rows) of every piece of a volume; return what it gave, in order.

    Parameters
    ----------
    shape_zyx
        Shape of the volume.
    work
        Called from several threads at once, so each call must keep to its own piece.
    """
    pieces = list(_cut(shape_zyx))
    threads = min(MAX_THREADS, os.cpu_count() or 1, len(pieces))
    if threads <= 1:
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(threads, thread_name_prefix="cryofind-pieces") as pool:
        shares = [pool.submit(_work_on, pieces[first::threads], work) for first in range(threads)]
        results = [share.result() for share in shares]
    return [results[number % threads][number // threads] for number in range(len(pieces))]


def _work_on(pieces: list[Piece], work: Callable[[Piece], Result]) -> list[Result]:
    return [work(piece) for piece in pieces]


def _cut(shape_zyx: tuple[int, ...]) -> Iterator[Piece]:
    planes, rows, columns = shape_zyx
    step = max(1, PIECE_VOXELS // max(1, columns))
    for plane in range(planes):
        for row in range(0, rows, step):
            yield plane, slice(row, row + step)
