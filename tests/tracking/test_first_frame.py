import functools

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.tracking import first_frame

views = jax.jit(functools.partial(first_frame.views, copies=3))


def scene():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(24, 32, 3)).astype(np.float32) * 0.1 - 1
    mask = np.zeros((24, 32), np.float32)
    mask[9:15, 12:20] = 1
    image[mask > 0] = 2
    return jnp.asarray(image), jnp.asarray(mask)


def test_the_frame_comes_first_and_copies_show_the_target_where_the_mask_says():
    image, mask = scene()
    images, masks = views(jax.random.key(1), image, mask)
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(masks[0], mask)
    assert images.shape == (4, 24, 32, 3)
    sizes = np.asarray(masks.sum(axis=(1, 2)))
    assert len(set(sizes.round())) == 4 and (sizes > 5).all()
    for copy, seen in zip(images[1:], masks[1:], strict=True):
        # Blurring reaches one pixel further.
        on = np.asarray(seen) > 0.99
        assert np.asarray(copy)[on].mean() > 1.5
        assert np.asarray(copy)[np.asarray(seen) == 0].mean() < -0.8


def test_what_was_behind_is_painted_in():
    image, mask = scene()
    behind = first_frame.painted_in(image, mask)
    np.testing.assert_allclose(behind[mask == 0], image[mask == 0], atol=1e-6)
    assert (np.abs(np.asarray(behind)[np.asarray(mask) > 0] + 1) < 0.3).all()
    # By hand: a hole of one pixel takes the mean of the three beside it.
    small = jnp.array([[1.0, 2.0], [6.0, 100.0]])[..., None]
    found = first_frame.painted_in(small, jnp.array([[0.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found[..., 0], [[1, 2], [6, 3]], rtol=1e-6)
    # Nothing is known: the mean colour.
    assert not first_frame.painted_in(image, jnp.ones_like(mask)).any()


def test_the_same_key_draws_the_same_for_each_target_in_any_order():
    image, mask = scene()
    other = jnp.zeros_like(mask).at[2:8, 3:9].set(1)
    key = jax.random.key(3)
    both = jax.vmap(lambda m: views(key, image, m))(jnp.stack([mask, other]))
    turned = jax.vmap(lambda m: views(key, image, m))(jnp.stack([other, mask]))
    for a, b in zip(both, turned, strict=True):
        np.testing.assert_allclose(a, b[::-1], atol=1e-5)
    images, masks = views(jax.random.key(4), image, mask)
    assert np.abs(images[1:] - both[0][0, 1:]).max() > 0.1


def test_an_empty_mask_gives_finite_copies():
    image, mask = scene()
    images, masks = views(jax.random.key(0), image, jnp.zeros_like(mask))
    assert np.isfinite(images).all() and not masks.any()
