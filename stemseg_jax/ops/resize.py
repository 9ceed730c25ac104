"""Resizing without antialiasing, over two conventions of where cells lie."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32


def linear(
    x: Float[Array, "B *size C"], size: tuple[int, ...]
) -> Float[Array, "B *new C"]:
    """Bilinear or trilinear, over all axes between the first and the last.

    Output cell o lies at (o + 0.5) * old / new - 0.5 on the input; beyond the outermost
    centres the border's value holds.
    """
    return jax.image.resize(
        x, (x.shape[0], *size, x.shape[-1]), "linear", antialias=False
    )


def linear_corners(
    x: Float[Array, "*B h w C"], size: tuple[int, int]
) -> Float[Array, "*B H W C"]:
    """Bilinear with aligned corners: the outermost cells keep their place.

    Output cell o lies at o * (old - 1) / (new - 1) on the input, so that the grid of
    `mixing.coordinates`, enlarged, is the grid of the larger map.
    """
    *batch, h, w, C = x.shape
    old, new = np.array((h, w)), np.array(size)
    assert (new >= old).all(), (x.shape, size)
    # A single cell, which has no corners, fills the whole.
    scale = np.where(old > 1, (new - 1) / np.maximum(old - 1, 1), new)
    # The function below counts from the cells' borders, half a cell before them.
    shift = np.where(old > 1, 0.5 - 0.5 * scale, 0)
    flat = x.reshape(-1, h, w, C)
    flat = jax.image.scale_and_translate(
        *(flat, (len(flat), *size, C), (1, 2)),
        *(jnp.asarray(scale), jnp.asarray(shift)),
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
