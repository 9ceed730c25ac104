"""The soft Dice loss of a binary mask."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def soft(
    probabilities: Float[Array, "*points"], labels: Bool[Array, "*points"]
) -> Float[Array, ""]:
    """1 - 2 sum(p m) / (sum(p) + sum(m)); 0 if both sums are 0.

    Source: Milletari et al., "V-Net", 3DV 2016.
        Differs from the paper in: sums, not sums of squares, in the denominator.
    """
    shared = jnp.where(labels, probabilities, 0).sum()
    total = probabilities.sum() + labels.sum()
    some = total > 0
    return jnp.where(some, 1 - 2 * shared / jnp.where(some, total, 1), 0)
