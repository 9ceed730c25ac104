"""Masks from image size to feature stride, on device.

Height and width are multiples of the stride.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def central_and(
    masks: Bool[Array, "*batch H W"], stride: int = 4
) -> Bool[Array, "*batch h w"]:
    """A cell is set if the four pixels around its centre are.

    This is bilinear resizing cut to integers, as the authors' code does it: thin parts
    and borders are lost.
    """
    first = stride // 2 - 1
    rows = masks[..., first::stride, :] & masks[..., first + 1 :: stride, :]
    return rows[..., first::stride] & rows[..., first + 1 :: stride]


def fraction(
    masks: Bool[Array, "*batch H W"], stride: int = 4
) -> Float[Array, "*batch h w"]:
    """The part of each cell that is covered: a soft target."""
    *batch, height, width = masks.shape
    cells = (*batch, height // stride, stride, width // stride, stride)
    return masks.reshape(cells).astype(jnp.float32).mean(axis=(-3, -1))


def majority(
    masks: Bool[Array, "*batch H W"], stride: int = 4
) -> Bool[Array, "*batch h w"]:
    """A cell is set if at least half of it is covered."""
    return fraction(masks, stride) >= 0.5


def ignored(
    ignore: Bool[Array, "T H W"], masks: Bool[Array, "N T h w"]
) -> Bool[Array, "T h w"]:
    """Cells that are neither object nor background: part ignored, and in no mask.

    Of an object on ignored ground, cells on the border are in the way of both rules
    above: no mask has them, and they are not wholly ignored. They are no background.
    """
    stride = ignore.shape[-1] // masks.shape[-1]
    return (fraction(ignore, stride) > 0) & ~masks.any(axis=0)


TO_STRIDE = {"and": central_and, "fraction": majority}
