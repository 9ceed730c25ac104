import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import mask_noise
from stemseg_jax.ops.mask_noise import Noise

MASK = jnp.zeros((30, 40), bool).at[10:20, 12:26].set(True)


def drawn(noise, count=60, mask=MASK):
    keys = jax.random.split(jax.random.key(0), count)
    disturb = jax.jit(jax.vmap(lambda key: mask_noise.disturb(key, mask, noise)))
    return np.asarray(disturb(keys))


def test_without_noise_a_mask_stays():
    found = drawn(Noise(affine=0.0, grown=0, dropped=0.0), count=5)
    np.testing.assert_array_equal(found, np.stack([MASK] * 5).astype(np.float32))


def test_a_mask_grows_or_shrinks_by_whole_pixels():
    found = drawn(Noise(affine=0.0, grown=2, dropped=0.0))
    sizes = {(10 + 2 * k) * (14 + 2 * k) for k in range(-2, 3)}
    assert set(found.sum(axis=(1, 2)).astype(int)) == sizes
    assert (drawn(Noise(affine=0.0, grown=9, dropped=0.0)).sum(axis=(1, 2)) == 0).any()


def test_it_moves_a_little_and_is_dropped_as_often_as_said():
    found = drawn(Noise(affine=0.05, grown=0, dropped=0.25), count=400)
    gone = found.sum(axis=(1, 2)) == 0
    assert 0.18 < gone.mean() < 0.32
    kept = found[~gone]
    assert len(np.unique(kept, axis=0)) > 100
    overlap = (kept * np.asarray(MASK)).sum(axis=(1, 2)) / np.asarray(MASK).sum()
    assert overlap.min() > 0.5


def test_nothing_stays_nothing_and_what_cannot_be_is_refused():
    assert not drawn(Noise(), count=20, mask=jnp.zeros((8, 9), bool)).any()
    with pytest.raises(ValueError, match="dropped=2.0 is no probability"):
        Noise(dropped=2.0)
    with pytest.raises(ValueError, match="expected numbers of at least 0"):
        Noise(grown=-1)
