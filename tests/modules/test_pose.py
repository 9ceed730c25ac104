"""The pose network: figures of monodepth2, its size, and its start from ImageNet."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from stemseg_jax.conversion import merging, parts, sources
from stemseg_jax.modules import backbones, norms, pose
from stemseg_jax.modules.recipes import Recipe
from tests import other_figures
from tests.conversion.test_weight_sources import names_of

RESNET18 = Recipe(backbones.BACKBONES["resnet18"], norm=norms.BatchNorm)
PAIRS = jax.ShapeDtypeStruct((1, 64, 64, 6), jnp.float32)


def weights():
    """Those of the figures: 0.06 sin(12.9898 k + n)."""
    shapes = [(256, 512, 1, 1), (256, 256, 3, 3), (256, 256, 3, 3), (12, 256, 1, 1)]
    layers = {}
    for n, (name, shape) in enumerate(
        zip(("squeeze", "conv1", "conv2", "conv_out"), shapes, strict=True)
    ):
        kernel, bias = (
            0.06 * np.sin(12.9898 * np.arange(np.prod(s)) + 2 * n + of).reshape(s)
            for of, s in enumerate((shape, shape[:1]))
        )
        layers[name] = {
            "kernel": jnp.asarray(kernel.transpose(2, 3, 1, 0), jnp.float32),
            "bias": jnp.asarray(bias, jnp.float32),
        }
    return layers


def test_motion_is_that_of_monodepth2(request):
    """Whose last convolution has the motion of two pairs."""
    figures = other_figures.load("shared", "monodepth2", request)
    params = weights()
    feature = jnp.asarray(figures["pose_feature"].transpose(0, 2, 3, 1))
    network = pose.PoseNetwork(RESNET18)
    for pair in range(2):
        out = jax.tree.map(
            lambda leaf, pair=pair: leaf[..., 6 * pair : 6 * pair + 6],
            params["conv_out"],
        )
        variables = {"params": {**params, "conv_out": out}}
        found = network.apply(variables, feature, method="of_features")
        for key, part in (("axisangle", found[:, :3]), ("translation", found[:, 3:])):
            expected = figures[f"pose_{key}"][:, pair, 0]
            np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-6)


def test_size_is_that_of_table_5():
    network = pose.PoseNetwork(RESNET18)
    params = jax.eval_shape(network.init, jax.random.key(0), PAIRS)["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) + 513_000 == 13_011_950


def test_a_resnet_of_imagenet_starts_it_and_two_equal_frames_are_seen_as_one():
    body = jax.eval_shape(
        backbones.BACKBONES["resnet18"]().init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32),
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.uniform(size=shape).astype(np.float32)
        for name, shape in names_of(body).items()
    }
    file = parts.take(sources.convert(tensors, "resnet18.pth"), "pose/body", "body")
    network = pose.PoseNetwork(RESNET18)
    shapes = jax.eval_shape(network.init, jax.random.key(0), PAIRS)
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    model = {kind: {"pose": tree} for kind, tree in zeros.items()}
    merged = merging.merge(file, model, widen="repeat")
    assert merged.report == ""
    found = traverse_util.flatten_dict(merged.variables, sep="/")
    kernel = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(
        found["params/pose/body/stem/conv/kernel"],
        np.concatenate([kernel, kernel], axis=2) / 2,
    )
    for kind, leaf, theirs in (
        *(("params", "scale", "weight"), ("params", "bias", "bias")),
        *(("batch_stats", name, f"running_{name}") for name in ("mean", "var")),
    ):
        place = f"{kind}/pose/body/stage4_block1/norm2/{leaf}"
        np.testing.assert_array_equal(found[place], tensors[f"layer4.1.bn2.{theirs}"])


def test_pairs_do_not_touch_and_motion_starts_small():
    network = pose.PoseNetwork(
        Recipe(backbones.BACKBONES["tiny"], norm=norms.NORMS["group_norm_8"]), width=16
    )
    pairs = jax.random.uniform(jax.random.key(1), (2, 3, 32, 64, 6))
    found, variables = jax.jit(network.init_with_output)(jax.random.key(0), pairs)
    assert found.shape == (2, 3, 6) and 0 < jnp.abs(found).max() < 0.2
    alone = network.apply(variables, pairs[1, 2])
    np.testing.assert_allclose(alone, found[1, 2], rtol=1e-4, atol=1e-6)
