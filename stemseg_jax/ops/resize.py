"""Resizing with half-pixel centres and no antialiasing, as the original does it."""

import jax
from jaxtyping import Array, Float


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
