"""The Gaussian that an instance is in embedding space.

The paper writes it with a diagonal covariance; here, as in the authors' code, it has
bandwidths, 1/sigma^2, and no normalising constant: 1 at the centre.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def bandwidths(
    log_bandwidths: Float[Array, "*points V"], free_std: tuple[float, ...] = ()
) -> Float[Array, "*points E"]:
    """1/sigma^2 of all dimensions: 10 exp(v) of the head's output, then the free ones.

    Args:
        log_bandwidths: The head's raw output.
        free_std: Standard deviation of each free dimension; constant.

    Source: the authors' code, where 10 sets sigma = 0.32 at an output of 0.
    """
    predicted = 10 * jnp.exp(log_bandwidths)
    free = jnp.asarray([std**-2 for std in free_std], predicted.dtype)
    free = jnp.broadcast_to(free, (*predicted.shape[:-1], len(free_std)))
    return jnp.concatenate([predicted, free], axis=-1)


def log_bandwidth(std: float) -> float:
    """The raw output that `bandwidths` makes 1/std^2 of."""
    return math.log(std**-2 / 10)


def squared_distances(
    embeddings: Float[Array, "*points E"],
    centre: Float[Array, "E"],
    bandwidths: Float[Array, "E"],
) -> Float[Array, "*points"]:
    """Squared Mahalanobis distance of each point from one centre."""
    # Column by column: a sum over so short an axis takes ten times as long on a CPU.
    terms = zip(jnp.moveaxis(embeddings, -1, 0), centre, bandwidths, strict=True)
    return sum(b * jnp.square(e - c) for e, c, b in terms)


def probabilities(
    embeddings: Float[Array, "*points E"],
    centre: Float[Array, "E"],
    bandwidths: Float[Array, "E"],
) -> Float[Array, "*points"]:
    """exp(-d^2 / 2): how much each point belongs to the instance of that centre.

    Source: STEm-Seg (Athar et al., ECCV 2020), Eq. 2.
        Differs from the paper in: no normalising constant, so that 0.5 is a threshold.
    """
    return jnp.exp(-0.5 * squared_distances(embeddings, centre, bandwidths))
