"""Masks on device: from image size to feature stride, and where they lie.

Height and width of an image are multiples of the stride.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32


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


def outside(
    within: Int32[Array, "2"] | None, shape: tuple[int, int, int], *, stride: int
) -> Bool[Array, "T h w"] | None:
    """Cells of the canvas beyond a clip (`ClipBatch.within`); None if it covers all."""
    if within is None:
        return None
    rows, columns = (
        jnp.arange(size) * stride >= end
        for size, end in zip(shape[1:], within, strict=True)
    )
    return jnp.broadcast_to(rows[:, None] | columns, shape)


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


def foreground(masks: Bool[Array, "N T H W"], *, rule: str) -> Float[Array, "T h w"]:
    """The part of each cell that is inside of any mask: 0 or 1 but for "fraction"."""
    if rule == "fraction":  # cells on a border are part foreground
        return fraction(masks.any(axis=0))
    return TO_STRIDE[rule](masks).any(axis=0).astype(jnp.float32)


def cells(size: tuple[int, int]) -> Int32[Array, "h w 2"]:
    """(row, column) of each cell of a map."""
    axes = (jnp.arange(length, dtype=jnp.int32) for length in size)
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)


class Outlines(NamedTuple):
    """Where masks lie, in cells (row, column); all zeros for an empty mask."""

    cells: Int32[Array, "*n"]  # how many
    centres: Float[Array, "*n 2"]  # of mass
    middles: Float[Array, "*n 2"]  # of the bounding box
    sizes: Float[Array, "*n 2"]  # of the box: a single cell has 1


def outlines(masks: Bool[Array, "*n h w"]) -> Outlines:
    """Mass centre and bounding box of each mask."""
    axes = [_profile(masks.sum(axis=axis)) for axis in (-1, -2)]
    centres, middles, sizes = (
        jnp.stack(pair, axis=-1) for pair in zip(*axes, strict=True)
    )
    return Outlines(masks.sum(axis=(-2, -1)), centres, middles, sizes)


def _profile(counts: Int32[Array, "*n length"]) -> tuple[Array, Array, Array]:
    """Centre, middle and extent along one axis, from the cells at each place of it."""
    length = counts.shape[-1]
    total = counts.sum(axis=-1)
    centre = (counts * jnp.arange(length, dtype=jnp.float32)).sum(axis=-1)
    first = (counts > 0).argmax(axis=-1)
    last = length - 1 - (counts > 0)[..., ::-1].argmax(axis=-1)
    some = total > 0
    return (
        centre / jnp.maximum(total, 1),
        jnp.where(some, (first + last) / 2, 0),
        jnp.where(some, last - first + 1, 0).astype(jnp.float32),
    )
