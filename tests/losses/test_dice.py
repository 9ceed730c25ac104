import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.losses import dice


def test_by_hand():
    found = dice.soft(jnp.array([1.0, 0.5, 0.25]), jnp.array([True, True, False]))
    np.testing.assert_allclose(found, 1 - 2 * 1.5 / 3.75, rtol=1e-6)


def test_a_perfect_mask_costs_nothing_and_the_opposite_one():
    mask = jnp.array([[True, False], [False, True]])
    assert dice.soft(mask.astype(jnp.float32), mask) == 0
    assert dice.soft(1.0 - mask, mask) == 1


def test_nothing_on_nothing_is_right_and_has_a_gradient():
    nothing = jnp.zeros(4, bool)
    value, gradient = jax.value_and_grad(dice.soft)(jnp.zeros(4), nothing)
    assert value == 0
    assert jnp.isfinite(gradient).all()


def test_under_jit_and_vmap():
    rng = np.random.default_rng(0)
    p = jnp.asarray(rng.random((3, 20)), jnp.float32)
    masks = jnp.asarray(rng.random((3, 20)) < 0.4)
    together = jax.jit(jax.vmap(dice.soft))(p, masks)
    alone = [dice.soft(*pair) for pair in zip(p, masks, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
