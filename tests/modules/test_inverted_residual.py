"""Weights of MobileNetV2 and EfficientNet-Lite as they are published, against a forward
pass written from the papers and their names alone, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.conversion import sources
from stemseg_jax.modules import backbones, norms

RNG = np.random.default_rng(0)
# (blocks, width, stride of the first, kernel, expansion)
LITE0 = [
    *((1, 16, 1, 3, 1), (2, 24, 2, 3, 6), (2, 40, 2, 5, 6), (3, 80, 2, 3, 6)),
    *((3, 112, 1, 5, 6), (4, 192, 2, 5, 6), (1, 320, 1, 3, 6)),
]
MOBILENET = [
    *((1, 16, 1, 3, 1), (2, 24, 2, 3, 6), (3, 32, 2, 3, 6), (4, 64, 2, 3, 6)),
    *((3, 96, 1, 3, 6), (3, 160, 2, 3, 6), (1, 320, 1, 3, 6)),
]


def blocks(plan):
    """(inputs, width, stride, kernel, expansion) of each."""
    inputs, found = 32, []
    for count, width, stride, kernel, expansion in plan:
        for index in range(count):
            found.append((inputs, width, 1 if index else stride, kernel, expansion))
            inputs = width
    return found


def kernel(*shape):
    return RNG.normal(size=shape, scale=1.5 * np.prod(shape[1:]) ** -0.5)


def norm(name, width):
    return {
        f"{name}.weight": RNG.uniform(0.7, 1.3, width),
        f"{name}.bias": RNG.normal(size=width, scale=0.3),
        f"{name}.running_mean": RNG.normal(size=width, scale=0.3),
        f"{name}.running_var": RNG.uniform(0.5, 1.5, width),
        f"{name}.num_batches_tracked": np.array(3),
    }


def efficientnet():
    tensors = {"_conv_stem.weight": kernel(32, 3, 3, 3), **norm("_bn0", 32)}
    for i, (inputs, width, _, k, expansion) in enumerate(blocks(LITE0)):
        name, wide = f"_blocks.{i}", inputs * expansion
        if expansion > 1:
            tensors[f"{name}._expand_conv.weight"] = kernel(wide, inputs, 1, 1)
            tensors |= norm(f"{name}._bn0", wide)
        tensors[f"{name}._depthwise_conv.weight"] = kernel(wide, 1, k, k)
        tensors |= norm(f"{name}._bn1", wide)
        tensors[f"{name}._project_conv.weight"] = kernel(width, wide, 1, 1)
        tensors |= norm(f"{name}._bn2", width)
    tensors["_conv_head.weight"] = kernel(1280, 320, 1, 1)
    return tensors | norm("_bn1", 1280) | {"_fc.bias": np.zeros(1000)}


def deeplab():
    """Folded: kernels have the slopes of their batch norms, but for depthwise ones."""
    net = "MobilenetV2"
    folded = "BatchNorm/FusedBatchNorm"

    def layer(name, value):
        return {
            f"{net}/{name}/Conv2D/merged_input": value.transpose(2, 3, 1, 0),
            f"{net}/{name}/{folded}/Offset": RNG.normal(size=len(value), scale=0.3),
        }

    tensors = layer("Conv", kernel(32, 3, 3, 3))
    for i, (inputs, width, _, k, expansion) in enumerate(blocks(MOBILENET)):
        name, wide = f"expanded_conv_{i}" if i else "expanded_conv", inputs * expansion
        if expansion > 1:
            tensors |= layer(f"{name}/expand", kernel(wide, inputs, 1, 1))
        depthwise = f"{net}/{name}/depthwise"
        tensors[f"{depthwise}/depthwise_weights"] = kernel(wide, 1, k, k).transpose(
            2, 3, 0, 1
        )
        tensors[f"{depthwise}/{folded}/Scaled"] = RNG.uniform(0.7, 1.3, wide)
        tensors[f"{depthwise}/{folded}/Offset"] = RNG.normal(size=wide, scale=0.3)
        tensors |= layer(f"{name}/project", kernel(width, wide, 1, 1))
    tensors[f"{net}/expanded_conv_7/depthwise/depthwise/SpaceToBatchND/paddings"] = (
        np.zeros((2, 2), np.int32)
    )
    return tensors | {"logits/semantic/biases": np.zeros(21), "stack/0": np.array(1)}


def convolve(x, kernel, stride, groups=1):
    """With TensorFlow's "SAME" padding; the kernel is [out, in, k, k]."""
    k = kernel.shape[-1]
    pads = []
    for size in x.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + k - size, 0)
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if groups == 1:
        return np.einsum("bhwikl,oikl->bhwo", windows, kernel, optimize=True)
    return np.einsum("bhwckl,ckl->bhwc", windows, kernel[:, 0], optimize=True)


def forward(x, plan, layer):
    """Maps of strides 4 to 32. `layer(block, kind)` is a kernel, a slope and a bias."""

    def apply(x, block, kind, stride=1, *, active=True):
        weights, slope, bias = layer(block, kind)
        groups = len(weights) if kind == "depthwise" else 1
        y = convolve(x, weights, stride, groups) * slope + bias
        return np.clip(y, 0, 6) if active else y

    x, maps = apply(x, None, "stem", 2), []
    for i, (inputs, width, stride, _, expansion) in enumerate(blocks(plan)):
        if stride == 2:
            maps.append(x)
        y = apply(x, i, "expand") if expansion > 1 else x
        y = apply(y, i, "depthwise", stride)
        y = apply(y, i, "project", active=False)
        x = x + y if stride == 1 and inputs == width else y
    return [*maps[1:], x]


def of_efficientnet(tensors):
    numbers = {"stem": 0, "expand": 0, "depthwise": 1, "project": 2}

    def layer(block, kind):
        start = "" if block is None else f"_blocks.{block}."
        own = "_conv_stem" if block is None else f"{start}_{kind}_conv"
        batch = f"{start}_bn{numbers[kind]}"
        slope = tensors[f"{batch}.weight"]
        slope = slope / np.sqrt(tensors[f"{batch}.running_var"] + 1e-3)
        bias = tensors[f"{batch}.bias"] - tensors[f"{batch}.running_mean"] * slope
        return tensors[f"{own}.weight"], slope, bias

    return layer


def of_deeplab(tensors):
    def layer(block, kind):
        name = f"expanded_conv_{block}/{kind}" if block else f"expanded_conv/{kind}"
        name = f"MobilenetV2/{'Conv' if block is None else name}"
        offset = tensors[f"{name}/BatchNorm/FusedBatchNorm/Offset"]
        if kind != "depthwise":
            merged = tensors[f"{name}/Conv2D/merged_input"]
            return merged.transpose(3, 2, 0, 1), 1.0, offset
        weights = tensors[f"{name}/depthwise_weights"].transpose(2, 3, 0, 1)
        return weights, tensors[f"{name}/BatchNorm/FusedBatchNorm/Scaled"], offset

    return layer


@pytest.mark.parametrize(
    "backbone, plan, tensors, layer, size",
    [
        ("efficientnet_lite0", LITE0, efficientnet, of_efficientnet, (64, 96)),
        # TensorFlow pads alike on both sides where sizes are odd, as it was trained.
        ("mobilenet_v2", MOBILENET, deeplab, of_deeplab, (65, 97)),
    ],
)
def test_published_weights_give_their_features(backbone, plan, tensors, layer, size):
    tensors = {name: np.asarray(value) for name, value in tensors().items()}
    loaded = sources.convert(tensors, "weights")
    assert loaded.unknown == ()
    assert loaded.parts == ("body",)
    network = backbones.build(
        backbone,
        norm=norms.named("frozen_batch_norm", epsilon=loaded.conventions.norm_epsilon),
        stride_in_1x1=False,
        freeze_at=0,
        remat=False,
        dtype=np.float32,
    )
    variables = {
        kind: jax.tree.map(np.float32, tree["body"])
        for kind, tree in loaded.variables.items()
    }
    images = RNG.normal(size=(2, *size, 3))
    maps = jax.jit(network.apply)(variables, np.float32(images))
    expected = forward(images, plan, layer(tensors))
    for ours, theirs in zip(maps, expected, strict=True):
        assert ours.shape == theirs.shape
        assert theirs.std() > 0.1  # neither dead nor saturated
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.std())


def test_unknown_names_are_told():
    tensors = efficientnet() | {"_blocks.3._se_reduce.weight": kernel(6, 144, 1, 1)}
    tensors = {name: np.asarray(value) for name, value in tensors.items()}
    assert sources.convert(tensors, "f").unknown == ("_blocks.3._se_reduce.weight",)


@pytest.mark.parametrize("freeze_at", [3, 9, 18])  # maps leave before blocks 3, 6, 13
def test_frozen_blocks_get_no_gradient(freeze_at):
    network = backbones.BACKBONES["mobilenet_v2"](freeze_at=freeze_at)
    images = jnp.asarray(RNG.normal(size=(1, 32, 32, 3)), jnp.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    @jax.grad
    def gradient(variables):
        return sum(m.sum() for m in network.apply(variables, images))

    moved = {
        name: any(g.any() for g in jax.tree.leaves(part))
        for name, part in gradient(variables)["params"].items()
    }
    still = [name for name in network.stages if not moved[name]]
    assert still == list(network.stages[:freeze_at])
