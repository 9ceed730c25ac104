"""Resizing without antialiasing, over two conventions of where cells lie."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from stemseg_jax.structures import Side


def linear(
    x: Float[Array, "B *size C"], size: tuple[Side, ...]
) -> Float[Array, "B *new C"]:
    """Bilinear or trilinear, over all axes between the first and the last.

    Output cell o lies at (o + 0.5) * old / new - 0.5 on the input; beyond the outermost
    centres the border's value holds.
    """
    return jax.image.resize(
        x, (x.shape[0], *size, x.shape[-1]), "linear", antialias=False
    )


def linear_corners(
    x: Float[Array, "*B h w C"], size: tuple[Side, Side]
) -> Float[Array, "*B H W C"]:
    """Bilinear with aligned corners: the outermost cells keep their place.

    Output cell o lies at o * (old - 1) / (new - 1) on the input, so that the grid of
    `mixing.coordinates`, enlarged, is the grid of the larger map.
    """
    *batch, h, w, C = x.shape
    assert size[0] >= h and size[1] >= w, (x.shape, size)
    old, new = (jnp.array(sides, jnp.float32) for sides in ((h, w), size))
    # A single cell, which has no corners, fills the whole.
    scale = jnp.where(old > 1, (new - 1) / jnp.maximum(old - 1, 1), new)
    # The function below counts from the cells' borders, half a cell before them.
    shift = jnp.where(old > 1, 0.5 - 0.5 * scale, 0)
    flat = x.reshape(-1, h, w, C)
    flat = jax.image.scale_and_translate(
        *(flat, (flat.shape[0], *size, C), (1, 2), scale, shift),
        method="linear",
        antialias=False,
    )
    return flat.reshape(*batch, *size, C)


def labels(maps: Int32[Array, "T _ _"], size: tuple[int, int]) -> Int32[Array, "T H W"]:
    """Enlarges label maps: each pixel takes the label with the largest bilinear share.

    Of equal shares the lowest label has it. Cells of -1 have no vote; pixels that see
    no other cell are -1.
    """
    rows, columns = map(_neighbours, maps.shape[1:], size)
    # Columns first: the rows that are then repeated are whole.
    corners = [
        (maps[:, :, column][:, row], down[:, None] * right)
        for column, right in columns
        for row, down in rows
    ]
    winner = jnp.full((maps.shape[0], *size), -1, jnp.int32)
    most = jnp.zeros(winner.shape, jnp.float32)
    for label, _ in corners:
        share = sum(jnp.where(other == label, part, 0) for other, part in corners)
        larger = (share > most) | ((share == most) & (label < winner))
        larger &= label >= 0
        winner, most = jnp.where(larger, label, winner), jnp.where(larger, share, most)
    return winner


def _neighbours(old: int, new: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The two cells that each pixel lies between, and their shares, as in `linear`."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(place).astype(int)
    share = (place - low).astype(np.float32)
    return (low, 1 - share), (np.minimum(low + 1, old - 1), share)


def nearest(
    values: Float[Array, "h w *rest"], places: Float[Array, "K 2"]
) -> Float[Array, "K *rest"]:
    """The values at places (row, column), rounded, on the map or its border."""
    limits = jnp.array(values.shape[:2]) - 1
    rows, columns = jnp.clip(jnp.round(places).astype(jnp.int32), 0, limits).T
    return values[rows, columns]


def cubic(
    x: Float[Array, "B h w C"], size: tuple[int, int], *, a: float = -0.75
) -> Float[Array, "B H W C"]:
    """Bicubic, cells as in `linear`, the border's value beyond it.

    Args:
        a: Of the kernel; -0.75 is PyTorch's, that of `jax.image.resize` is -0.5.
    """
    rows, columns = (
        _cubic_weights(old, new, a) for old, new in zip(x.shape[1:3], size, strict=True)
    )
    # In two steps: a row of the result needs few of the map.
    x = jnp.einsum("bhwc,Hh->bHwc", x, jnp.asarray(rows, x.dtype))
    return jnp.einsum("bHwc,Ww->bHWc", x, jnp.asarray(columns, x.dtype))


def _cubic_weights(old: int, new: int, a: float) -> np.ndarray:
    """What each cell counts for each new one [new old]."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros((new, old))
    for step in range(-1, 3):
        cell = np.floor(place) + step
        distance = np.abs(place - cell)
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = a * (((distance - 5) * distance + 8) * distance - 4)
        share = np.where(distance <= 1, near, far)
        np.add.at(
            weights, (np.arange(new), np.clip(cell, 0, old - 1).astype(int)), share
        )
    return weights


def part(
    x: Float[Array, "h w C"], box: Float[Array, "4"], size: tuple[int, int]
) -> Float[Array, "H W C"]:
    """A part of a map, brought to a size: bilinear, the border's value beyond it.

    Args:
        box: Top, left, bottom and right of the part, in cells; the first cell lies
            between 0 and 1. It may depend on data.
    """
    rows, columns = (
        _linear_weights(
            box[axis], box[axis + 2], x.shape[axis], size[axis], inside=True
        )
        for axis in range(2)
    )
    return _weighed(x, rows, columns)


def placed(
    x: Float[Array, "h w C"], extent: Float[Array, "2"], size: tuple[int, int]
) -> Float[Array, "H W C"]:
    """A map brought to the upper left `extent` (height, width) of another one.

    Bilinear; beyond it the border's value.

    Args:
        extent: May depend on data.
    """
    rows, columns = (
        _linear_weights(
            0.0,
            size[axis] * x.shape[axis] / extent[axis],
            *(x.shape[axis], size[axis]),
            inside=False,
        )
        for axis in range(2)
    )
    return _weighed(x, rows, columns)


def _linear_weights(first, last, old: int, new: int, *, inside: bool) -> Array:
    """What each cell counts for each of `new` ones between two places [new old].

    Args:
        inside: Whether only cells between these places count.
    """
    place = first + (jnp.arange(new) + 0.5) * (last - first) / new - 0.5
    low, high = (jnp.ceil(first - 0.5), jnp.floor(last - 0.5)) if inside else (0, old)
    place = jnp.clip(jnp.clip(place, low, jnp.maximum(high, low)), 0, old - 1)
    return jnp.maximum(1 - jnp.abs(place[:, None] - jnp.arange(old)), 0)


def _weighed(x: Array, rows: Array, columns: Array) -> Array:
    x = jnp.einsum("hwc,Hh->Hwc", x, rows, precision="highest")
    return jnp.einsum("Hwc,Ww->HWc", x, columns, precision="highest")
