"""Smooth random fields: sums of a few cosines, cheap at any point and free of any grid."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Waves:
    """A sum of plane waves, mean 0.

    Parameters
    ----------
    vectors
        Wave vectors, radians per unit of length, shape (K, D).
    phases
        Shape (K,), radians.
    amplitudes
        Shape (K,).
    """

    vectors: Floats
    phases: Floats
    amplitudes: Floats

    @classmethod
    def draw(
        cls, wavelengths: tuple[float, float], deviation: float, random: np.random.Generator, *, axes: int, count: int
    ) -> "Waves":
        """Return waves of random direction and phase.

        Parameters
        ----------
        wavelengths
            Shortest and longest, drawn uniformly in the logarithm; a longer wave has the greater amplitude.
        deviation
            Standard deviation of the sum over space.
        random
            Source of all randomness.
        axes
            Number of axes D of the space.
        count
            Number of waves K.
        """
        shortest, longest = wavelengths
        lengths = np.exp(random.uniform(np.log(shortest), np.log(longest), count))
        directions = draw_directions(count, random, axes=axes)
        amplitudes = lengths * random.uniform(0.5, 1.0, count)
        # A cosine of amplitude a has the variance a^2 / 2.
        amplitudes *= deviation / np.sqrt(np.square(amplitudes).sum() / 2)
        return cls(directions * (2 * np.pi / lengths)[:, None], random.uniform(0, 2 * np.pi, count), amplitudes)

    def repeating(self, axis: int, length: float) -> "Waves":
        """Return waves as near to these as can be that repeat themselves along an axis after a length."""
        vectors = self.vectors.copy()
        step = 2 * np.pi / length
        vectors[:, axis] = np.rint(vectors[:, axis] / step) * step
        return replace(self, vectors=vectors)

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the field at points (..., D), shape (...)."""
        total = np.zeros(points.shape[:-1], np.float32)
        for vector, phase, amplitude in zip(self.vectors, self.phases, self.amplitudes, strict=True):
            total += np.float32(amplitude) * np.cos((points @ vector + phase).astype(np.float32))
        return total

    def over(self, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the field (D = 2) at all pairs of a row's and a column's coordinate, shape (rows, columns)."""
        along_rows = self.amplitudes * np.exp(1j * (np.outer(rows, self.vectors[:, 0]) + self.phases))
        along_columns = np.exp(1j * np.outer(columns, self.vectors[:, 1]))
        return np.asarray((along_rows @ along_columns.T).real.astype(np.float32))


def draw_directions(count: int, random: np.random.Generator, *, axes: int = 3) -> Floats:
    """Return uniformly distributed unit vectors, shape (count, axes)."""
    vectors = random.normal(size=(count, axes))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
