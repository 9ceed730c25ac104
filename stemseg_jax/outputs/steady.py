"""Ranges and colours of maps that stay the same while the maps do.

What is fitted to each frame anew flickers: percentiles jump, principal components
change sign and turn. Here each frame only moves what the frames before it have made.
"""

import numpy as np
from jaxtyping import Float

RATE = 0.1  # how much of a new frame is taken
PERCENTILES = (2, 98)
ROOM = 0.15  # of a range on both sides, that keeps colours from being glaring


class Range:
    """Robust lower and upper ends of the values of a video."""

    def __init__(self):
        self._ends: np.ndarray | None = None  # lower and upper

    def next(self, values: Float[np.ndarray, "*shape"]) -> tuple[float, float]:
        """The ends after the values of the next frame; what is not finite is left out.

        (0, 1) before any value; the upper end is always above the lower one.
        """
        values = values[np.isfinite(values)]
        if values.size:
            ends = np.percentile(values, PERCENTILES)
            before = ends if self._ends is None else self._ends
            self._ends = before + RATE * (ends - before)
        if self._ends is None:
            return 0.0, 1.0
        low, high = (float(end) for end in self._ends)
        return low, max(high, low + 1e-6 * max(abs(low), 1.0))


class PrincipalColours:
    """Embeddings as colours: their three principal components are red, green and blue.

    Mean and covariance are moving averages over frames. Of all bases of the principal
    subspace the one nearest to the basis before is taken (orthogonal Procrustes), and
    the basis goes a part of the way to it.
    """

    def __init__(self):
        self._basis: Float[np.ndarray, "E k"] | None = None
        self._ranges = [Range(), Range(), Range()]

    def next(self, embedding: Float[np.ndarray, "h w E"]) -> Float[np.ndarray, "h w 3"]:
        """The colours of the next frame, in [0, 1].

        With two dimensions blue stays in the middle, with one all is grey.
        """
        points = embedding.reshape(-1, embedding.shape[-1]).astype(np.float64)
        self._fit(points)
        components = (points - self._mean) @ self._basis
        channels = [
            _muted(channel, *ends.next(channel))
            for channel, ends in zip(components.T, self._ranges, strict=False)
        ]
        if len(channels) == 1:
            channels *= 3
        channels += [np.full(len(points), 0.5)] * (3 - len(channels))
        colours = np.stack(channels, axis=-1).astype(np.float32)
        return colours.reshape(*embedding.shape[:2], 3)

    def _fit(self, points: Float[np.ndarray, "P E"]) -> None:
        mean = points.mean(axis=0)
        covariance = np.cov(points, rowvar=False, bias=True).reshape(2 * mean.shape)
        if self._basis is None:
            self._mean, self._covariance = mean, covariance
            self._basis = _principal(covariance)
            return
        self._mean = self._mean + RATE * (mean - self._mean)
        self._covariance = self._covariance + RATE * (covariance - self._covariance)
        found = _principal(self._covariance)
        nearest = found @ _orthogonal(found.T @ self._basis)
        self._basis = _orthogonal(self._basis + RATE * (nearest - self._basis))


def _muted(values: np.ndarray, low: float, high: float) -> np.ndarray:
    room = ROOM * (high - low)
    return to_unit(values, low - room, high + room)


def _principal(covariance: Float[np.ndarray, "E E"]) -> Float[np.ndarray, "E k"]:
    """The directions of most variance, as many as there are colours, at most."""
    _, vectors = np.linalg.eigh(covariance)
    return vectors[:, ::-1][:, :3]


def _orthogonal(matrix: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """The nearest matrix with orthonormal columns."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def to_unit(
    values: Float[np.ndarray, "*shape"], low: float, high: float
) -> Float[np.ndarray, "*shape"]:
    """Values from low to high as 0 to 1, clipped."""
    return np.clip((values - low) / (high - low), 0, 1)
