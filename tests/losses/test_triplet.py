import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import triplet


def test_by_hand():
    # Of one object 0 and 3, of another 1: distances 3 to its own, 1 and 2 to others.
    embeddings = jnp.array([[0.0], [3.0], [1.0]])
    ids = jnp.array([0, 0, 1], jnp.int32)
    found = triplet.batch_hard(embeddings, ids, jnp.ones(3, bool))
    expected = np.log1p(np.exp([3 - 1, 3 - 2])).mean()  # the third has no other of its
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_form_and_padding_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(9, 4)).astype(np.float32)
    ids = rng.integers(0, 3, 9).astype(np.int32)
    valid = rng.random(9) < 0.8
    losses = []
    for i in np.flatnonzero(valid):
        distances = np.linalg.norm(embeddings - embeddings[i], axis=1)
        own = [j for j in np.flatnonzero(valid) if ids[j] == ids[i] and j != i]
        other = [j for j in np.flatnonzero(valid) if ids[j] != ids[i]]
        if own and other:
            margin = distances[own].max() - distances[other].min()
            losses.append(np.log1p(np.exp(margin)))
    found = jax.jit(triplet.batch_hard)(embeddings, ids, valid)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-5)
    order = rng.permutation(9)
    again = triplet.batch_hard(
        *(jnp.asarray(x[order]) for x in (embeddings, ids, valid))
    )
    np.testing.assert_allclose(again, found, rtol=1e-5)


def test_nothing_to_compare_costs_nothing():
    for valid in (jnp.zeros(4, bool), jnp.ones(4, bool)):
        value, slope = jax.value_and_grad(triplet.batch_hard)(
            jnp.ones((4, 2)), jnp.zeros(4, jnp.int32), valid
        )
        assert value == 0 and np.isfinite(slope).all()
    batch = jnp.zeros((3, 4, 2)), jnp.zeros((3, 4), jnp.int32), jnp.ones((3, 4), bool)
    assert jax.vmap(triplet.batch_hard)(*batch).shape == (3,)
