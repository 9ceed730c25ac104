"""One map on which every object of a frame is a Gaussian peak.

Source: Law and Deng, "CornerNet", ECCV 2018, for radius and rendering; Zhou et al.,
    "Tracking Objects as Points", ECCV 2020 (CenterTrack), for the disturbances.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """How far a true heat map is made to look like one of found objects.

    Attributes:
        jitter: Standard deviation of a centre, as a share of the box's size.
        dropped: Probability that an object has no peak.
        spurious: Probability of one more peak beside an object's own.
    """

    jitter: float = 0.05
    dropped: float = 0.4
    spurious: float = 0.1

    def __post_init__(self):
        for name in ("dropped", "spurious"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is no probability.")
        if self.jitter < 0:
            raise ValueError(f"jitter={self.jitter} must be at least 0.")


class Peaks(NamedTuple):
    """In cells (row, column)."""

    centres: Float[Array, "K 2"]
    sizes: Float[Array, "K 2"]  # of the objects' boxes
    valid: Bool[Array, "K"]


def draw(peaks: Peaks, size: tuple[int, int]) -> Float[Array, "h w"]:
    """The heat map of objects; 0 everywhere without any."""
    return render(peaks.centres, jnp.floor(radius(peaks.sizes)), peaks.valid, size)


def radius(
    sizes: Float[Array, "*n 2"], *, min_overlap: float = 0.7
) -> Float[Array, "*n"]:
    """How far a box may be moved and still have `min_overlap` with itself, in cells.

    The least of three cases, each the root of a quadratic equation.

    Differs from the paper, as its authors' code does, in: every root is divided by 2
        and not by twice the leading coefficient.
    """
    o, total, area = min_overlap, sizes.sum(axis=-1), sizes.prod(axis=-1)

    def root(b, c, a=1.0):
        return (b + jnp.sqrt(jnp.maximum(jnp.square(b) - 4 * a * c, 0))) / 2

    cases = (
        root(total, area * (1 - o) / (1 + o)),
        root(2 * total, (1 - o) * area, 4.0),
        root(-2 * o * total, (o - 1) * area, 4 * o),
    )
    return jnp.maximum(jnp.stack(cases).min(axis=0), 0)


def render(
    centres: Float[Array, "K 2"],
    radii: Float[Array, "K"],
    valid: Bool[Array, "K"],
    size: tuple[int, int],
) -> Float[Array, "h w"]:
    """The largest, in each cell, of exp(-r^2 / (2 sigma^2)), sigma = (2 R + 1) / 6.

    An object's Gaussian is drawn around its centre, rounded down, in a square whose
    side has 2 R + 1 cells, and nowhere else.

    Args:
        radii: R, whole numbers.
    """
    cells = jnp.stack(jnp.meshgrid(*map(jnp.arange, size), indexing="ij"), axis=-1)
    sigmas = (2 * radii + 1) / 6
    distances = cells - jnp.floor(centres)[:, None, None]  # [K h w 2]
    inside = (jnp.abs(distances) <= radii[:, None, None, None]).all(axis=-1)
    squared = jnp.square(distances).sum(axis=-1)
    peaks = jnp.exp(-squared / (2 * jnp.square(sigmas)[:, None, None]))
    shown = inside & valid[:, None, None]
    return jnp.where(shown, peaks, 0).max(axis=0, initial=0)


def disturb(key: Key[Array, ""], peaks: Peaks, noise: Noise) -> Peaks:
    """The same objects as a tracker might have found them, and others beside them."""
    keys = jax.random.split(key, 4)
    count = len(peaks.valid)

    def moved(key):
        steps = jax.random.normal(key, (count, 2))
        return peaks.centres + noise.jitter * peaks.sizes * steps

    kept = peaks.valid & ~jax.random.bernoulli(keys[1], noise.dropped, (count,))
    doubled = kept & jax.random.bernoulli(keys[3], noise.spurious, (count,))
    return Peaks(
        jnp.concatenate([moved(keys[0]), moved(keys[2])]),
        jnp.concatenate([peaks.sizes, peaks.sizes]),
        jnp.concatenate([kept, doubled]),
    )
