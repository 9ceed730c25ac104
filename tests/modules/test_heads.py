import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.modules import heads
from stemseg_jax.ops import gaussian, mixing

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 6, 8)), jnp.float32)


def matrix(variables, name):
    return np.asarray(variables["params"][name]["kernel"])[0, 0, 0]


@pytest.mark.parametrize("name", mixing.MIXINGS)
def test_embeddings_are_bounded_offsets_from_the_grid(name):
    head = heads.EmbeddingHead(name)
    maps, variables = head.init_with_output(jax.random.key(0), X)
    spec = mixing.get(name)
    offsets = np.tanh(0.25 * (np.asarray(X) @ matrix(variables, "conv_embedding")))
    expected = offsets + np.asarray(spec.grid((3, 4, 6)))
    np.testing.assert_allclose(maps.embeddings, expected, atol=2e-6)
    assert maps.log_bandwidths.shape == (2, 3, 4, 6, spec.bandwidths)
    logits = np.asarray(X) @ matrix(variables, "conv_seediness")[:, 0]
    np.testing.assert_allclose(maps.seediness, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_unbounded_offsets_and_the_stored_scale_of_time():
    head = heads.EmbeddingHead("xyt", bounded=False)
    variables = head.init(jax.random.key(0), X)
    assert variables["constants"]["time_scale"] == 1
    variables["constants"] = {"time_scale": jnp.float32(0.1)}
    offsets = np.asarray(X) @ matrix(variables, "conv_embedding")
    t = head.apply(variables, X).embeddings[..., 0] - offsets[..., 0]
    np.testing.assert_allclose(t[0, :, 0, 0], [-0.1, 0, 0.1], atol=1e-6)


def test_seediness_has_a_bias_only_where_it_is_asked_for():
    for head, name in (
        (heads.EmbeddingHead, "conv_seediness"),
        (heads.SeedinessHead, "conv_out"),
    ):
        field = "seediness_bias" if head is heads.EmbeddingHead else "bias"
        for bias in (None, -1.5):
            params = head(**{field: bias}).init(jax.random.key(0), X)["params"]
            assert params[name].get("bias") == bias


def test_an_embedding_head_may_leave_seediness_to_another():
    maps, variables = heads.EmbeddingHead(seediness=False).init_with_output(
        jax.random.key(0), X
    )
    assert maps.seediness is None
    assert set(variables["params"]) == {"conv_embedding", "conv_variance"}


def test_a_bandwidth_of_the_config_is_that_of_every_point():
    head = heads.EmbeddingHead("xyff", bandwidth_std=0.5)
    maps, variables = head.init_with_output(jax.random.key(0), X)
    assert set(variables["params"]) == {"conv_embedding", "conv_seediness"}
    assert maps.log_bandwidths.shape == (2, 3, 4, 6, 2)
    np.testing.assert_allclose(gaussian.bandwidths(maps.log_bandwidths), 4, rtol=1e-6)


def test_foreground_is_the_last_channel():
    head = heads.SemanticHead(4)
    maps, variables = head.init_with_output(jax.random.key(0), X)
    expected = np.asarray(X) @ matrix(variables, "conv_out")  # [... 5]
    np.testing.assert_allclose(maps.logits, expected[..., :4], atol=1e-5)
    np.testing.assert_allclose(maps.foreground_logits, expected[..., 4], atol=1e-5)
    without = heads.SemanticHead(4, foreground=False)
    assert without.init_with_output(jax.random.key(0), X)[0].foreground_logits is None


def test_a_convolution_head_sees_the_cells_around():
    x = X[:, 0]
    head = heads.ConvolutionHead(2, width=5, bias=-1.5)
    y, variables = head.init_with_output(jax.random.key(0), x)
    conv = {name: np.asarray(v) for name, v in variables["params"]["conv"].items()}
    around = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(1, 2))
    hidden = np.einsum("bhwckl,klco->bhwo", windows, conv["kernel"]) + conv["bias"]
    expected = np.maximum(hidden, 0) @ matrix(variables, "conv_out") - 1.5
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "head, x",
    [
        (heads.EmbeddingHead(), X),
        (heads.SeedinessHead(), X),
        (heads.SemanticHead(3), X),
        (heads.ConvolutionHead(3), X[:, 0]),
    ],
)
def test_heads_compute_in_float32_whatever_they_are_given(head, x):
    maps, _ = head.init_with_output(jax.random.key(0), x.astype(jnp.bfloat16))
    assert {m.dtype for m in jax.tree.leaves(maps)} == {jnp.dtype("float32")}
