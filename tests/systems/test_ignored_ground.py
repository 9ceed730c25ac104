"""Where not every object is labelled, only padding is background."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems import stemseg
from tests.systems import painted


class Given(stemseg.Network):
    """A network whose maps are its variables."""

    def apply(self, variables, images):
        return variables["maps"]


def gradient(parity, masks, ignore):
    """Of the loss, with respect to the seediness of each cell."""
    config = davis.get_config("smoke").unlock()
    config.parity = parity
    system = painted.system(config, Given)
    N, T, H, W = masks.shape
    cells = (1, T, H // 4, W // 4)
    rng = np.random.default_rng(0)
    batch = ClipBatch(
        frames=jnp.zeros((1, T, H, W, 3), jnp.uint8),
        masks=jnp.asarray(masks[None]),
        valid=jnp.ones((1, N), bool),
        categories=jnp.ones((1, N), jnp.int32),
        ignore=jnp.asarray(ignore[None]),
        intrinsics=jnp.full((1, T, 3, 3), jnp.nan),
    )

    keys = jax.random.split(jax.random.key(0), 1)

    def loss(seediness):
        maps = stemseg.Maps(
            jnp.asarray(rng.random((*cells, 4), np.float32)),
            jnp.zeros((*cells, 2)),
            seediness,
            None,
            None,
        )
        return system.loss({"maps": maps}, batch, keys)[0]

    return jax.grad(loss)(jnp.full(cells, 0.5))[0]


@pytest.mark.parametrize("parity", ["paper", "released"])
def test_background_of_davis_is_padding_alone(parity):
    """A frame of 5 x 6 cells with one object whose border runs through cells.

    The last column is padding. The authors' program counts the object's border, too.
    """
    masks = np.zeros((1, 1, 20, 24), bool)
    masks[0, 0, 6:14, 6:16] = True  # cells 2 x 2..3 whole, half of those around them
    ignore = ~masks[0]
    ignore[..., 20:] = False
    own, padding = np.zeros((5, 6), bool), np.zeros((5, 6), bool)
    own[2, 2:4] = padding[:, 5] = True
    border = np.zeros((5, 6), bool)
    border[1:4, 1:4] = True
    counted = own | padding | (border if parity == "released" else False)
    np.testing.assert_array_equal(gradient(parity, masks, ignore)[0] != 0, counted)


def test_without_ignored_ground_all_is_background():
    masks = np.zeros((1, 1, 20, 24), bool)
    masks[0, 0, 6:14, 6:16] = True
    assert (gradient("paper", masks, np.zeros((1, 20, 24), bool)) != 0).all()
