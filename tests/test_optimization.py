"""Learning rates, weight decay and frozen parts, against PyTorch's rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import defaults, ovis
from stemseg_jax import optimization
from tests import other_figures


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


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_the_rate_for_ovis_equals_the_reference(folder, request):
    """At the first updates, around the kink and beyond the end."""
    arrays = other_figures.load(folder, "stemseg_ovis", request)
    got = rates(ovis.get_config().optim, arrays["lr_iterations"])
    np.testing.assert_allclose(got, arrays["lr_values"], rtol=1e-5)


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


def test_a_polynomial_ends_at_zero():
    optim = optim_config(learning_rate=0.005, schedule="polynomial", steps=8)
    np.testing.assert_allclose(
        rates(optim, [0, 4, 6, 8]),
        [0.005, 0.005 * 0.5**0.9, 0.005 * 0.25**0.9, 0],
        rtol=1e-5,
    )


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="cosine.*exponential"):
        optimization.schedule(optim_config(schedule="linear"))
    with pytest.raises(ValueError, match=r"\['adam', 'adamw', 'amsgrad', 'sgd'\]"):
        optimization.optimizer(optim_config(name="lion"), {})


def test_options_that_no_schedule_has_or_that_are_missing_are_refused():
    options = dict(start=1, steps=2, factor=0.1)
    other = optim_config(schedule="constant", schedule_options=options)
    assert optimization.schedule(other)(9) == other.learning_rate
    for schedule, changes in (
        ("exponential", dict(typo=3, **options)),
        ("step", options),
        ("constant", dict(power=1, powr=2)),
    ):
        with pytest.raises(ValueError, match=f"the schedule '{schedule}' takes"):
            optimization.schedule(
                optim_config(schedule=schedule, schedule_options=changes)
            )


def test_a_frozen_module_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="names guide, with which no parameter begins"):
        optimization.rate_factors({"body": {"w": jnp.zeros(1)}}, {}, frozen=("guide",))


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
    tx = optimization.optimizer(optim, params, frozen=("body/stem",))
    got = steps(tx, params, [zeros])
    np.testing.assert_array_equal(got["body"]["stem"]["w"], [1, 1])
    np.testing.assert_allclose(got["body"]["stage2_block0"]["w"], [0.5, 0.5])
    np.testing.assert_allclose(got["head"]["b"], [0.5, 0.5])

    optim.decay_norms = False
    got = steps(optimization.optimizer(optim, params), params, [zeros])
    np.testing.assert_allclose(got["head"]["b"], [1, 1])
    np.testing.assert_allclose(got["head"]["w"], 0.5 * np.ones((2, 2)))


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adam_follows_torch_rule(weight_decay):
    """g += wd p; m, v averages of g and g^2, corrected for their start at 0."""
    optim = optim_config(name="adam", learning_rate=0.1, weight_decay=weight_decay)
    rng = np.random.default_rng(0)
    p, m, v = rng.standard_normal(5), 0, 0
    gradients = rng.standard_normal((4, 5))
    params = {"w": jnp.asarray(p, jnp.float32)}
    tx = optimization.optimizer(optim, params)
    got = steps(tx, params, [{"w": jnp.asarray(g, jnp.float32)} for g in gradients])
    for t, g in enumerate(gradients, start=1):
        g = g + weight_decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(got["w"], p, rtol=1e-4)


def test_amsgrad_keeps_the_largest_second_moment():
    optim = optim_config(name="amsgrad", learning_rate=0.1, weight_decay=0.01)
    p, m, v, most = np.array([1.0, -2.0]), 0, 0, 0
    gradients = np.array([[4.0, 1.0], [0.1, 5.0], [0.2, -0.1], [-0.1, 0.3]])
    params = {"w": jnp.asarray(p, jnp.float32)}
    trees = [{"w": jnp.asarray(g, jnp.float32)} for g in gradients]
    got = steps(optimization.optimizer(optim, params), params, trees)
    for t, g in enumerate(gradients, start=1):
        g = g + 0.01 * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        most = np.maximum(most, v / (1 - 0.999**t))
        p = p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(most) + 1e-8)
    np.testing.assert_allclose(got["w"], p, rtol=1e-4)
    optim.name = "adam"
    other = steps(optimization.optimizer(optim, params), params, trees)
    assert np.abs(other["w"] - got["w"]).max() > 0.01


def parts():
    names = ("stem", "stage1_block0", "stage1_block1", "stage2_block0")
    return {
        "body": {name: {"w": jnp.ones(2)} for name in names},
        "body_of_guidance": {"stem": {"w": jnp.ones(2)}},
        "head": {"w": jnp.ones(2)},
    }


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "amsgrad"])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_rates_of_parts_scale_the_update_and_the_longest_wins(name, clip_norm):
    """Momentum, decay and clipping are those of a common rate."""
    params, gradient = parts(), jax.tree.map(lambda p: 3 * p, parts())
    changes = dict(name=name, learning_rate=0.1, weight_decay=0.1, clip_norm=clip_norm)
    optim = optim_config(**changes)
    common = steps(optimization.optimizer(optim, params), params, [gradient])
    factors = {"body": 0.1, "body/stage1": 0.5, "body/stage1_block1": 2.0}
    optim = optim_config(**changes, rates=factors)
    got = steps(optimization.optimizer(optim, params), params, [gradient])

    def moved(tree, *path):
        for name in path:
            tree = tree[name]
        return 1 - float(tree["w"][0])

    for *path, factor in (
        ("body", "stem", 0.1),
        ("body", "stage1_block0", 0.5),
        ("body", "stage1_block1", 2.0),
        ("body", "stage2_block0", 0.1),
        ("body_of_guidance", "stem", 1.0),  # another module
        ("head", 1.0),
    ):
        expected = factor * moved(common, *path)
        assert moved(got, *path) == pytest.approx(expected, rel=1e-4), path


@pytest.mark.parametrize("way", ["rates", "frozen"])
def test_what_is_frozen_keeps_its_bits_and_costs_no_memory(way):
    params, gradient = parts(), jax.tree.map(lambda p: 3 * p, parts())
    optim = optim_config(learning_rate=0.1, name="adamw")
    frozen = ()
    if way == "rates":
        optim.rates = {"body": 0.0, "body/stage2": 1.0}
    else:
        frozen = ("body/stem", "body/stage1")
    tx = optimization.optimizer(optim, params, frozen=frozen)
    state = jax.tree_util.tree_leaves_with_path(tx.init(params))
    got = steps(tx, params, [gradient] * 2)
    for block, value in got["body"].items():
        name = f"['body']['{block}']"
        held = [path for path, _ in state if name in jax.tree_util.keystr(path)]
        if block == "stage2_block0":
            assert held and (value["w"] != 1).all()
        else:
            assert not held
            np.testing.assert_array_equal(value["w"], 1)
    # Clipping looks at what learns only.
    optim.update(clip_norm=1.0, name="sgd", momentum=0.0, weight_decay=0.0)
    tx = optimization.optimizer(optim, params, frozen=frozen)
    updates, _ = tx.update(gradient, tx.init(params), params)
    assert float(optax.tree.norm(updates)) == pytest.approx(0.1, rel=1e-5)


def test_rates_that_fit_nothing_are_refused_with_what_there_is():
    optim = optim_config(rates={"bdy": 0.1})
    with pytest.raises(ValueError, match="bdy, .* body, body_of_guidance, head"):
        optimization.optimizer(optim, parts())
    optim = optim_config(rates={"body/stage7": 0.1})
    with pytest.raises(ValueError, match="stage7, .*body/stage1_block0, .*head/w"):
        optimization.optimizer(optim, parts())
    optim = optim_config(rates={"body/stage1_block0": 1.0})
    with pytest.raises(ValueError, match="stage1_block0 learn.*freeze_stages"):
        optimization.optimizer(optim, parts(), frozen=("body/stem", "body/stage1"))


def test_gradients_are_clipped_only_when_asked():
    params = {"w": jnp.zeros(2)}
    gradient = {"w": jnp.array([3.0, 4.0])}
    for clip, expected in [(0.0, [-3, -4]), (1.0, [-0.6, -0.8])]:
        optim = optim_config(
            learning_rate=1.0, clip_norm=clip, momentum=0.0, weight_decay=0.0
        )
        got = steps(optimization.optimizer(optim, params), params, [gradient])
        np.testing.assert_allclose(got["w"], expected, rtol=1e-5)
