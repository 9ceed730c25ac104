"""A true mask made to look like one that a network found."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.ops import warp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """How far off it is.

    Attributes:
        affine: Bound of each entry of the affine map's change, the shift as a share of
            the image.
        grown: Pixels, at most, by which it is dilated or eroded.
        dropped: Probability that nothing of it is left.
    """

    affine: float = 0.05
    grown: int = 10
    dropped: float = 0.2

    def __post_init__(self):
        if not 0 <= self.dropped <= 1:
            raise ValueError(f"dropped={self.dropped} is no probability.")
        if self.affine < 0 or self.grown < 0:
            raise ValueError(f"{self}: expected numbers of at least 0.")


def disturb(
    key: Key[Array, ""], mask: Bool[Array, "H W"], noise: Noise
) -> Float[Array, "H W"]:
    """The mask, moved, grown or shrunk, or gone; 0 or 1."""
    keys = jax.random.split(key, 4)
    size = jnp.array(mask.shape, jnp.float32)
    change = jax.random.uniform(keys[0], (2, 3), minval=-1.0) * noise.affine
    places = masks_ops.cells(mask.shape) - (size - 1) / 2
    moved = places + places @ change[:, :2].T + change[:, 2] * size + (size - 1) / 2
    x = warp.sample(mask[..., None].astype(jnp.float32), moved[..., ::-1])[..., 0]
    steps = jax.random.randint(keys[1], (), 0, noise.grown + 1)
    grows = jax.random.bernoulli(keys[2])
    x = jnp.where(grows, x, 1 - x) > 0.5  # to shrink is to grow what is not it

    def grow(_, x):
        around = jnp.pad(x, 1, mode="edge")
        rows = around[:-2] | around[1:-1] | around[2:]
        return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]

    x = jax.lax.fori_loop(0, steps, grow, x)
    x = jnp.where(grows, x, ~x)
    return (x & ~jax.random.bernoulli(keys[3], noise.dropped)).astype(jnp.float32)
