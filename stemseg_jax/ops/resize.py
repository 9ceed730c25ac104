"""Resizing with half-pixel centres and no antialiasing, as the original does it."""

import jax
import jax.numpy as jnp
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


def labels(
    maps: Int32[Array, "T _ _"], size: tuple[int, int], *, num_labels: int
) -> Int32[Array, "T H W"]:
    """Enlarges label maps: each pixel takes the label with the largest bilinear share.

    Cells of -1 have no vote; pixels that see no other cell are -1.
    One label after the other, so that memory does not grow with their number.
    """

    def compare(best, label):
        share, winner = best
        candidate = linear((maps == label).astype(jnp.float32)[..., None], size)[..., 0]
        larger = candidate > share
        return (
            jnp.where(larger, candidate, share),
            jnp.where(larger, label, winner),
        ), None

    shape = (maps.shape[0], *size)
    start = jnp.zeros(shape, jnp.float32), jnp.full(shape, -1, jnp.int32)
    (_, winner), _ = jax.lax.scan(compare, start, jnp.arange(num_labels))
    return winner
