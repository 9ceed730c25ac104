"""Where not every object is labelled, only padding is background."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis, ytvis
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


@pytest.mark.parametrize("parity", ["paper", "released"])
def test_maps_beyond_a_clip_change_no_loss(parity):
    """A canvas of 16 x 24 cells, of which the clip has 8 x 16; with classes."""
    config = ytvis.get_config("smoke").unlock()
    config.parity = parity
    system = painted.system(config, Given)
    T, H, W = 1, 64, 96
    masks = np.zeros((1, 1, T, H, W), bool)
    masks[..., 6:24, 6:40] = True
    ignore = np.zeros((1, T, H, W), bool)
    ignore[:, :, 32:] = ignore[..., 64:] = True
    batch = ClipBatch(
        frames=jnp.zeros((1, T, H, W, 3), jnp.uint8),
        masks=jnp.asarray(masks),
        valid=jnp.ones((1, 1), bool),
        categories=jnp.ones((1, 1), jnp.int32),
        ignore=jnp.asarray(ignore),
        intrinsics=jnp.full((1, T, 3, 3), jnp.nan),
        within=jnp.array([[32, 64]], jnp.int32),
    )
    rng = np.random.default_rng(0)
    cells = (1, T, H // 4, W // 4)
    classes = config.model.num_classes
    maps = stemseg.Maps(
        jnp.asarray(rng.random((*cells, 4), np.float32)),
        jnp.zeros((*cells, 2)),
        jnp.asarray(rng.random(cells, np.float32)),
        jnp.asarray(rng.random((*cells, classes), np.float32)),
        jnp.asarray(rng.random(cells, np.float32)),
    )
    beyond = np.ones((H // 4, W // 4), bool)
    beyond[:8, :16] = False

    def gradient(batch):
        keys = jax.random.split(jax.random.key(0), 1)
        return jax.grad(lambda maps: system.loss({"maps": maps}, batch, keys)[0])(maps)

    def moved(batch):
        """Whether cells beyond, and those of the clip, have any gradient."""
        found = gradient(batch)
        return [
            (bool(np.any(np.array(g)[0, 0][beyond])), bool(np.any(np.array(g)[0, 0])))
            for g in (found.embeddings, found.seediness, found.class_logits)
        ]

    assert moved(batch) == [(False, True)] * 3
    assert moved(batch._replace(within=None))[0] == (True, True)  # the overlap
