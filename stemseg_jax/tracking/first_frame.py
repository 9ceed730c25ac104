"""More views of a target than the one frame that it appeared in.

Source: FRTM (Robinson et al., CVPR 2020) cuts targets out, paints in what was behind
    them, and pastes them back changed; bounds of the changes are those of its code.
    Differs from it in: what was behind is a blurred continuation of the surroundings,
    and all is drawn on the device.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.ops import resize, warp

ANGLES = (5.0, 45.0)  # degrees, to either side
SCALES = (0.5, 2.5)
MIRRORED, BLURRED = 0.5, 0.5  # probabilities
SKEW = 0.1
BLUR = (0.25, 0.5, 0.25)


def views(
    key: Key[Array, ""],
    image: Float[Array, "H W C"],
    mask: Float[Array, "H W"],
    *,
    copies: int,
) -> tuple[Float[Array, "A H W C"], Float[Array, "A H W"]]:
    """The frame and its mask, then so many copies in which the target looks otherwise.

    Args:
        mask: Of the target, in [0, 1].
    """
    behind = painted_in(image, mask)

    def changed(key):
        keys = jax.random.split(key, 2)
        matrix = _matrix(keys[0])
        layer = jnp.concatenate([image, jnp.ones_like(image[..., :1])], axis=-1)
        moved = _moved(layer * mask[..., None], mask, matrix)
        new = moved[..., :-1] + (1 - moved[..., -1:]) * behind
        blurs = jax.random.bernoulli(keys[1], BLURRED)
        return jnp.where(blurs, _blurred(new), new), moved[..., -1]

    images, masks = jax.vmap(changed)(jax.random.split(key, copies))
    return (
        jnp.concatenate([image[None], images]),
        jnp.concatenate([mask[None], masks]),
    )


def painted_in(
    image: Float[Array, "H W C"], mask: Float[Array, "H W"]
) -> Float[Array, "H W C"]:
    """The image without the target: it takes the mean of what is known around it, at
    the finest scale at which something is.

    Zeros, the mean colour, if nothing is.
    """
    known = (mask <= 0).astype(image.dtype)[..., None]
    levels = [(image * known, known)]
    while max(levels[-1][0].shape[:2]) > 1:
        levels.append(tuple(_halved(x) for x in levels[-1]))
    found = jnp.zeros_like(levels[-1][0])
    for colours, counts in reversed(levels):
        coarser = resize.linear(found[None], colours.shape[:2])[0]
        mean = colours / jnp.maximum(counts, 1e-6)
        found = jnp.where(counts > 0, mean, coarser)
    return found


def _halved(x: Float[Array, "h w C"]) -> Array:
    """Sums over 2 x 2 cells."""
    h, w, C = x.shape
    x = jnp.pad(x, ((0, h % 2), (0, w % 2), (0, 0)))
    return x.reshape((h + 1) // 2, 2, (w + 1) // 2, 2, C).sum(axis=(1, 3))


def _matrix(key: Key[Array, ""]) -> Float[Array, "2 2"]:
    """From where a part of the target is to be to where it was, about its centre."""
    keys = jax.random.split(key, 5)
    angle = jax.random.uniform(keys[0], minval=ANGLES[0], maxval=ANGLES[1])
    angle = jnp.where(jax.random.bernoulli(keys[1]), angle, -angle) * (math.pi / 180)
    scale = jax.random.uniform(keys[2], minval=SCALES[0], maxval=SCALES[1])
    skew = jax.random.uniform(keys[3], (2,), minval=-SKEW, maxval=SKEW)
    mirror = jnp.where(jax.random.bernoulli(keys[4], MIRRORED), -1.0, 1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[cos, -sin], [sin, cos]])
    shape = jnp.array([[1.0, skew[0]], [skew[1], 1.0]]) * jnp.stack(
        [jnp.ones(()), mirror]
    )
    return turn @ shape / scale


def _moved(
    layer: Float[Array, "H W C"], mask: Float[Array, "H W"], matrix: Array
) -> Array:
    """The layer about the centre of the mask; zeros where it shows what was off it."""
    places = masks_ops.cells(mask.shape)
    total = jnp.maximum(mask.sum(), 1e-6)
    centre = (mask[..., None] * places).sum(axis=(0, 1)) / total
    source = (places - centre) @ matrix.T + centre
    last = jnp.array(mask.shape) - 1
    inside = ((source >= 0) & (source <= last)).all(axis=-1)
    moved = warp.sample(layer, source[..., ::-1])
    return jnp.where(inside[..., None], moved, 0)


def _blurred(image: Float[Array, "H W C"]) -> Array:
    for axis in range(2):
        around = jnp.pad(
            image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge"
        )
        image = sum(
            share * jax.lax.slice_in_dim(around, k, k + image.shape[axis], axis=axis)
            for k, share in enumerate(BLUR)
        )
    return image
