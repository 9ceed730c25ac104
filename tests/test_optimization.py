"""Learning rates, weight decay and frozen parts, against PyTorch's rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import defaults
from stemseg_jax import optimization


def optim_config(**changes):
    optim = defaults.get_config().optim
    optim.update(changes)
    return optim


def rates(optim, updates):
    schedule = optimization.schedule(optim)
    return [float(schedule(update)) for update in updates]


def test_the_exponential_decay_begins_one_step_down():
    optim = optim_config(
        learning_rate=1e-3,
        schedule="exponential",
        schedule_options=dict(start=10, steps=20, factor=0.01),
    )
    got = rates(optim, [0, 9, 10, 29, 49])
    np.testing.assert_allclose(
        got, [1e-3, 1e-3, 1e-3 * 0.01**0.05, 1e-5, 1e-7], rtol=1e-5
    )


def test_milestones_multiply():
    optim = optim_config(
        learning_rate=1.0,
        schedule="step",
        schedule_options=dict(milestones=(2, 4), factor=0.1),
    )
    np.testing.assert_allclose(rates(optim, [0, 1, 2, 4]), [1, 1, 0.1, 0.01], rtol=1e-6)


def test_warm_up_is_linear_and_ends():
    optim = optim_config(learning_rate=1.0, warmup_steps=4)
    np.testing.assert_allclose(rates(optim, [0, 1, 3, 9]), [0.25, 0.5, 1, 1])


def test_a_cosine_ends_at_zero():
    optim = optim_config(learning_rate=1.0, schedule="cosine", steps=10)
    np.testing.assert_allclose(rates(optim, [0, 5, 10]), [1, 0.5, 0], atol=1e-6)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="cosine.*exponential"):
        optimization.schedule(optim_config(schedule="linear"))
    with pytest.raises(ValueError, match=r"\['adamw', 'sgd'\]"):
        optimization.optimizer(optim_config(name="adam"), {})


def steps(tx, params, gradients):
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_torch_rule(nesterov):
    """d = g + wd p; m = 0.9 m + d, the first m = d; p -= lr (d + 0.9 m), or lr m."""
    optim = optim_config(learning_rate=0.1, weight_decay=0.01, nesterov=nesterov)
    rng = np.random.default_rng(0)
    p, m = rng.standard_normal(5), 0
    gradients = rng.standard_normal((4, 5))
    params = {"w": jnp.asarray(p, jnp.float32)}
    tx = optimization.optimizer(optim, params)
    got = steps(tx, params, [{"w": jnp.asarray(g, jnp.float32)} for g in gradients])
    for g in gradients:
        d = g + 0.01 * p
        m = 0.9 * m + d
        p = p - 0.1 * (d + 0.9 * m if nesterov else m)
    np.testing.assert_allclose(got["w"], p, rtol=1e-5)


def test_frozen_modules_keep_their_weights_under_weight_decay():
    params = {
        "body": {"stem": {"w": jnp.ones(2)}, "stage2_block0": {"w": jnp.ones(2)}},
        "head": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)},
    }
    optim = optim_config(learning_rate=1.0, weight_decay=0.5, momentum=0.0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    tx = optimization.optimizer(optim, params, frozen=("body/stem", "body/stage1"))
    got = steps(tx, params, [zeros])
    np.testing.assert_array_equal(got["body"]["stem"]["w"], [1, 1])
    np.testing.assert_allclose(got["body"]["stage2_block0"]["w"], [0.5, 0.5])
    np.testing.assert_allclose(got["head"]["b"], [0.5, 0.5])

    optim.decay_norms = False
    got = steps(optimization.optimizer(optim, params), params, [zeros])
    np.testing.assert_allclose(got["head"]["b"], [1, 1])
    np.testing.assert_allclose(got["head"]["w"], 0.5 * np.ones((2, 2)))


def test_gradients_are_clipped_only_when_asked():
    params = {"w": jnp.zeros(2)}
    gradient = {"w": jnp.array([3.0, 4.0])}
    for clip, expected in [(0.0, [-3, -4]), (1.0, [-0.6, -0.8])]:
        optim = optim_config(
            learning_rate=1.0, clip_norm=clip, momentum=0.0, weight_decay=0.0
        )
        got = steps(optimization.optimizer(optim, params), params, [gradient])
        np.testing.assert_allclose(got["w"], expected, rtol=1e-5)
