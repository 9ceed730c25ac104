"""Where one image is seen in another: all small shifts compared at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SHARPNESS = 10.0  # of the softmax; images have a deviation of about 1


def shift_likelihoods(
    image: Float[Array, "B H W C"],
    other: Float[Array, "B H W C"],
    reach: tuple[int, int],
) -> Float[Array, "B H W shifts"]:
    """How likely each pixel of an image is seen in the other one so far away.

    A softmax over the shifts (y, x), row by row from the most negative, of the mean
    absolute difference over colours and a window of 3 x 3. Beyond its border the other
    image goes on as it ends; windows are cut there.

    Args:
        reach: Largest shift along y and x, in pixels.
    """
    height, width = image.shape[1:3]
    down, right = reach
    padded = jnp.pad(other, ((0, 0), (down, down), (right, right), (0, 0)), mode="edge")
    differences = [
        jnp.abs(image - padded[:, y : y + height, x : x + width]).mean(axis=-1)
        for y in range(2 * down + 1)
        for x in range(2 * right + 1)
    ]
    windows = _window_means(jnp.stack(differences, axis=-1))
    return jax.nn.softmax(-SHARPNESS * windows, axis=-1)


def _window_means(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    def total(x):
        window = (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, *window)

    return total(x) / total(jnp.ones_like(x[:1, ..., :1]))
