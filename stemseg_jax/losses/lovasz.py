"""The Lovász hinge: a convex surrogate of 1 - IoU for binary masks."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, UInt32

from stemseg_jax import choices


def hinge(
    logits: Float[Array, "*points"],
    labels: Bool[Array, "*points"],
    valid: Bool[Array, "*points"] | None = None,
    *,
    form: str = "auto",
) -> Float[Array, ""]:
    """The Lovász extension of the Jaccard loss, at the hinge errors of all points.

    With the errors 1 - logit * (+1 or -1) in descending order, the loss is the sum of
    max(error, 0) times what the point adds to the Jaccard loss of the set of points
    before it. These weights are constant with respect to the logits. Not divided by the
    number of points. Without a valid point the loss is 0; without a positive one it is
    the largest error. Memory is linear in the points, of which there may be fewer than
    2^31.

    Args:
        logits: Positive inside the mask, for example 2 p - 1.
        labels: The mask.
        valid: Other points do not count. None: all do.
        form: How points get their place in the order. "permutation": points are sorted;
            of equal ones any may come first. "ranks": errors are sorted, and each point
            looks up its own; equal ones have equal weights. More than twice as fast on
            CPU. "auto" takes "ranks" there and "permutation" elsewhere.

    Source: Berman et al., "The Lovász-Softmax loss", CVPR 2018, Alg. 1.
        Differs from it in: the weights have a closed form instead of differences of the
        Jaccard curve, which cancel in float32 (0.5 % of the gradient at 3e5 points).
    """
    if form == "auto":
        weigh = functools.partial(
            lax.platform_dependent, cpu=_by_ranks, default=_by_permutation
        )
    else:
        weigh = FORMS[choices.known("form", form, FORMS)]
    logits, labels = logits.ravel(), labels.ravel()
    valid = jnp.ones_like(labels) if valid is None else valid.ravel()
    labels = labels & valid
    errors = jnp.where(valid, 1 - jnp.where(labels, logits, -logits), 0)
    costs = jax.nn.relu(errors)
    weights = weigh(lax.stop_gradient(costs), labels)
    return jnp.vdot(costs, weights)


def _by_permutation(
    costs: Float[Array, "P"], labels: Bool[Array, "P"]
) -> Float[Array, "P"]:
    """The weight of each point. Those without a cost come last, and need none."""
    order = jnp.argsort(~_code(costs, labels), stable=False)
    positive = labels[order].astype(jnp.int32)
    places = jnp.arange(len(order))
    before = jnp.cumsum(positive) - positive
    weights = _weights(
        positive == 1, before, places - before, jnp.ones_like(places), positive.sum()
    )
    return jnp.zeros_like(weights).at[order].set(weights, unique_indices=True)


def _by_ranks(costs: Float[Array, "P"], labels: Bool[Array, "P"]) -> Float[Array, "P"]:
    """The same; equal points share their weights evenly."""
    codes = ~_code(costs, labels)
    ordered = lax.sort(codes, is_stable=False)
    positive = (~ordered & 1).astype(jnp.int32)
    places = jnp.arange(len(ordered))
    before = jnp.cumsum(positive) - positive
    # Where each run of equal points ends. Weights are right at its first place.
    is_last = jnp.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    ends = lax.cummin(jnp.where(is_last, places + 1, len(ordered)), reverse=True)
    weights = _weights(
        positive == 1, before, places - before, ends - places, positive.sum()
    )
    return weights[_first_places(ordered, codes, costs)]


FORMS = {"permutation": _by_permutation, "ranks": _by_ranks}


def _code(costs: Float[Array, "P"], labels: Bool[Array, "P"]) -> UInt32[Array, "P"]:
    """Integers in the order of the costs, which are not negative and so have a bit to
    spare for the label. Integers are sorted several times as fast on CPU."""
    bits = lax.bitcast_convert_type(costs.astype(jnp.float32), jnp.uint32)
    return (bits << 1) | labels


def _weights(
    positive: Bool[Array, "P"],
    positives: Int32[Array, "P"],
    negatives: Int32[Array, "P"],
    equal: Int32[Array, "P"],
    total: Int32[Array, ""],
) -> Float[Array, "P"]:
    """What each point adds to the Jaccard loss of the points before it.

    With G positives in all, p and n positives and negatives among the first so many
    points, the loss is J = 1 - (G - p) / (G + n). A positive adds 1 / (G + n), each of
    m equal negatives (G - p) / ((G + n) (G + n + m)); of the very first ones, if there
    are no positives, each adds 1 / m.

    Args:
        positives, negatives: p and n, counted as integers: floats end at 2^24.
        equal: m, the number of equal points that begin here.
        total: G.
    """
    union = (total + negatives).astype(jnp.float32)
    missed = (total - positives).astype(jnp.float32)
    equal = equal.astype(jnp.float32)
    of_negative = missed / jnp.maximum(union * (union + equal), 1)
    of_negative = jnp.where(union > 0, of_negative, 1 / equal)
    return jnp.where(positive, 1 / jnp.maximum(union, 1), of_negative)


def _first_places(
    ordered: UInt32[Array, "P"], codes: UInt32[Array, "P"], costs: Float[Array, "P"]
) -> Int32[Array, "P"]:
    """Where each of the codes comes first in their order.

    A histogram of the costs says between which places that is; halving what is left
    takes two or three steps where costs are spread, and log2 P at most.
    """
    buckets = len(ordered)
    share = jnp.sqrt(costs / jnp.maximum(costs.max(initial=0), 1e-30))
    bucket = jnp.clip(((1 - share) * buckets).astype(jnp.int32), 0, buckets - 1)
    counts = jnp.zeros(buckets + 1, jnp.int32).at[bucket + 1].add(1)
    starts = jnp.cumsum(counts)

    def halve(ends):
        low, high = ends
        middle = low + (high - low) // 2
        is_before = ordered[middle] < codes
        is_open = low < high
        low = jnp.where(is_open & is_before, middle + 1, low)
        return low, jnp.where(is_open & ~is_before, middle, high)

    ends = starts[bucket], starts[bucket + 1]
    first, _ = lax.while_loop(lambda ends: (ends[0] < ends[1]).any(), halve, ends)
    return first
