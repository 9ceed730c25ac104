"""The discriminative loss: an instance's embeddings together, instances apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.structures import Scalar


class DiscriminativeTerms(NamedTuple):
    attraction: Scalar
    repulsion: Scalar
    regularisation: Scalar


def terms(
    embeddings: Float[Array, "*points E"],
    masks: Bool[Array, "N *points"],
    valid: Bool[Array, "N"],
    *,
    attraction_radius: float = 0.5,
    repulsion_radius: float = 1.5,
) -> DiscriminativeTerms:
    """Draws points to the mean of their instance, and pushes the means apart.

    With the mean m_k over all points of instance k, in all frames of the clip:

    Attraction: max(0, |m_k - y| - attraction_radius)^2, mean over the points y of an
    instance, then over instances: a small one counts as much as a large one.
    Repulsion: max(0, 2 repulsion_radius - |m_k - m_l|)^2, mean over pairs; 0 for one.
    Regularisation: |m_k|, mean over instances.

    Instances without a point do not count; without any, all terms are 0. Points outside
    of all masks do not matter: ignored ones have to be in none. For a loss per frame
    instead of per clip, `vmap` over the frames.

    Args:
        masks: Those of slots that are not valid are disregarded. A point of several
            instances counts for each.

    Source: De Brabandere et al., "Semantic Instance Segmentation with a Discriminative
        Loss Function", 2017, Eq. 1-3; Hu, Kendall and Cipolla, "Learning a
        Spatio-Temporal Embedding for Video Instance Segmentation", 2019.
        Differs from public implementations, as the papers do, in: the mean over points
        is one of each instance, not of all points together.
    """
    N, E = masks.shape[0], embeddings.shape[-1]
    embeddings = embeddings.reshape(-1, E)
    masks = masks.reshape(N, len(embeddings)) & valid[:, None]
    sizes = jnp.maximum(masks.sum(axis=1), 1)
    inside = masks.astype(embeddings.dtype)
    # Of half a million points: not to be rounded to what tensor cores take.
    sums = jnp.matmul(inside, embeddings, precision="highest")
    means = sums / sizes[:, None]  # [N E]

    @jax.checkpoint
    def attraction(one):  # at a time: no array of [N P E]
        mask, size, mean = one
        apart = jnp.maximum(_norm(embeddings - mean) - attraction_radius, 0)
        return jnp.where(mask, jnp.square(apart), 0).sum() / size

    present = masks.any(axis=1)
    count = present.sum()
    pairs = present[:, None] & present & ~jnp.eye(N, dtype=bool)
    between = _norm(means[:, None] - means)  # [N N]
    repulsion = jnp.square(jnp.maximum(2 * repulsion_radius - between, 0))
    return DiscriminativeTerms(
        attraction=_mean(jax.lax.map(attraction, (masks, sizes, means)), present),
        repulsion=jnp.where(pairs, repulsion, 0).sum()
        / jnp.maximum(count * (count - 1), 1),
        regularisation=_mean(_norm(means), present),
    )


def _norm(vectors: Float[Array, "*n E"]) -> Float[Array, "*n"]:
    # The root of 0 has no gradient.
    return jnp.sqrt(jnp.square(vectors).sum(axis=-1) + 1e-12)


def _mean(values: Array, where: Array) -> Array:
    return jnp.where(where, values, 0).sum() / jnp.maximum(where.sum(), 1)
