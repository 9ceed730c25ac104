import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.modules import norms, upsampling_decoder
from stemseg_jax.modules.upsampling_decoder import Doubling, UpsamplingDecoder


def doubled(x, kernel):
    variables = {"params": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    module = Doubling("he_normal", jnp.float32)
    return jax.jit(module.apply)(variables, jnp.asarray(x, jnp.float32))


def test_doubling_by_hand():
    """One cell: elements 1 and 2 of the kernel reach the pixels 0 and 1."""
    kernel = np.arange(1.0, 10).reshape(3, 3, 1, 1)
    found = doubled(np.full((1, 1, 1, 1), 2.0), kernel)
    np.testing.assert_array_equal(found[0, ..., 0], [[10, 12], [16, 18]])


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 2)])
def test_doubling_scatters_each_cell(size):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, *size, 3)), rng.normal(size=(3, 3, 3, 3))
    expected = np.zeros((2, 2 * size[0] + 1, 2 * size[1] + 1, 3))
    for i, j, k, m in np.ndindex(*size, 3, 3):  # one pixel further: 2i - 1 is -1 once
        expected[:, 2 * i + k, 2 * j + m] += x[:, i, j] @ kernel[k, m]
    found = doubled(x, kernel)
    np.testing.assert_allclose(found, expected[:, 1:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsample", upsampling_decoder.UPSAMPLINGS)
def test_maps_are_eight_times_as_large_and_the_last_has_a_bias(upsample):
    decoder = UpsamplingDecoder(
        3,
        widths=(8,) * 6,
        upsample=upsample,
        norm=norms.group_norm(groups=2),
        dtype=jnp.bfloat16,
    )
    x = jax.random.normal(jax.random.key(1), (2, 3, 2, 4, 5))
    y, variables = jax.jit(decoder.init_with_output)(jax.random.key(0), x)
    assert y.shape == (2, 3, 16, 32, 3) and y.dtype == jnp.float32
    assert variables["params"]["conv_out"].keys() == {"kernel", "bias"}
    alone = decoder.apply(variables, x[1, 2])
    np.testing.assert_allclose(y[1, 2], alone, atol=0.05)  # of bfloat16


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="upsample='nearest' is unknown.*'bilinear'"):
        UpsamplingDecoder(1, upsample="nearest")
    with pytest.raises(ValueError, match=r"widths=\(8, 8, 4\): expected two"):
        UpsamplingDecoder(1, widths=(8, 8, 4))
