import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from stemseg_jax.conversion import sources
from stemseg_jax.modules import heads, norms
from stemseg_jax.modules.squeeze_expand import SqueezeExpandDecoder, halve_time

KEY = jax.random.key(0)
narrow = functools.partial(
    SqueezeExpandDecoder,
    channels=(8, 8, 8, 16),
    norm=norms.group_norm(channels_per_group=8),
)


def maps(frames, height=32, width=64, channels=4):
    rng = np.random.default_rng(0)
    return tuple(
        jnp.asarray(
            rng.normal(size=(1, frames, height // s, width // s, channels)), jnp.float32
        )
        for s in (4, 8, 16, 32)
    )


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
def test_halving_time_is_the_mean_of_27_cells_at_every_second_frame(frames, size):
    x = np.random.default_rng(0).normal(size=(2, frames, *size, 3)).astype(np.float32)
    mean = ndimage.uniform_filter(x, (0, 3, 3, 3, 0), mode="constant")
    result = halve_time(jnp.asarray(x))
    np.testing.assert_allclose(result, mean[:, ::2], atol=1e-6)


def test_zeros_beyond_the_border_count():
    result = halve_time(jnp.ones((1, 2, 3, 3, 1)))
    # Of 27 cells a corner sees 2 x 2 x 2, the centre 2 x 3 x 3.
    assert result.shape == (1, 1, 3, 3, 1)
    np.testing.assert_allclose(result[0, 0, 0, 0, 0], 8 / 27, rtol=1e-6)
    np.testing.assert_allclose(result[0, 0, 1, 1, 0], 18 / 27, rtol=1e-6)


@pytest.mark.parametrize(
    "num_frames, coarsest",
    [(2, 2), (4, 2), (8, 2), (16, 2), (24, 3), (32, 4)],
)
@pytest.mark.parametrize("pooling", [True, False])
def test_every_clip_length_squeezes_as_far_as_it_should(num_frames, coarsest, pooling):
    inputs = jax.eval_shape(lambda: maps(num_frames))
    output, state = jax.eval_shape(
        lambda: narrow(num_frames, pooling=pooling).init_with_output(
            jax.random.key(0), maps(num_frames), capture_intermediates=True
        )
    )
    assert output.shape == (*inputs[0].shape[:4], 16)
    path = state["intermediates"]["block_32x_2"]["__call__"][0]
    assert path.shape == (1, coarsest if pooling else num_frames, 1, 2, 8)


def test_other_clip_lengths_are_refused_with_the_list_of_these():
    with pytest.raises(ValueError, match=r"num_frames=6.*\[2, 4, 8, 16, 24, 32\]"):
        SqueezeExpandDecoder(6)


def test_parameters_depend_neither_on_the_clip_length_nor_on_pooling():
    shapes = [
        jax.eval_shape(lambda n=n, p=p: narrow(n, pooling=p).init(KEY, maps(n)))
        for n, p in ((2, True), (8, True), (32, True), (8, False))
    ]
    assert all(shape == shapes[0] for shape in shapes)


def test_without_pooling_there_is_the_decoder_of_two_frames():
    # The shortest clips are never pooled; but for that, lengths differ in nothing.
    inputs = maps(4)
    expected, variables = jax.jit(narrow(2).init_with_output)(KEY, inputs)
    unpooled, pooled = (
        jax.jit(narrow(4, pooling=pooling).apply)(variables, inputs)
        for pooling in (False, True)
    )
    np.testing.assert_allclose(unpooled, expected, atol=1e-5)
    assert np.abs(pooled - expected).max() > 0.01


def test_every_frame_and_scale_reaches_the_middle_of_the_clip():
    decoder, inputs = narrow(8), maps(8)
    variables = jax.jit(decoder.init)(jax.random.key(0), inputs)
    gradients = jax.jit(
        jax.grad(lambda x: decoder.apply(variables, x)[0, 4, 4, 8].sum())
    )(inputs)
    for gradient in gradients[1:]:  # the finest path sees the neighbouring frames only
        assert np.abs(gradient).sum(axis=(0, 2, 3, 4)).all()


@functools.cache
def gradient(**fields):
    decoder, inputs = narrow(4, **fields), maps(4)
    variables = jax.jit(decoder.init)(jax.random.key(0), inputs)
    return jax.jit(jax.grad(lambda v: jnp.square(decoder.apply(v, inputs)).mean()))(
        variables
    )


@pytest.mark.parametrize("change", [{"remat": True}, {"convolution": "native"}])
def test_neither_recomputing_nor_the_form_changes_the_numbers(change):
    before, after = gradient(convolution="concat"), gradient(**change)
    for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_clips_share_the_terms_of_their_frames():
    decoder, inputs = narrow(4), maps(6)
    clips = [tuple(x[:, k : k + 4] for x in inputs) for k in (0, 2)]
    variables = jax.jit(decoder.init)(jax.random.key(0), clips[0])
    terms = decoder.apply(variables, inputs, method="frame_terms")
    for first, clip in zip((0, 2), clips, strict=True):
        own = [tuple(x[:, k] for x in terms) for k in range(first, first + 4)]
        result = decoder.apply(variables, own, method="of_terms")
        expected = decoder.apply(variables, clip)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_clips_of_a_batch_do_not_see_each_other():
    inputs = tuple(jnp.concatenate([x, 2 * x]) for x in maps(2))
    decoder = narrow(2)
    variables = jax.jit(decoder.init)(jax.random.key(0), inputs)
    apply = jax.jit(decoder.apply)
    before = apply(variables, inputs)
    after = apply(variables, tuple(x.at[1].multiply(-1) for x in inputs))
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[1] != after[1]).any()


def test_bfloat16_keeps_parameters():
    decoder = narrow(2, dtype=jnp.bfloat16)
    output, variables = jax.eval_shape(
        lambda: decoder.init_with_output(jax.random.key(0), maps(2))
    )
    assert output.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def run(meta, weights, prefix, channels):
    """A decoder with its output head on the fixture's features."""
    names = {
        "embedding_head": ("embedding_decoder", "embedding_head"),
        "seediness_head": ("own_seediness_decoder", "seediness_head"),
        "semseg_head": ("semantic_decoder", "semantic_head"),
    }
    head = {
        "embedding_head": heads.EmbeddingHead(
            meta["mode"],
            bounded="notanh" not in meta["name"],
            seediness=not meta["seed_head"],
        ),
        "seediness_head": heads.SeedinessHead(),
        "semseg_head": heads.SemanticHead(
            meta["classes"], foreground=meta.get("fg", True)
        ),
    }[prefix]
    # The name of an embedding head is what tells whose weights these are.
    sign = {"embedding_head.time_scale": np.ones((), np.float32)}
    tree = sources.convert(sign | weights, prefix).variables
    decoder_name, head_name = names[prefix]
    parts = [
        {
            kind: jax.tree.map(jnp.asarray, part[name])
            for kind, part in tree.items()
            if name in part
        }
        for name in (decoder_name, head_name)
    ]
    decoder = SqueezeExpandDecoder(meta["frames"], channels=channels)
    features = goldens.features(meta["seed"], meta["frames"], meta["h"], meta["w"])
    inputs = tuple(jnp.asarray(goldens.channels_last(x)) for x in features)
    return jax.jit(lambda x: head.apply(parts[1], decoder.apply(parts[0], x)))(inputs)


def check_figures(folder, name):
    meta, arrays = goldens.load(folder, name)
    channels = (256, 256, 128, 128)
    outputs = {
        "conv_embedding": meta["esize"],
        "conv_variance": meta["variance_channels"],
    }
    if not meta["seed_head"]:
        outputs["conv_seediness"] = 1
    decoders = {"embedding": ("embedding_head", channels, outputs)}
    if "seediness" in arrays:
        decoders["seediness"] = ("seediness_head", channels, {"conv_out": 1})
    if "semseg" in arrays:
        decoders["semseg"] = (
            "semseg_head",
            tuple(meta.get("sem_inter", channels)),
            {"conv_out": arrays["semseg"].shape[1]},
        )
    for key, (prefix, widths, outputs) in decoders.items():
        shapes = goldens.decoder_shapes(prefix, widths, outputs)
        weights = goldens.state_dict(shapes, salt=meta["salt"])
        parts = run(meta, weights, prefix, widths)
        parts = [parts] if key == "seediness" else [p for p in parts if p is not None]
        parts = [p if p.ndim == 5 else p[..., None] for p in parts]
        every = meta.get("every", 1)  # of a thinned copy
        actual = jnp.concatenate(parts, axis=-1)[:, :, ::every, ::every]
        assert goldens.error(actual, goldens.channels_last(arrays[key])) < 1e-5, key


@pytest.mark.parametrize("name", ["decoders_T2_xy", "decoders_T8_xyff"])
def test_reference_figures_kept_here(name):
    check_figures(goldens.KEPT, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["T2_xy", "T4_xyf", "T8_xyff", "T8_xyt_wide", "T16_xytf", "T24_notanh"]
)
def test_reference_figures(shared, name):
    check_figures(shared / "reference" / "goldens", f"decoders_{name}")
