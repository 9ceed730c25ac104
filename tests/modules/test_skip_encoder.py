"""Encoder, decoder and mask network: the paper's sizes and the figures of FIERY."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax.modules import backbones, norms, skip_encoder
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.modules.skip_encoder import SkipEncoder
from stemseg_jax.modules.upsampling_decoder import UpsamplingDecoder
from tests import other_figures

CLASSIFIER = 513_000  # counted by the paper, never evaluated
NORM = norms.named("group_norm_8", epsilon=0.0)


def small(**changes):
    config = moving_shapes.get_config("smoke").unlock()
    config.model.update(changes)
    return SkipEncoder.from_config(config.model, channels=(16, 8), norm=NORM)


def size(module, x):
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_sizes_are_those_of_table_5():
    body = Recipe(backbones.BACKBONES["resnet18"], norm=norms.BatchNorm)
    encoder = size(SkipEncoder(body), jnp.zeros((1, 64, 64, 3))) + CLASSIFIER
    assert encoder == 14_640_168
    features = jnp.zeros((1, 8, 8, 128))
    assert encoder + size(UpsamplingDecoder(1), features) == 14_834_297
    for upsample, both in (("transposed", 389_273), ("bilinear", 292_505)):
        decoders = [UpsamplingDecoder(n, upsample=upsample) for n in (8, 1)]
        assert sum(size(decoder, features) for decoder in decoders) == both


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_a_merge_is_that_of_fiery(folder, request):
    figures = other_figures.load(folder, "causal3d", request)
    params, statistics = {}, {}
    for index, (conv, norm) in enumerate(((0, 1), (3, 4)), start=1):
        kernel = figures[f"up__param__conv.{conv}.weight"].transpose(2, 3, 1, 0)
        start = f"up__param__conv.{norm}."
        params[f"conv{index}"] = {"kernel": kernel}
        params[f"norm{index}"] = {
            "scale": figures[f"{start}weight"],
            "bias": figures[f"{start}bias"],
        }
        statistics[f"norm{index}"] = {
            name: figures[f"{start}running_{name}"] for name in ("mean", "var")
        }
    found = skip_encoder.Merge(5, norms.BatchNorm, "he_normal", jnp.float32).apply(
        {"params": params, "batch_stats": statistics},
        jnp.asarray(figures["up_skip"].transpose(0, 2, 3, 1)),
        jnp.asarray(figures["up_low"].transpose(0, 2, 3, 1)),
    )
    expected = figures["up_out"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_frames_keep_their_axes_and_do_not_touch():
    encoder = small()
    images = jax.random.normal(jax.random.key(1), (2, 3, 40, 64, 3))
    together, variables = jax.jit(encoder.init_with_output)(jax.random.key(0), images)
    assert together.shape == (2, 3, 5, 8, 8)
    assert variables["params"].keys() == {"body", "merge16", "merge8"}
    alone = encoder.apply(variables, images[1, 2])
    np.testing.assert_allclose(together[1, 2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({"freeze_stages": 2}, ("body/stem", "body/stage1")),
        ({"freeze_backbone": True}, ("body", "merge16", "merge8")),
    ],
)
def test_what_is_frozen_gets_no_gradient_and_is_named(changes, frozen):
    encoder = small(**changes)
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    variables = encoder.init(jax.random.key(0), images)
    gradient = jax.jit(jax.grad(lambda v: jnp.square(encoder.apply(v, images)).sum()))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables)):
        name = "/".join(entry.key for entry in path[1:])
        assert bool(leaf.any()) != name.startswith(frozen), name
    assert encoder.frozen_modules("a/") == tuple(f"a/{name}" for name in frozen)
