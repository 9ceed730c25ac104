import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import depthwise

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "height, width, size, stride, padding",
    [
        (6, 10, 3, 1, ((1, 1), (1, 1))),
        (7, 9, 5, 1, ((2, 2), (2, 2))),
        (6, 10, 3, 2, ((0, 1), (0, 1))),
        (6, 10, 3, 2, ((1, 1), (1, 1))),
        (7, 9, 5, 2, ((2, 2), (2, 2))),
        (6, 8, 5, 2, ((1, 2), (1, 2))),
        (8, 11, 3, 3, ((1, 0), (2, 1))),
        (2, 1, 5, 1, ((2, 2), (2, 2))),  # smaller than the kernel
    ],
)
def test_shifted_maps_and_their_gradients_are_those_of_the_grouped_convolution(
    height, width, size, stride, padding
):
    x = jnp.asarray(RNG.normal(size=(2, height, width, 3)), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(size, size, 1, 3)), jnp.float32)

    def outcome(form):
        def value(x, kernel):
            y = depthwise.convolve(x, kernel, stride=stride, padding=padding, form=form)
            return jnp.sum(jnp.sin(y)), y

        gradients, y = jax.grad(value, argnums=(0, 1), has_aux=True)(x, kernel)
        return y, *gradients

    for ours, native in zip(outcome("shifted"), outcome("native"), strict=True):
        assert ours.shape == native.shape
        np.testing.assert_allclose(ours, native, rtol=1e-4, atol=1e-5)


def test_auto_takes_the_form_that_is_fast_where_it_runs():
    around = ((1, 1), (1, 1))
    traced = jax.jit(
        lambda x, kernel: depthwise.convolve(x, kernel, stride=1, padding=around)
    ).trace(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)))

    def is_grouped(platform):
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        return "stablehlo.convolution" in lowered

    assert is_grouped("cuda") and is_grouped("tpu") and not is_grouped("cpu")


def test_half_precision_stays_half_precision():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    kernel = jnp.ones((3, 3, 1, 2), jnp.bfloat16)
    y = depthwise.convolve(
        x, kernel, stride=1, padding=((1, 1), (1, 1)), form="shifted"
    )
    assert y.dtype == jnp.bfloat16
    assert y[0, 1, 1].tolist() == [9, 9]
