"""How far off objects are when they say where they were."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.ops import mixing, resize
from stemseg_jax.structures import Scalar


def distance(
    steps: Float[Array, "h w 2"],
    before: Bool[Array, "N h w"],
    now: Bool[Array, "N h w"],
) -> Scalar:
    """Distance between where objects say that they were and where they were.

    From mass centre to mass centre, in coordinates of the grid: read at the cell of the
    centre, measured to the exact place. Mean over the objects that both frames show; 0
    without any.

    Args:
        steps: (y, x) from each cell, as an object's centre, to the previous centre.

    Source: SRNet (Ying et al., MM 2021), Eq. 7.
    """
    size = steps.shape[:2]
    here, there = masks_ops.outlines(now), masks_ops.outlines(before)
    both = (here.cells > 0) & (there.cells > 0)
    expected = mixing.from_cells(jnp.round(here.centres), size)
    expected += resize.nearest(steps, here.centres)
    error = expected - mixing.from_cells(there.centres, size)
    # The root of 0 has no gradient.
    distances = jnp.sqrt(jnp.square(error).sum(axis=-1) + 1e-12)
    return jnp.where(both, distances, 0).sum() / jnp.maximum(both.sum(), 1)
