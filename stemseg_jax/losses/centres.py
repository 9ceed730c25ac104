"""How far off heat maps of centres, and offsets to them, are. Of one frame.

Source: Panoptic-DeepLab (Cheng et al., CVPR 2020) for the targets and their weights;
    Zhou et al. (CVPR 2021) for sigma = 10 pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import Scalar


class Targets(NamedTuple):
    heatmap: Float[Array, "H W"]
    offsets: Float[Array, "H W 2"]  # (y, x) to the centre; 0 off instances
    instance: Bool[Array, "H W"]  # where there is one


def targets(masks: Bool[Array, "N H W"], *, sigma: float = 10.0) -> Targets:
    """Of instances: exp(-r^2 / (2 sigma^2)) around each mass centre, rounded down, and
    the way from each pixel to the exact centre.

    A peak ends in a square of 3 sigma + 1 pixels each way; where peaks overlap the
    highest counts. A pixel of several instances belongs to the first.
    """
    size = masks.shape[1:]
    cells = masks_ops.cells(size)
    seen = masks_ops.outlines(masks)

    def peak(centre):
        steps = cells - jnp.floor(centre)
        inside = (jnp.abs(steps) <= int(3 * sigma + 1)).all(axis=-1)
        squared = jnp.square(steps).sum(axis=-1)
        return jnp.where(inside, jnp.exp(-squared / (2 * sigma**2)), 0)

    peaks = jax.vmap(peak)(seen.centres)
    peaks = jnp.where((seen.cells > 0)[:, None, None], peaks, 0)
    instance = masks.any(axis=0)
    own = seen.centres[masks.argmax(axis=0)]
    offsets = jnp.where(instance[..., None], own - cells, 0)
    return Targets(peaks.max(axis=0, initial=0), offsets, instance)


class Terms(NamedTuple):
    centre: Scalar
    offset: Scalar


def terms(
    heatmap: Float[Array, "H W"],
    offsets: Float[Array, "H W 2"],
    targets: Targets,
    ignore: Bool[Array, "H W"],
) -> Terms:
    """Mean squared error of the heat map, mean absolute error of offsets on instances;
    0 where nothing counts.

    Args:
        ignore: Pixels that do not count.
    """
    squared = jnp.square(heatmap - targets.heatmap)
    steps = jnp.abs(offsets - targets.offsets).sum(axis=-1)
    return Terms(
        centre=_mean(squared, ~ignore),
        # Of both coordinates, each an element of its own.
        offset=_mean(steps, targets.instance & ~ignore) / 2,
    )


def _mean(values: Array, where: Array) -> Array:
    return jnp.where(where, values, 0).sum() / jnp.maximum(where.sum(), 1)
