"""Crops of one object are to be nearer to each other than to those of others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.structures import Scalar


def batch_hard(
    embeddings: Float[Array, "P E"],
    ids: Int32[Array, "P"],
    valid: Bool[Array, "P"],
) -> Scalar:
    """softplus(distance to the farthest of the same object - distance to the nearest of
    another), mean over crops that have both; 0 without any.

    Source: Hermans et al., "In Defense of the Triplet Loss" (2017), with the soft
        margin; PReMVOS (Luiten et al., ACCV 2018) has the sum.
    """
    squared = jnp.square(embeddings[:, None] - embeddings).sum(axis=-1)
    distances = jnp.sqrt(squared + 1e-12)  # the root of 0 has no gradient
    both = valid[:, None] & valid
    same = both & (ids[:, None] == ids) & ~jnp.eye(len(ids), dtype=bool)
    other = both & (ids[:, None] != ids)
    farthest = jnp.where(same, distances, -jnp.inf).max(axis=1, initial=-jnp.inf)
    nearest = jnp.where(other, distances, jnp.inf).min(axis=1, initial=jnp.inf)
    counts = same.any(axis=1) & other.any(axis=1)
    margin = jnp.where(counts, farthest, 0) - jnp.where(counts, nearest, 0)
    losses = jnp.where(counts, jax.nn.softplus(margin), 0)
    return losses.sum() / jnp.maximum(counts.sum(), 1)
