import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from stemseg_jax.ops import gauss_newton

ONE = {"a": 1.0, "b": 1.0}


def linear(seed, rows=12, sizes=(2, 3)):
    """A least-squares problem, as residuals of a tree and as (matrix, right side)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(rows, sum(sizes))).astype(np.float32)
    b = rng.normal(size=rows).astype(np.float32)

    def residuals(params):
        return {"only": A @ jnp.concatenate([params["a"], params["b"]]) - b}

    start = {"a": jnp.zeros(sizes[0]), "b": jnp.ones(sizes[1])}
    return residuals, start, A, b


def solved(residuals, start, schedule, **options):
    options = {"preconditioner": jax.tree.map(lambda _: 1.0, start)} | options
    found, _ = gauss_newton.minimise(
        residuals, start, gauss_newton.none(start), schedule, **options
    )
    return found


def test_one_parameter_by_hand():
    # r = (2 w - 6, w): J^T J = 5, -J^T r at w = 1 is 7; one iteration is exact.
    found = solved(lambda w: (2 * w - 6, w), jnp.array([1.0]), (1,))
    np.testing.assert_allclose(found, [1 + 7 / 5], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_problem_is_solved_in_one_step(seed):
    residuals, start, A, b = linear(seed)
    found = solved(residuals, start, (5,))
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(
        np.concatenate([found["a"], found["b"]]), expected, rtol=1e-3, atol=1e-4
    )
    # With either rule, and whatever the gradients are divided by.
    for options in (
        dict(conjugacy="fletcher_reeves"),
        dict(preconditioner={"a": 0.5, "b": jnp.array([2.0, 1.0, 0.5])}),
    ):
        other = solved(residuals, start, (5, 5), **options)
        np.testing.assert_allclose(other["b"], found["b"], rtol=1e-3, atol=1e-3)


def test_a_curve_is_fitted_as_scipy_fits_it():
    t = np.linspace(0, 2, 15, dtype=np.float32)
    y = 1.5 * np.exp(-1.3 * t) + 0.02 * np.cos(9 * t)

    def residuals(w):
        return w[0] * jnp.exp(w[1] * t) - y

    found = solved(residuals, jnp.array([1.0, -1.0]), (2,) * 8)
    expected = scipy.optimize.least_squares(
        lambda w: w[0] * np.exp(w[1] * t) - y, [1.0, -1.0]
    )
    np.testing.assert_allclose(found, expected.x, rtol=1e-3)
    np.testing.assert_allclose(
        gauss_newton.loss(residuals(found)), 2 * expected.cost, rtol=1e-3
    )


def test_directions_are_carried_and_can_be_forgotten():
    residuals, start, *_ = linear(3)
    options = dict(preconditioner=ONE)
    whole, _ = gauss_newton.minimise(
        residuals, start, gauss_newton.none(start), (2, 2), **options
    )
    half, carried = gauss_newton.minimise(
        residuals, start, gauss_newton.none(start), (2,), **options
    )
    then, _ = gauss_newton.minimise(residuals, half, carried, (2,), **options)
    np.testing.assert_allclose(then["a"], whole["a"], rtol=1e-5, atol=1e-6)
    # All is forgotten by default; a large factor keeps what came before.
    anew, _ = gauss_newton.minimise(
        residuals, half, gauss_newton.none(start), (2,), **options
    )
    np.testing.assert_allclose(then["a"], anew["a"], rtol=1e-5, atol=1e-6)
    kept, _ = gauss_newton.minimise(
        residuals, half, carried, (2,), forgetting=1.0, **options
    )
    assert np.abs(kept["a"] - anew["a"]).max() > 1e-4


def test_what_has_no_curvature_does_not_move():
    # The second parameter appears nowhere; the first is solved, then nothing is left.
    found = solved(lambda w: w[:1] - 3, jnp.array([0.0, 7.0]), (5, 5))
    np.testing.assert_allclose(found, [3, 7], rtol=1e-6)
    still = solved(lambda w: w[:0], jnp.array([1.0, 2.0]), (3,))
    np.testing.assert_array_equal(still, [1, 2])
    # A ridge says where such a parameter goes.
    ridged = solved(lambda w: (w[:1] - 3, 0.1 * w), jnp.array([0.0, 7.0]), (5,))
    np.testing.assert_allclose(ridged, [3 / 1.01, 0], atol=1e-4)


def test_problems_side_by_side_are_each_their_own():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(3, 6, 4)).astype(np.float32)
    b = rng.normal(size=(3, 6)).astype(np.float32)

    @jax.jit
    def one(A, b):
        return solved(lambda w: A @ w - b, jnp.zeros(4), (2, 3))

    together = jax.vmap(one)(A, b)
    for index in range(3):
        np.testing.assert_allclose(
            together[index], one(A[index], b[index]), rtol=1e-4, atol=1e-5
        )
    # Nothing to do for one of them spoils no other.
    b[1] = 0
    assert np.isfinite(jax.vmap(one)(A, b)).all()
