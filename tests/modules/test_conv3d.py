import functools

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


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_clips_are_sums_of_the_terms_of_their_frames(frames):
    x = jnp.asarray(arrays((frames + 2, 4, 5))[0])
    layer = conv3d.Conv3D(3)
    variables = layer.init(jax.random.key(0), x)
    terms = layer.apply(variables, x, method="frame_terms")
    alone = layer.apply(variables, x[:, 1:2], method="frame_terms")
    np.testing.assert_allclose(alone, terms[:, 1:2], atol=1e-6)
    for first in range(3):
        clip = slice(first, first + frames)
        result = layer.apply(
            variables, [*jnp.moveaxis(terms[:, clip], 1, 0)], method="of_terms"
        )
        expected = layer.apply(variables, x[:, clip])
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["concat", "sum"])
def test_all_forms_have_the_same_gradients(form):
    def loss(x, kernel, form):
        return jnp.square(conv3d.FORMS[form](x, kernel)).mean()

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    native, own = (
        gradient(*map(jnp.asarray, arrays()), form) for form in ("native", form)
    )
    for a, b in zip(native, own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "reach, frames",
    [(1, (0, 0)), (2, (0, 0)), (4, (0, 0)), (2, (1, 0)), (3, (0, 2)), (4, (3, 3))],
)
@pytest.mark.parametrize("form", ["concat", "sum"])
def test_over_frames_is_a_convolution_with_frames_of_zeros(form, reach, frames):
    x, _ = map(jnp.asarray, arrays((5, 3, 4)))
    kernel = np.random.default_rng(1).normal(size=(reach, 3, 3, 2, 3))
    kernel = jnp.asarray(kernel, jnp.float32)

    def loss(x, kernel, of):
        return jnp.square(of(x, kernel)).sum()

    def native(x, kernel):
        padding = (frames, (1, 1), (1, 1))
        axes = ("NDHWC", "DHWIO", "NDHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1, 1), padding, dimension_numbers=axes
        )

    own = functools.partial(conv3d.over_frames, padding=frames, form=form)
    found, expected = (
        (of(x, kernel), *jax.grad(loss, (0, 1))(x, kernel, of)) for of in (own, native)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_no_frame_gives_no_frame():
    kernel = jnp.zeros((3, 3, 3, 2, 3))
    for form in ("concat", "sum"):
        y = conv3d.over_frames(jnp.zeros((2, 2, 4, 5, 2)), kernel, form=form)
        assert y.shape == (2, 0, 4, 5, 3)


def test_auto_takes_the_form_that_is_fast_where_it_runs():
    def operations(platform, inputs):
        x, kernel = map(jnp.asarray, arrays(inputs=inputs))
        traced = jax.jit(conv3d.FORMS["auto"]).trace(x, kernel)
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        return lowered.count("stablehlo.convolution"), "concatenate" in lowered

    assert operations("cpu", 2) == (1, True)
    assert operations("cpu", conv3d.WIDE) == (3, False)
    assert operations("cuda", 2) == operations("tpu", conv3d.WIDE) == (1, False)


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
