import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import lovasz

FORMS = {form: functools.partial(lovasz.hinge, form=form) for form in lovasz.FORMS}
VALUES = {form: jax.jit(hinge) for form, hinge in FORMS.items()}
GRADIENTS = {form: jax.jit(jax.value_and_grad(hinge)) for form, hinge in FORMS.items()}


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def hinge(form):
    return VALUES[form]


@pytest.fixture
def value_and_gradient(form):
    return GRADIENTS[form]


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


def test_four_points_by_hand(hinge):
    # Errors 3 (a negative), 2 (a positive), 0.5 (a positive), 0 (a negative); two
    # positives. Jaccard losses 1 - 2/3, 1 - 1/3, 1 - 0/3, 1.
    logits = jnp.array([0.5, 2.0, -1.0, -1.0])
    labels = jnp.array([True, False, True, False])
    expected = 3 * (1 / 3) + 2 * (1 / 3) + 0.5 * (1 / 3)
    np.testing.assert_allclose(hinge(logits, labels), expected, rtol=1e-6)


def test_points_without_error_cost_nothing(hinge):
    labels = jnp.array([True, False, False])
    assert hinge(jnp.array([1.5, -1.0, -7.0]), labels) == 0


@pytest.mark.parametrize("size", [1, 2, 7, 201])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_equals_the_definition(hinge, size, share):
    logits, labels = sample(size, share, seed=size)
    loss = hinge(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, reference(logits, labels), rtol=2e-6, atol=1e-6)


def test_without_positives_it_is_the_largest_error(hinge):
    logits, labels = sample(50, 0.0)
    loss = hinge(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, 1 + logits.max(), rtol=1e-6)


def test_gradient_is_that_of_finite_differences(value_and_gradient):
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


def test_points_that_are_not_valid_change_nothing(hinge, value_and_gradient):
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


def test_order_of_points_does_not_matter(value_and_gradient):
    logits, labels = sample(90, 0.3)
    order = np.random.default_rng(1).permutation(90)
    _, before = value_and_gradient(jnp.asarray(logits), jnp.asarray(labels))
    _, after = value_and_gradient(
        jnp.asarray(logits[order]), jnp.asarray(labels[order])
    )
    np.testing.assert_allclose(after, before[order], atol=1e-7)


def test_ties_give_the_loss_of_any_order(hinge):
    labels = jnp.array([True, False, False, True])
    assert abs(hinge(jnp.zeros(4), labels) - 1) < 1e-6


def test_equal_points_have_equal_weights():
    """Two positives and four negatives of cost 1, which come before the second positive
    or after it: the Jaccard losses around them are 1/2 and 5/6, or 1 and 1."""
    labels = jnp.array([True, False, False, True, False, False])
    logits = jnp.array([-1.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # of equal ones it is first
    _, gradient = GRADIENTS["ranks"](logits, labels)
    np.testing.assert_allclose(gradient, [-0.5, 0, 0, -0.5, 0, 0], atol=1e-7)
    logits = jnp.array([-1.0, 0.0, 0.0, 0.5, 0.0, 0.0])
    _, gradient = GRADIENTS["ranks"](logits, labels)
    each = (5 / 6 - 1 / 2) / 4
    np.testing.assert_allclose(gradient, [-0.5, each, each, -1 / 6, each, each])


def test_both_forms_are_one_where_no_points_are_equal():
    logits, labels = map(jnp.asarray, sample(5000, 0.2))
    found, expected = (GRADIENTS[form](logits, labels) for form in FORMS)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-9, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_costs_of_any_size_are_put_in_order(value_and_gradient, scale):
    """All but one are close together, as seen from the largest."""
    logits, labels = sample(200, 0.3)
    logits = np.r_[logits * scale, np.float32(-1e7)]
    labels = np.r_[labels, True]
    value, gradient = value_and_gradient(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(value, reference(logits, labels), rtol=1e-5)
    errors = 1 - np.where(labels, logits, -logits)
    assert (np.asarray(gradient)[errors <= 0] == 0).all()
    for other in GRADIENTS.values() if scale > 1 else ():  # else many are equal
        _, expected = other(jnp.asarray(logits), jnp.asarray(labels))
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


def test_counts_are_integers(form):
    """Those of floats end at 2^24."""
    jaxpr = jax.make_jaxpr(FORMS[form])(jnp.zeros(5), jnp.zeros(5, bool))
    counted = [line for line in str(jaxpr).splitlines() if " = cumsum[" in line]
    assert counted and all(line.split(":")[1].startswith("i32") for line in counted)


def test_memory_is_linear_in_the_points(form):
    gradient = jax.jit(jax.value_and_grad(FORMS[form]))

    def needed(points):
        points = jax.ShapeDtypeStruct((points,), jnp.float32)
        labels = jax.ShapeDtypeStruct(points.shape, bool)
        compiled = gradient.lower(points, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert needed(40_000) <= 4.1 * needed(10_000)


def test_a_form_of_another_name_is_refused():
    with pytest.raises(ValueError, match="'rank'.*'permutation', 'ranks'|permutation"):
        lovasz.hinge(jnp.zeros(3), jnp.zeros(3, bool), form="rank")


def test_counts_beyond_those_of_floats_are_exact():
    """2^24 + 1 is no float32."""
    one, many = jnp.ones(1, jnp.int32), jnp.array([2**24 + 1])
    weight = lovasz._weights(one == 1, many, many, one, many[0])
    np.testing.assert_allclose(weight, 1 / (2 * (2**24 + 1)), rtol=6e-8)
    weight = lovasz._weights(one == 0, many - 1, many, one, many[0])  # one is missed
    union = 2 * (2**24 + 1)
    np.testing.assert_allclose(weight, 1 / (union * (union + 1)), rtol=3e-7)


def test_auto_takes_the_form_that_is_fast_where_it_runs():
    def searches(form, platform):
        """Ranks are searched for in a loop."""
        hinge = jax.vmap(jax.value_and_grad(functools.partial(lovasz.hinge, form=form)))
        traced = jax.jit(hinge).trace(jnp.zeros((2, 9)), jnp.zeros((2, 9), bool))
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        return "stablehlo.while" in lowered

    for platform in ("cpu", "cuda", "tpu"):
        assert searches("ranks", platform) and not searches("permutation", platform)
        assert searches("auto", platform) == (platform == "cpu")


def test_auto_has_the_same_gradients():
    logits, labels = (jnp.asarray(a) for a in sample(90, 0.3))
    found = jax.value_and_grad(lovasz.hinge)(logits, labels)
    for a, b in zip(found, GRADIENTS["permutation"](logits, labels), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("points", [0, 5])
def test_nothing_valid_is_zero_with_zero_gradient(value_and_gradient, points):
    loss, gradient = value_and_gradient(
        jnp.ones(points), jnp.ones(points, bool), jnp.zeros(points, bool)
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_counts_stay_exact_where_differences_would_cancel(value_and_gradient):
    labels = jnp.arange(300_000) < 100_000
    # Every point has error 1: the weights sum to the Jaccard loss of all wrong, 1.
    _, gradient = value_and_gradient(jnp.zeros(300_000), labels)
    np.testing.assert_allclose(np.abs(np.float64(gradient)).sum(), 1, rtol=1e-6)


def test_vmap_under_jit_equals_one_by_one(hinge):
    pairs = [sample(30, share, seed) for seed, share in enumerate((0.0, 0.5, 1.0))]
    logits, labels = (jnp.asarray(np.stack(x)) for x in zip(*pairs, strict=True))
    together = jax.jit(jax.vmap(hinge))(logits, labels)
    alone = [hinge(z, y) for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-6)


def check_figures(folder, value_and_gradient):
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


def test_reference_figures_kept_here(value_and_gradient):
    check_figures(goldens.KEPT, value_and_gradient)


def test_reference_figures(value_and_gradient, shared):
    check_figures(shared / "reference" / "goldens", value_and_gradient)
