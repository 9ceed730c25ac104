"""Per-pixel losses of classes and foreground, for one clip."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32


def labels(
    masks: Bool[Array, "N T h w"],
    categories: Int32[Array, "N"],
    valid: Bool[Array, "N"],
) -> Int32[Array, "T h w"]:
    """The class of each cell: its instance's category, 0 outside of all.

    Where instances overlap the highest category counts, as in the authors' code.
    """
    categories = jnp.where(valid, categories, 0)[:, None, None, None]
    return jnp.where(masks, categories, 0).max(axis=0, initial=0)


def semantic(
    logits: Float[Array, "T h w C"],
    labels: Int32[Array, "T h w"],
    ignore: Bool[Array, "T h w"],
    *,
    parity: str = "paper",
    outside: Bool[Array, "T h w"] | None = None,
) -> Float[Array, ""]:
    """Cross entropy, mean over cells that are not ignored; 0 if all are.

    Args:
        labels: 0 is the background, which counts like any class.
        parity: With "released" the ignored cells count too: the authors' program
            averages before it looks at them. If all are ignored, it gives NaN.
        outside: Cells that do not exist even then; they have to be ignored.
    """
    assert parity in ("paper", "released"), parity
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if parity == "released":
        counted = jnp.ones_like(ignore) if outside is None else ~outside
        return jnp.where(ignore.all(), jnp.nan, losses.mean(where=counted))
    return _mean(losses, ~ignore)


def of_instances(
    logits: Float[Array, "T h w C"],
    masks: Bool[Array, "N T h w"],
    categories: Int32[Array, "N"],
    valid: Bool[Array, "N"],
) -> Float[Array, ""]:
    """Cross entropy of each instance's mean logits, mean over instances that own a
    cell; 0 without any.

    That is how a track's class is found (STEm-Seg, Sec. 3.4), so an instance counts as
    one whatever its size, and the background does not count at all. Ours.
    """
    weights = masks.astype(logits.dtype)
    cells = weights.sum(axis=(1, 2, 3))
    means = jnp.einsum("nthw,thwc->nc", weights, logits, precision="highest")
    means = means / jnp.maximum(cells, 1)[:, None]
    losses = optax.softmax_cross_entropy_with_integer_labels(means, categories)
    return _mean(losses, valid & (cells > 0))


def foreground(
    logits: Float[Array, "T h w"],
    targets: Float[Array, "T h w"],
    ignore: Bool[Array, "T h w"],
) -> Float[Array, ""]:
    """Binary cross entropy, mean over cells that are not ignored; 0 if all are.

    Args:
        targets: 1 inside of any instance; between 0 and 1 where a cell is part covered.
    """
    return _mean(optax.sigmoid_binary_cross_entropy(logits, targets), ~ignore)


def bootstrapped(
    logits: Float[Array, "*cells"],
    targets: Float[Array, "*cells"],
    ignore: Bool[Array, "*cells"],
    *,
    share: float,
) -> Float[Array, ""]:
    """Binary cross entropy, mean over the hardest cells; 0 if all are ignored.

    Of the n cells that are not ignored, the round(share * n) of the highest loss count,
    but at least one: what is learnt already no longer drowns what is not.

    Args:
        targets: 1 inside of any instance; between 0 and 1 where a cell is part covered.

    Source: online bootstrapping, Wu, Shen, van den Hengel, "Bridging category-level and
        instance-level semantic image segmentation" (2016).
        Differs from it in: a share of a clip's cells, not a number of an image's.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, targets).ravel()
    counted = ~ignore.ravel()
    # No loss is below 0, so that what is ignored comes last.
    hardest = -jnp.sort(-jnp.where(counted, losses, -1))
    count = counted.sum()
    kept = jnp.clip(jnp.round(share * count), 1, count)
    return _mean(hardest, jnp.arange(len(hardest)) < kept)


def _mean(values: Array, where: Array) -> Array:
    return jnp.where(where, values, 0).sum() / jnp.maximum(where.sum(), 1)
