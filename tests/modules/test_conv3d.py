import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from stemseg_jax.modules import conv3d


def arrays(size=(3, 4, 5), inputs=2, outputs=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, inputs)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, inputs, outputs)).astype(np.float32)
    return x, kernel


@pytest.mark.parametrize("form", conv3d.FORMS)
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 4, 5), (2, 3, 3), (5, 2, 6)])
def test_equals_scipy(form, size):
    x, kernel = arrays(size)
    expected = np.zeros((2, *size, 3))
    for batch, source, target in np.ndindex(2, 2, 3):
        expected[batch, ..., target] += ndimage.correlate(
            x[batch, ..., source], kernel[..., source, target], mode="constant"
        )
    result = conv3d.FORMS[form](jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_both_forms_have_the_same_gradients():
    def loss(x, kernel, form):
        return jnp.square(conv3d.FORMS[form](x, kernel)).mean()

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    native, concat = (
        gradient(*map(jnp.asarray, arrays()), form) for form in ("native", "concat")
    )
    for a, b in zip(native, concat, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_auto_takes_the_form_that_is_fast_here(monkeypatch):
    x, kernel = map(jnp.asarray, arrays())

    def is_2d(backend):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        jaxpr = jax.make_jaxpr(lambda x: conv3d.FORMS["auto"](x, kernel))(x)
        return "concatenate" in str(jaxpr)

    assert is_2d("cpu") and not is_2d("gpu") and not is_2d("tpu")


def test_parameters_do_not_depend_on_the_form():
    x = jnp.asarray(arrays()[0])
    trees = [conv3d.Conv3D(4, form=f).init(jax.random.key(0), x) for f in conv3d.FORMS]
    assert jax.tree.map(jnp.shape, trees[0]["params"]) == {
        "kernel": (3, 3, 3, 2, 4),
        "bias": (4,),
    }
    for tree in trees[1:]:
        for a, b in zip(*map(jax.tree.leaves, (trees[0], tree)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bias, start", [("scheme", None), (-1.5, -1.5), (None, 0)])
def test_pointwise_is_one_matrix_for_all_cells(bias, start):
    x = jnp.asarray(arrays()[0])
    y, variables = conv3d.Pointwise(4, bias=bias).init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert ("bias" in params) == (bias is not None)
    expected = np.asarray(x) @ np.asarray(params["kernel"])[0, 0, 0]
    offset = params["bias"] if start is None else start
    np.testing.assert_allclose(y, expected + offset, rtol=1e-5, atol=1e-6)
