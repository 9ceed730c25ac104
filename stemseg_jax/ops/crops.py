"""Objects cut out of a frame, all in one size."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.ops import resize

CONTEXT = 1.2  # times the box of an object
LEAST_SIDE = 10  # pixels: what is not longer shows nothing


def boxes(
    masks: Bool[Array, "K H W"], extent: Float[Array, "2"]
) -> Float[Array, "K 4"]:
    """Top, left, bottom and right of each mask, enlarged by 1.2 about its middle,
    rounded, and clipped to the frame; all zeros for an empty mask.

    Args:
        extent: Height and width of the frame, less padding.
    """
    seen = masks_ops.outlines(masks)
    half = CONTEXT * seen.sizes / 2
    middles = seen.middles + 0.5
    first, last = jnp.round(middles - half), jnp.round(middles + half)
    corners = jnp.concatenate(
        [jnp.clip(first, 0, extent), jnp.clip(last, 0, extent)], axis=-1
    )
    return jnp.where((seen.cells > 0)[:, None], corners, 0)


def cut(
    image: Float[Array, "H W C"], boxes: Float[Array, "K 4"], *, side: int
) -> Float[Array, "K {side} {side} C"]:
    """Each box in a square of that side; zeros if it is no longer than 10 pixels along
    an axis.

    Source: PReMVOS (Luiten et al., ACCV 2018), its authors' code.
    """
    crops = jax.vmap(lambda box: resize.part(image, box, (side, side)))(boxes)
    return jnp.where(shown(boxes)[:, None, None, None], crops, 0)


def shown(boxes: Float[Array, "K 4"]) -> Bool[Array, "K"]:
    """Whether a box is long enough for its crop to show something."""
    return (boxes[:, 2:] - boxes[:, :2] > LEAST_SIDE).all(axis=-1)
