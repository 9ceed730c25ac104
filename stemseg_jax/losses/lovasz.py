"""The Lovász hinge: a convex surrogate of 1 - IoU for binary masks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

_LAST = jnp.iinfo(jnp.int32).max


def hinge(
    logits: Float[Array, "*points"],
    labels: Bool[Array, "*points"],
    valid: Bool[Array, "*points"] | None = None,
) -> Float[Array, ""]:
    """The Lovász extension of the Jaccard loss, at the hinge errors of all points.

    With the errors 1 - logit * (+1 or -1) in descending order, the loss is the sum of
    max(error, 0) times what the point adds to the Jaccard loss of the set of points
    before it. These weights are constant with respect to the logits. Not divided by the
    number of points. Without a valid point the loss is 0; without a positive one it is
    the largest error.

    Args:
        logits: Positive inside the mask, for example 2 p - 1.
        labels: The mask.
        valid: Other points do not count. None: all do.

    Source: Berman et al., "The Lovász-Softmax loss", CVPR 2018, Alg. 1.
        Differs from it in: the weights have a closed form instead of differences of the
        Jaccard curve, which cancel in float32 (0.5 % of the gradient at 3e5 points).
    """
    logits, labels = logits.ravel(), labels.ravel()
    valid = jnp.ones_like(labels) if valid is None else valid.ravel()
    labels = labels & valid
    errors = jnp.where(valid, 1 - jnp.where(labels, logits, -logits), 0)
    # Points that are not valid go last, where they change no count.
    rank = jnp.where(valid, _ordered(-jax.lax.stop_gradient(errors)), _LAST)
    order = jnp.argsort(rank, stable=False)
    weights = _jaccard_steps(labels[order], valid[order])
    weights = jnp.zeros_like(errors).at[order].set(weights, unique_indices=True)
    return jnp.vdot(jax.nn.relu(errors), weights)


def _jaccard_steps(
    labels: Bool[Array, "P"], valid: Bool[Array, "P"]
) -> Float[Array, "P"]:
    """J_k - J_(k-1), J_k being the Jaccard loss if just the first k points were wrong.

    With G positives, p and n positives and negatives among the first k:
    J_k = 1 - (G - p) / (G + n). A positive adds 1 / (G + n), a negative
    (G - p) / ((G + n) (G + n - 1)), and the very first negative without positives 1.
    Float counts are exact up to 2^24 points.
    """
    positive = labels.astype(jnp.float32)
    negative = (valid & ~labels).astype(jnp.float32)
    total = positive.sum()
    missed = total - jnp.cumsum(positive)
    union = total + jnp.cumsum(negative)
    of_positive = 1 / jnp.maximum(union, 1)
    of_negative = missed / (union * jnp.maximum(union - 1, 1)).clip(1)
    of_negative = jnp.where(union > 1, of_negative, 1)
    return positive * of_positive + negative * of_negative


def _ordered(x: Float[Array, "P"]) -> Int32[Array, "P"]:
    """Integers in the order of the floats: they sort twice as fast on CPU."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jnp.where(bits < 0, bits ^ _LAST, bits)
