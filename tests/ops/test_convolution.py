import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from stemseg_jax.modules import conv2d
from stemseg_jax.ops import convolution

OPTIONS = {"dimension_numbers": convolution.AXES}


def arrays(taps=(3, 3), size=(7, 6), inputs=3, outputs=4, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, inputs))
    kernel = rng.normal(size=(*taps, inputs, outputs))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def gradients(x, kernel, strides, padding, **options):
    def loss(x, kernel):
        y = convolution.general_dilated(x, kernel, strides, padding, **options)
        return jnp.square(y.astype(jnp.float32)).sum(), y

    (_, y), found = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel)
    return y, *found


def assert_equal(found, expected, tolerance=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = (np.asarray(c, np.float32) for c in (a, b))
        np.testing.assert_allclose(a, b, atol=tolerance * max(np.abs(b).max(), 1))


@pytest.mark.parametrize(
    "taps, strides, padding",
    [
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 3), (1, 1), "SAME"),
        ((3, 3), (2, 2), "SAME"),  # of an odd height and an even width
        ((3, 3), (2, 1), "VALID"),
        ((1, 1), (1, 1), ((0, 0), (0, 0))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),
        ((2, 2), (1, 1), ((0, 1), (0, 1))),
        ((7, 5), (2, 2), ((3, 3), (2, 2))),
    ],
)
def test_all_forms_have_the_same_values_and_gradients(taps, strides, padding):
    case = *arrays(taps), strides, padding
    native, products, auto = (
        gradients(*case, form=form, **OPTIONS) for form in (*convolution.FORMS, "auto")
    )
    assert_equal(products, native)
    assert_equal(auto, native)


def test_the_gradient_by_hand():
    """One cell and one of its neighbours: each tap that meets the cell has its value
    times the slope, and all others have none."""
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1].set(5.0)
    slope = jnp.zeros((1, 3, 3, 1)).at[0, 0, 1].set(2.0)
    found = convolution.slope_of_kernel(x, slope, jnp.zeros((3, 3, 1, 1)))
    expected = np.zeros((3, 3))
    expected[2, 1] = 10.0  # the cell lies below
    np.testing.assert_array_equal(found[..., 0, 0], expected)


def test_sums_over_cells_are_exact_to_float32_in_bfloat16():
    """Added up in 8 bits, a sum of ones would stay at 256."""
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.zeros((1, 1, 1, 1), jnp.bfloat16)
    found = convolution.slope_of_kernel(x, x, kernel, padding=((0, 0), (0, 0)))
    assert found.dtype == jnp.bfloat16
    assert float(found[0, 0, 0, 0]) == 64 * 64


def test_under_jit_and_vmap():
    x, kernel = arrays()

    def one(x):
        return gradients(x, kernel, (1, 1), "SAME", form="products", **OPTIONS)

    several = jnp.stack([x, 2 * x, -x])
    found = jax.jit(jax.vmap(one))(several)
    for place, x in enumerate(several):
        assert_equal([a[place] for a in found], one(x))


@pytest.mark.parametrize("dilated", [False, True])
def test_groups_and_dilation_are_native(dilated):
    x, kernel = arrays(inputs=4)
    options = dict(OPTIONS, rhs_dilation=(2, 2)) if dilated else dict(OPTIONS)
    if not dilated:
        options["feature_group_count"], kernel = 2, kernel[:, :, :2]
    case = x, kernel, (1, 1), "SAME"
    native, products = (
        gradients(*case, form=form, **options) for form in ("native", "products")
    )
    assert_equal(products, native, tolerance=0)
    expected = lax.conv_general_dilated(*case, **options)
    np.testing.assert_array_equal(products[0], expected)


@pytest.mark.parametrize(
    "option",
    [
        {"precision": lax.Precision.HIGHEST},
        {"dimension_numbers": ("NHWC", "OIHW", "NHWC")},
        {"batch_group_count": 2, "dimension_numbers": convolution.AXES},
    ],
)
def test_what_products_do_not_know_is_native(option):
    x, kernel = arrays(inputs=4, outputs=4)
    if "OIHW" in option.get("dimension_numbers", ()):
        kernel = kernel.transpose(3, 2, 0, 1)
    case = x, kernel, (1, 1), "SAME"
    options = {**OPTIONS, **option}
    found = convolution.general_dilated(*case, form="products", **options)
    expected = lax.conv_general_dilated(*case, **options)
    np.testing.assert_array_equal(found, expected)


def test_a_form_of_another_name_is_refused():
    x, kernel = arrays()
    with pytest.raises(ValueError, match="'product'.*native"):
        convolution.general_dilated(x, kernel, (1, 1), "SAME", form="product")


def test_auto_takes_the_form_that_is_fast_where_it_runs():
    def lowered(form, platform):
        """Products are in a loop; a native gradient is a convolution more."""
        function = functools.partial(
            gradients, strides=(2, 1), padding="SAME", form=form, **OPTIONS
        )
        traced = jax.jit(function).trace(*arrays())
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.convolution"), "stablehlo.while" in text

    for platform in ("cpu", "cuda", "tpu"):
        assert lowered("products", platform) == (2, True)
        assert lowered("native", platform) == (3, False)
    assert lowered("auto", "cpu") == (2, True)
    assert lowered("auto", "cuda") == lowered("auto", "tpu") == (3, False)


def test_a_layer_is_that_of_flax():
    x, _ = arrays()
    layers = [
        make(5, (3, 3), strides=2, padding=1)
        for make in (conv2d.Conv2D, conv2d.Conv2D.func)
    ]
    variables = layers[1].init(jax.random.key(0), x)

    def gradient(layer):
        loss = lambda v: jnp.square(layer.apply(v, x)).sum()  # noqa: E731
        return jax.tree.leaves(jax.grad(loss)(variables))

    assert_equal(*map(gradient, layers))
