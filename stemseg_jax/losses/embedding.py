"""The embedding loss of STEm-Seg and SRNet: overlap, smoothness and seediness."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.losses import dice, lovasz
from stemseg_jax.ops import gaussian
from stemseg_jax.structures import Scalar

# Of probabilities, the mask they should be, and where they count (None: everywhere).
OVERLAPS = {
    "lovasz": lambda p, mask, valid: lovasz.hinge(2 * p - 1, mask, valid),
    "dice": lambda p, mask, valid: dice.soft(
        p if valid is None else jnp.where(valid, p, 0), mask
    ),
}


class EmbeddingTerms(NamedTuple):
    overlap: Scalar
    smoothness: Scalar
    seediness: Scalar


def terms(
    embeddings: Float[Array, "T h w E"],
    log_bandwidths: Float[Array, "T h w V"],
    seediness: Float[Array, "T h w"],
    masks: Bool[Array, "N T h w"],
    valid: Bool[Array, "N"],
    ignore: Bool[Array, "T h w"],
    *,
    free_std: tuple[float, ...] = (),
    overlap: str = "lovasz",
    seediness_mean: str = "instances",
    parity: str = "paper",
    outside: Bool[Array, "T h w"] | None = None,
) -> EmbeddingTerms:
    """Compares the Gaussian of each instance of a clip with its mask.

    An instance's centre and bandwidths are the means over its points, in all frames.
    Instances without a point do not count; without any the first two terms are 0.

    Overlap: the Lovász hinge of 2 p - 1 against the mask, or the Dice loss of p, over
    all points of the clip; mean over instances.
    Smoothness: the variance of the raw log-bandwidths within an instance; the same.
    Seediness: squared difference, inside an instance from p, which gets no gradient
    from it, outside of all from 0; mean over instances and, as one more, the
    background, or over all points. Only here `ignore` matters: such background does not
    count.

    Args:
        masks: At feature stride. Those of slots that are not valid are disregarded.
        valid: With `parity="released"`, the valid slots have to come first.
        free_std: See `gaussian.bandwidths`.
        overlap: "lovasz" or "dice".
        seediness_mean: Over "instances" or "points"; one of several instances counts
            for each.
        parity: "released" repeats the authors' program where it does otherwise than it
            means to; each case is named at its line.
        outside: Points that do not exist for any term; no mask has them.

    Source: STEm-Seg (Athar et al., ECCV 2020), Sec. 3.2, Eq. 1-2. SRNet (Ying et al.,
        MM 2021), Eq. 3-8, for Dice and the mean over points.
        Differs from the paper, as the authors' code does, in: bandwidths are averaged
        instead of variances, and smoothness is measured on their logarithms. As printed
        it trains too, but bandwidths then vary several times as much within an
        instance, and the Gaussian of a single seed fits it less well.
    """
    assert parity in ("paper", "released"), parity
    released = parity == "released"
    N, E = masks.shape[0], embeddings.shape[-1]
    embeddings = embeddings.reshape(-1, E)
    log_bandwidths = log_bandwidths.reshape(-1, log_bandwidths.shape[-1])
    seediness, ignore = seediness.ravel(), ignore.ravel()
    masks = masks.reshape(N, seediness.size) & valid[:, None]
    inside = None if outside is None else ~outside.ravel()
    present = masks.any(axis=1)
    instances = present.sum().astype(jnp.float32)

    targets = masks
    if released:
        # Instances without a point are dropped from the lists of points, but not from
        # the masks: what follows such an instance is held against an earlier mask.
        masks = masks[jnp.argsort(~present, stable=True)]
    per_instance = jax.vmap(
        lambda mask, target: _instance(
            *(embeddings, log_bandwidths, seediness, mask, target, inside),
            free_std=free_std,
            overlap=overlap,
        )
    )(masks, targets)
    owns = masks.any(axis=1)
    # Differs from `owns` only where masks have been shifted.
    compared = owns & targets.any(axis=1)

    def total(values, where):
        return jnp.where(where, values, 0).sum()

    count = jnp.maximum(instances, 1)
    background = ~masks.any(axis=0)
    if inside is not None:
        ignore = ignore | ~inside
    if seediness_mean == "points":
        sizes = masks.sum(axis=1)
        counted = background & ~ignore
        errors = total(per_instance.seediness * sizes, owns)
        errors += jnp.square(jnp.where(counted, seediness, 0)).sum()
        mean = errors / jnp.maximum(sizes.sum() + counted.sum(), 1)
    else:
        mean = total(per_instance.seediness, compared) + _background(
            *(seediness, background, ignore, inside),
            released=released,
        )
        mean = mean / (instances + 1)
    return EmbeddingTerms(
        overlap=total(per_instance.overlap, compared) / count,
        smoothness=total(per_instance.smoothness, owns) / count,
        seediness=mean,
    )


def _instance(
    embeddings, log_bandwidths, seediness, mask, target, inside, *, free_std, overlap
):
    def average(values):  # [P ...] -> [...]
        own = jnp.where(jnp.expand_dims(mask, range(1, values.ndim)), values, 0)
        return own.sum(axis=0) / jnp.maximum(mask.sum(), 1)

    deviation = jnp.square(log_bandwidths - average(log_bandwidths)).mean(axis=-1)
    centre = average(embeddings)
    bandwidths = average(gaussian.bandwidths(log_bandwidths, free_std))
    p = gaussian.probabilities(embeddings, centre, bandwidths)
    error = jnp.square(seediness - jax.lax.stop_gradient(p))
    return EmbeddingTerms(
        overlap=OVERLAPS[overlap](p, target, inside),
        smoothness=average(deviation),
        seediness=average(error),
    )


def _background(seediness, background, ignore, inside, *, released):
    counted = background & ~ignore
    square = jnp.square(jnp.where(counted, seediness, 0)).sum()
    if not released:
        return square / jnp.maximum(counted.sum(), 1)
    # The authors' program divides by the ignored background, too, is NaN without any
    # background, and leaves out clips without an instance.
    size = (background if inside is None else background & inside).sum()
    mean = jnp.where(size > 0, square / jnp.maximum(size, 1), jnp.nan)
    return jnp.where(background.all(), 0, mean)
