"""Shifts that images really have are the likely ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import cost_volume


def images(seed=0, shape=(2, 14, 20, 3)):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shift", [(0, 0), (1, -3), (-2, 4)])
def test_a_shifted_image_is_found_at_its_shift(shift):
    image = images()
    other = jnp.roll(image, shift, axis=(1, 2))
    found = jax.jit(lambda a, b: cost_volume.shift_likelihoods(a, b, (2, 4)))(
        image, other
    )
    assert found.shape == (2, 14, 20, 5 * 9)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    inner = np.asarray(found)[:, 3:-3, 5:-5]
    y, x = shift
    assert (inner.argmax(axis=-1) == 9 * (y + 2) + x + 4).all()
    assert inner.max(axis=-1).min() > 0.9


def test_values_by_hand():
    """At one pixel of a corner: windows are cut, and the border goes on."""
    image, other = images(1), images(2)
    found = cost_volume.shift_likelihoods(image, other, (1, 2))[1, 0, 0]
    a, b = (np.float64(x[1]) for x in (image, other))
    costs = np.empty((3, 5))
    for y, x in np.ndindex(costs.shape):
        steps = [
            np.abs(a[r, c] - b[max(r + y - 1, 0), max(c + x - 2, 0)]).mean()
            for r in range(2)
            for c in range(2)
        ]
        costs[y, x] = np.mean(steps)
    expected = np.exp(-10 * costs) / np.exp(-10 * costs).sum()
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-4, atol=1e-7)
