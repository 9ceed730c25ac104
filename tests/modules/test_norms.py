import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import optimization, parallel
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


# --------------------------------------------------------------- batch norm that trains


def trained(norm, variables, x):
    y, changed = norm.apply(variables, x, mutable=[norms.STATISTICS])
    return y, {**variables, **changed}


def test_batch_norm_by_hand():
    """Two values, 1 and 5: mean 3, variance 4, and 8 with n - 1."""
    norm = norms.BatchNorm(epsilon=5.0, momentum=0.75)
    x = jnp.array([[1.0], [5.0]])
    y, variables = norm.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, x / np.sqrt(6), rtol=1e-6)  # kept: mean 0, var 1
    y, variables = trained(norm, variables, x)
    np.testing.assert_allclose(y, [[-2 / 3], [2 / 3]], rtol=1e-6)
    kept = variables[norms.STATISTICS]
    np.testing.assert_allclose([kept["mean"][0], kept["var"][0]], [0.75, 2.75])


def test_statistics_of_two_updates_equal_numpy_and_stay_at_inference():
    rng = np.random.default_rng(0)
    batches = rng.normal(50, 2, (2, 3, 2, 4, 5, 6)).astype(np.float32)
    norm = norms.BatchNorm(momentum=0.9)
    variables = norm.init(jax.random.key(0), jnp.asarray(batches[0]))
    mean, var = np.zeros(6), np.ones(6)
    for x in batches:
        y, variables = trained(norm, variables, jnp.asarray(x))
        flat = x.astype(np.float64).reshape(-1, 6)
        expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
        np.testing.assert_allclose(y.reshape(-1, 6), expected, atol=1e-4)
        mean = 0.9 * mean + 0.1 * flat.mean(0)
        var = 0.9 * var + 0.1 * flat.var(0, ddof=1)
    kept = variables[norms.STATISTICS]
    np.testing.assert_allclose(kept["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(kept["var"], var, rtol=1e-4)
    y = norm.apply(
        variables, jnp.asarray(batches[0])
    )  # its own statistics do not count
    expected = (batches[0] - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_a_constant_batch_or_a_single_value_has_finite_gradients():
    norm = norms.BatchNorm()
    for shape in ((4, 3, 2), (1, 2)):
        x = jnp.full(shape, 1000.0)
        variables = norm.init(jax.random.key(0), x)

        def loss(params, x, variables=variables):
            y, changed = trained(norm, {**variables, "params": params}, x)
            return (y**2 + y).sum(), changed

        gradient, changed = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves([gradient, changed]))


def test_one_device_equals_eight():
    where = parallel.shardings(jax.devices()[:8])
    norm = norms.BatchNorm()
    # Clips differ, so that statistics of one device are not those of all.
    x = jnp.arange(8.0)[None, :, None, None] ** 2 + jax.random.normal(
        jax.random.key(1), (1, 8, 6, 3)
    )
    variables = norm.init(jax.random.key(0), x)

    def step(variables, x):
        def loss(params):
            y, changed = trained(norm, {**variables, "params": params}, x)
            return (y**3).mean(), (y, changed)

        return jax.grad(loss, has_aux=True)(variables["params"])

    one = jax.jit(step)(variables, x)
    eight = jax.jit(step, in_shardings=(where.replicated, where.batch))(
        variables, jax.device_put(x, where.batch)
    )
    for a, b in zip(*map(jax.tree.leaves, (one, eight)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_batch_norm_has_an_epsilon_and_its_weights_are_those_of_norms():
    with pytest.raises(ValueError, match="model.norm_epsilon=0.0: .*Take 1e-5"):
        norms.named("batch_norm", epsilon=0.0)
    norm = norms.named("batch_norm", epsilon=0.5)()
    assert norm == norms.BatchNorm(epsilon=0.5)
    params = norm.init(jax.random.key(0), jnp.ones((2, 3)))["params"]
    optim = moving_shapes.get_config("smoke").optim.copy_and_resolve_references()
    with optim.unlocked():
        optim.update(name="sgd", weight_decay=0.5, decay_norms=False, rates={})
    tx = optimization.optimizer(optim, params)
    updates, _ = tx.update(
        jax.tree.map(jnp.zeros_like, params), tx.init(params), params
    )
    assert {*updates} == {"scale", "bias"}
    assert not any(update.any() for update in jax.tree.leaves(updates))
