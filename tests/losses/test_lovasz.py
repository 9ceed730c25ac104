import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import lovasz

hinge = jax.jit(lovasz.hinge)
value_and_gradient = jax.jit(jax.value_and_grad(lovasz.hinge))


def reference(logits, labels):
    """The definition, point by point: Jaccard losses of growing sets of mistakes."""
    errors = np.asarray(1 - logits * np.where(labels, 1, -1), np.float64)
    mistakes, loss, before = np.zeros(len(labels), bool), 0.0, 0.0
    for point in np.argsort(-errors, kind="stable"):
        mistakes[point] = True
        guess = labels ^ mistakes
        jaccard = 1 - (guess & labels).sum() / max((guess | labels).sum(), 1)
        loss += max(errors[point], 0) * (jaccard - before)
        before = jaccard
    return loss


def sample(size, share, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size).astype(np.float32), rng.random(size) < share


def test_four_points_by_hand():
    # Errors 3 (a negative), 2 (a positive), 0.5 (a positive), 0 (a negative); two
    # positives. Jaccard losses 1 - 2/3, 1 - 1/3, 1 - 0/3, 1.
    logits = jnp.array([0.5, 2.0, -1.0, -1.0])
    labels = jnp.array([True, False, True, False])
    expected = 3 * (1 / 3) + 2 * (1 / 3) + 0.5 * (1 / 3)
    np.testing.assert_allclose(hinge(logits, labels), expected, rtol=1e-6)


def test_points_without_error_cost_nothing():
    labels = jnp.array([True, False, False])
    assert hinge(jnp.array([1.5, -1.0, -7.0]), labels) == 0


@pytest.mark.parametrize("size", [1, 2, 7, 201])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_equals_the_definition(size, share):
    logits, labels = sample(size, share, seed=size)
    loss = hinge(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, reference(logits, labels), rtol=2e-6, atol=1e-6)


def test_without_positives_it_is_the_largest_error():
    logits, labels = sample(50, 0.0)
    loss = hinge(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, 1 + logits.max(), rtol=1e-6)


def test_gradient_is_that_of_finite_differences():
    logits, labels = sample(60, 0.4)
    _, gradient = value_and_gradient(jnp.asarray(logits), jnp.asarray(labels))
    step = 1e-5
    for point in range(60):
        shift = np.zeros(60)
        shift[point] = step
        up, down = (reference(logits + sign * shift, labels) for sign in (1, -1))
        np.testing.assert_allclose(
            gradient[point], (up - down) / (2 * step), rtol=1e-4, atol=1e-6
        )


def test_points_that_are_not_valid_change_nothing():
    logits, labels = sample(40, 0.3)
    rest = np.array([np.inf, 9, -9, np.float32(1e30)], np.float32)
    loss = hinge(jnp.asarray(logits), jnp.asarray(labels))
    value, gradient = value_and_gradient(
        jnp.asarray(np.r_[logits, rest]),
        jnp.asarray(np.r_[labels, True, False, True, False]),
        jnp.arange(44) < 40,
    )
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    np.testing.assert_array_equal(gradient[40:], 0)


def test_order_of_points_does_not_matter():
    logits, labels = sample(90, 0.3)
    order = np.random.default_rng(1).permutation(90)
    _, before = value_and_gradient(jnp.asarray(logits), jnp.asarray(labels))
    _, after = value_and_gradient(
        jnp.asarray(logits[order]), jnp.asarray(labels[order])
    )
    np.testing.assert_allclose(after, before[order], atol=1e-7)


def test_ties_give_the_loss_of_any_order():
    labels = jnp.array([True, False, False, True])
    assert abs(hinge(jnp.zeros(4), labels) - 1) < 1e-6


@pytest.mark.parametrize("points", [0, 5])
def test_nothing_valid_is_zero_with_zero_gradient(points):
    loss, gradient = value_and_gradient(
        jnp.ones(points), jnp.ones(points, bool), jnp.zeros(points, bool)
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_counts_stay_exact_where_differences_would_cancel():
    labels = jnp.arange(300_000) < 100_000
    # Every point has error 1: the weights sum to the Jaccard loss of all wrong, 1.
    _, gradient = value_and_gradient(jnp.zeros(300_000), labels)
    np.testing.assert_allclose(np.abs(np.float64(gradient)).sum(), 1, rtol=1e-6)


def test_vmap_under_jit_equals_one_by_one():
    pairs = [sample(30, share, seed) for seed, share in enumerate((0.0, 0.5, 1.0))]
    logits, labels = (jnp.asarray(np.stack(x)) for x in zip(*pairs, strict=True))
    together = jax.jit(jax.vmap(lovasz.hinge))(logits, labels)
    alone = [lovasz.hinge(z, y) for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-6)


def check_figures(folder):
    meta, arrays = goldens.load(folder, "losses")
    for name, case in meta["lovasz"].items():
        logits, labels, expected = (
            arrays[f"lovasz.{name}.{key}"] for key in ("logits", "labels", "grad")
        )
        loss, gradient = value_and_gradient(
            jnp.asarray(logits), jnp.asarray(labels.astype(bool))
        )
        np.testing.assert_allclose(loss, case["loss"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, expected, atol=1e-6, err_msg=name)


def test_reference_figures_kept_here():
    check_figures(goldens.KEPT)


def test_reference_figures(shared):
    check_figures(shared / "reference" / "goldens")
