import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.modules import norms, two_frame_decoder

RNG = np.random.default_rng(0)


def pyramid(frames=2, size=(2, 3), channels=5):
    """Maps of strides 4 to 32, the coarsest of this size."""
    return tuple(
        jnp.asarray(
            RNG.normal(size=(frames, size[0] * k, size[1] * k, channels)), jnp.float32
        )
        for k in (8, 4, 2, 1)
    )


def decoder(**fields):
    return two_frame_decoder.TwoFrameDecoder(
        channels=(8, 8, 4, 4), norm=norms.group_norm(groups=2), **fields
    )


def test_shapes_and_names():
    maps = pyramid()
    variables = decoder().init(jax.random.key(0), maps, maps[-1])
    assert decoder().apply(variables, maps, maps[-1]).shape == (2, 16, 24, 4)
    kernels = {
        name: layer["kernel"].shape
        for name, layer in variables["params"].items()
        if "kernel" in layer
    }
    assert kernels == {
        "conv_32": (3, 3, 10, 8),
        "conv_16": (3, 3, 13, 8),
        "conv_8": (3, 3, 13, 4),
        "conv_4": (3, 3, 9, 4),
    }


def test_the_first_block_is_a_convolution_of_2x3x3_past_first():
    maps, past = pyramid(), pyramid()[-1]
    variables = decoder().init(jax.random.key(0), maps, past)
    _, inner = decoder().apply(variables, maps, past, capture_intermediates=True)
    (found,) = inner["intermediates"]["conv_32"]["__call__"]
    layer = variables["params"]["conv_32"]
    kernel = layer["kernel"].reshape(3, 3, 2, 5, 8).transpose(2, 0, 1, 3, 4)
    expected = jax.lax.conv_general_dilated(
        jnp.stack([past, maps[-1]], axis=1),
        kernel,
        (1, 1, 1),
        [(0, 0), (1, 1), (1, 1)],
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
    assert expected.shape[1] == 1
    np.testing.assert_allclose(found, expected[:, 0] + layer["bias"], atol=1e-5)


def test_frames_of_a_batch_do_not_touch_and_the_past_counts():
    maps, past = pyramid(), pyramid()[-1]
    variables = decoder().init(jax.random.key(0), maps, past)
    whole = decoder().apply(variables, maps, past)
    alone = decoder().apply(variables, tuple(x[:1] for x in maps), past[:1])
    np.testing.assert_allclose(whole[:1], alone, atol=1e-5)
    other = decoder().apply(variables, maps, past + 1)
    assert jnp.abs(other - whole).max() > 1e-3
