import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.modules import norms


def test_frozen_batch_norm_by_hand():
    norm = norms.FrozenBatchNorm(epsilon=1.0)
    constants = {
        "scale": jnp.array([2.0, 1.0]),
        "bias": jnp.array([0.5, 0.0]),
        "mean": jnp.array([1.0, -1.0]),
        "var": jnp.array([3.0, 0.0]),
    }
    y = norm.apply({"constants": constants}, jnp.array([[3.0, 4.0], [1.0, -1.0]]))
    np.testing.assert_allclose(y, [[2.5, 5], [0.5, 0]])


def test_frozen_batch_norm_starts_as_the_identity_and_has_no_parameter():
    x = jnp.arange(6.0).reshape(1, 2, 3)
    y, variables = norms.FrozenBatchNorm().init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, x)
    assert set(variables) == {"constants"}


@pytest.mark.parametrize("shape", [(2, 5, 6, 64), (2, 3, 4, 5, 64)])
@pytest.mark.parametrize(
    "norm, groups",
    [
        (norms.group_norm(), 32),
        (norms.group_norm(groups=4), 4),
        (norms.group_norm(channels_per_group=8), 8),
    ],
)
def test_group_norm_equals_numpy(norm, groups, shape):
    x = np.random.default_rng(0).normal(3, 2, shape)
    y, _ = norm(name="norm").init_with_output(
        jax.random.key(0), jnp.asarray(x, jnp.float32)
    )
    grouped = x.reshape(2, -1, groups, 64 // groups)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    std = np.sqrt(grouped.var(axis=(1, 3), keepdims=True) + 1e-5)
    expected = ((grouped - mean) / std).reshape(shape)
    np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize("name", norms.NORMS)
def test_bfloat16_in_bfloat16_out_with_float32_numbers(name):
    x = jnp.ones((1, 2, 2, 64), jnp.bfloat16)
    norm = norms.NORMS[name](dtype=jnp.bfloat16)
    y, variables = norm.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
