"""Whose weights a file holds, and where each tensor goes."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs import davis_stage2, kitti_mots, ytvis
from stemseg_jax.conversion import merging, sources
from stemseg_jax.modules import fpn, norms
from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.systems import stemseg
from tests import goldens
from tests.conversion import published

ONE = np.ones((), np.float32)
DEPTHS = (1, 2, 1, 1)  # of the small ResNet that most tests use
EXPECTED_NORM = {
    "weight": "scale",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
}

# ------------------------------------------------------- the same weights, named by all


@functools.cache
def recipe(depths):
    shapes = goldens.backbone_shapes(depths)
    return {
        name.removeprefix("backbone."): goldens.weight(name, shape)
        for name, shape in shapes.items()
    }


def mask_rcnn(depths=DEPTHS):
    """body.*, fpn.*: what the authors start from."""
    return dict(recipe(depths))


def maskrcnn_benchmark(depths=DEPTHS):
    """The same in a whole detector that was trained on several GPUs."""
    tensors = {f"module.backbone.{k}": v for k, v in mask_rcnn(depths).items()}
    tensors["module.rpn.head.conv.weight"] = np.zeros((8, 8, 3, 3), np.float32)
    tensors["module.roi_heads.box.predictor.cls_score.bias"] = np.zeros(81, np.float32)
    return tensors


def torchvision_resnet(depths=DEPTHS):
    tensors = {
        name.removeprefix("body.").removeprefix("stem."): value
        for name, value in mask_rcnn(depths).items()
        if name.startswith("body.")
    }
    tensors["bn1.num_batches_tracked"] = np.int64(7)
    tensors["fc.weight"] = np.zeros((1000, 2048), np.float32)
    tensors["fc.bias"] = np.zeros(1000, np.float32)
    return {name: np.asarray(value) for name, value in tensors.items()}


def torchvision_mask_rcnn(depths=DEPTHS, wrapped=False):
    tensors = {}
    for name, value in mask_rcnn(depths).items():
        name = name.replace("body.stem.", "body.")
        match = re.fullmatch(r"fpn\.fpn_(inner|layer)(\d)\.(.*)", name)
        if match:
            place = f"{int(match[2]) - 1}{'.0' * wrapped}"
            name = f"fpn.{match[1]}_blocks.{place}.{match[3]}"
        tensors[f"backbone.{name}"] = value
    tensors["rpn.head.cls_logits.weight"] = np.zeros((3, 256, 1, 1), np.float32)
    return tensors


def newer_torchvision_mask_rcnn():
    return torchvision_mask_rcnn(wrapped=True)


def detectron2(depths=DEPTHS):
    tensors = published.detectron2(mask_rcnn(depths))
    cells = "proposal_generator.anchor_generator.cell_anchors.0"
    tensors[cells] = np.zeros((3, 4), np.float32)
    tensors["roi_heads.box_predictor.cls_score.bias"] = np.zeros(81, np.float32)
    return tensors


FILES = (
    mask_rcnn,
    maskrcnn_benchmark,
    torchvision_resnet,
    torchvision_mask_rcnn,
    newer_torchvision_mask_rcnn,
    detectron2,
)


def by_hand(depths=DEPTHS):
    """Our names, from those of `mask_rcnn`."""
    ours = {}
    for name, value in mask_rcnn(depths).items():
        module, _, leaf = name.rpartition(".")
        is_norm = "bn" in module or module.endswith("downsample.1")
        module = module.replace("downsample.0", "shortcut_conv")
        module = module.replace("downsample.1", "shortcut_norm")
        module = module.replace("stem.conv1", "stem.conv").replace("bn", "norm")
        module = module.replace("stem.norm1", "stem.norm")
        module = re.sub(r"layer(\d)\.(\d+)", r"stage\1_block\2", module)
        module = module.replace("fpn.fpn_inner", "fpn.lateral")
        module = module.replace("fpn.fpn_layer", "fpn.output").replace(".", "/")
        if is_norm:
            ours[f"constants/{module}/{EXPECTED_NORM[leaf]}"] = value
        elif leaf == "bias":
            ours[f"params/{module}/bias"] = value
        else:
            ours[f"params/{module}/kernel"] = np.einsum("oihw->hwio", value)
    return ours


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.__name__)
def test_one_network_under_all_published_names(file):
    loaded = sources.convert(file(), "x.pth")
    expected = by_hand()
    if file is torchvision_resnet:
        expected = {k: v for k, v in expected.items() if "/body/" in k}
    actual = traverse_util.flatten_dict(loaded.variables, sep="/")
    assert loaded.unknown == ()
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(actual[path], value, err_msg=path)


def test_resnet50_fills_backbone_and_pyramid():
    """Names and shapes are those of our modules."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = goldens.backbone_shapes((3, 4, 6, 3))
    tensors = {name: np.broadcast_to(ONE, shape) for name, shape in shapes.items()}
    loaded = sources.convert(tensors, "mask_rcnn.pth")
    body = BACKBONES["resnet50"](norm=norms.FrozenBatchNorm)
    maps, ours = jax.eval_shape(body.init_with_output, jax.random.key(0), images)
    pyramid = jax.eval_shape(fpn.FeaturePyramid().init, jax.random.key(0), maps)
    model = {
        "params": {"body": ours["params"], "fpn": pyramid["params"]},
        "constants": {"body": ours["constants"]},
    }
    assert merging.merge(loaded, model, whole=True).report == ""


def names_of(variables):
    """torchvision's names and shapes of a ResNet of ours."""
    theirs = {}
    flat = traverse_util.flatten_dict(variables, sep="/")
    leaves = {ours: leaf for leaf, ours in EXPECTED_NORM.items()} | {"kernel": "weight"}
    for path, leaf in flat.items():
        module, _, name = path.partition("/")[2].rpartition("/")
        module = re.sub(r"stage(\d)_block(\d+)", r"layer\1.\2", module)
        module = module.replace("stem/conv", "conv1").replace("stem/norm", "bn1")
        module = module.replace("shortcut_conv", "downsample.0")
        module = module.replace("shortcut_norm", "downsample.1").replace("norm", "bn")
        shape = leaf.shape
        if name == "kernel":
            shape = (shape[3], shape[2], *shape[:2])
        theirs[f"{module.replace('/', '.')}.{leaves[name]}"] = shape
    return theirs


@pytest.mark.parametrize(
    ("backbone", "some_names"),
    [
        (
            "resnet18",
            {
                "layer1.1.conv2.weight": (64, 64, 3, 3),
                "layer2.0.downsample.0.weight": (128, 64, 1, 1),
                "layer4.1.bn2.running_var": (512,),
            },
        ),
        (
            "resnext101_32x8d",
            {
                "layer1.0.conv2.weight": (256, 8, 3, 3),
                "layer3.22.conv3.weight": (1024, 1024, 1, 1),
                "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
            },
        ),
    ],
)
def test_other_backbones(backbone, some_names):
    body = BACKBONES[backbone](norm=norms.FrozenBatchNorm)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = jax.eval_shape(body.init, jax.random.key(0), images)
    shapes = names_of(model)
    assert shapes.items() >= some_names.items()  # as torchvision has them
    tensors = {name: np.broadcast_to(ONE, shape) for name, shape in shapes.items()}
    loaded = sources.convert(tensors, f"{backbone}.pth")
    model = {kind: {"body": tree} for kind, tree in model.items()}
    assert merging.merge(loaded, model, whole=True).report == ""


# -------------------------------------------------------------------- whole checkpoints

CONFIGS = {"davis": davis_stage2, "youtube_vis": ytvis, "kitti_mots": kitti_mots}


def fills_the_whole_network(folder, depth, name):
    file = folder / f"state_dict_{depth}_{name}.json"
    entries = json.loads(file.read_text())["entries"]
    tensors = {key: np.broadcast_to(ONE, shape) for key, shape in entries}
    loaded = sources.convert(tensors, f"{name}.pth")
    config = CONFIGS[name].get_config().unlock()
    config.model.backbone = {"R50": "resnet50", "R101": "resnet101"}[depth]
    network = stemseg.Network.from_config(config)
    clip = jax.ShapeDtypeStruct((1, network.num_frames, 96, 96, 3), jnp.float32)
    model = jax.eval_shape(network.init, jax.random.key(0), clip)
    assert loaded.unknown == ()
    assert loaded.names.keys() == traverse_util.flatten_dict(model, sep="/").keys()
    merged = merging.merge(loaded, model, whole=True)
    assert merged.report == ""


@pytest.mark.parametrize("name", CONFIGS)
def test_released_checkpoints_fill_the_whole_network(name):
    fills_the_whole_network(goldens.KEPT, "R50", name)


@pytest.mark.parametrize("name", CONFIGS)
def test_those_of_resnet101_do_too(shared, name):
    fills_the_whole_network(shared / "reference/goldens", "R101", name)


def test_decoder_and_head_are_told_apart():
    shapes = goldens.decoder_shapes(
        "embedding_head", (8, 8, 8, 8), {"conv_embedding": 4, "conv_variance": 2}
    )
    tensors = goldens.state_dict(shapes)
    tensors["embedding_loss_criterion.free_dim_bandwidths"] = np.full((1, 2), 1 / 0.09)
    loaded = sources.convert(tensors, "davis.pth")
    params, constants = loaded.variables["params"], loaded.variables["constants"]
    decoder, head = params["embedding_decoder"], params["embedding_head"]
    paths = ["32x_0", "32x_1", "32x_2", "16x_0", "16x_1", "8x_0", "4x_0"]
    units = {f"block_{path}" for path in paths}
    assert decoder.keys() == units | {"conv_16", "conv_8", "conv_4"}
    np.testing.assert_array_equal(
        decoder["block_32x_1"]["conv"]["kernel"],
        np.einsum("oidhw->dhwio", tensors["embedding_head.block_32x.4.weight"]),
    )
    np.testing.assert_array_equal(
        decoder["block_16x_1"]["norm"]["scale"],
        tensors["embedding_head.block_16x.5.weight"],
    )
    assert head.keys() == {"conv_embedding", "conv_variance"}
    assert head["conv_variance"].keys() == {"kernel", "bias"}
    assert constants == {"embedding_head": {"time_scale": 1.0}}
    assert loaded.conventions.free_dim_std == 0.3


def test_names_without_a_place_are_kept():
    tensors = mask_rcnn()
    tensors["body.layer1.0.attention.weight"] = np.zeros(3, np.float32)
    tensors["body.stem.conv1.scale"] = np.zeros(3, np.float32)
    loaded = sources.convert(tensors, "x.pth")
    assert loaded.unknown == ("body.layer1.0.attention.weight", "body.stem.conv1.scale")


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError) as caught:
        sources.convert({"patch_embed.proj.weight": np.zeros(3)}, "vit.pth")
    message = str(caught.value)
    assert "vit.pth holds weights of an unknown network" in message
    assert "['patch_embed.proj.weight']" in message
    assert "a torchvision ResNet" in message and "a detectron2 model" in message


# -------------------------------------------------------------------------- conventions


@pytest.mark.parametrize(
    ("file", "order", "mean", "std", "in_1x1", "epsilon", "parts"),
    [
        (mask_rcnn, "bgr", 102.9801, 1.0, True, 0.0, ("body", "fpn")),
        (maskrcnn_benchmark, "bgr", 102.9801, 1.0, True, 0.0, ("body", "fpn")),
        (torchvision_resnet, "rgb", 123.675, 58.395, False, 1e-5, ("body",)),
        (torchvision_mask_rcnn, "rgb", 123.675, 58.395, False, 0.0, ("body", "fpn")),
        (detectron2, "bgr", 103.53, 1.0, True, 1e-5, ("body", "fpn")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_conventions_come_with_the_weights(
    file, order, mean, std, in_1x1, epsilon, parts
):
    loaded = sources.convert(file(), "x")
    conventions = loaded.conventions
    assert conventions.order == order
    assert (conventions.mean[0], conventions.std[0]) == (mean, std)
    assert conventions.stride_in_1x1 == in_1x1
    assert conventions.norm_epsilon == epsilon
    assert conventions.free_dim_std is None
    assert loaded.parts == parts


def test_grouped_convolutions_tell_a_resnext():
    tensors = detectron2()
    name = "backbone.bottom_up.res2.0.conv2.weight"
    tensors[name] = np.zeros((256, 8, 3, 3), np.float32)
    conventions = sources.convert(tensors, "model_final_2d9806.pkl").conventions
    assert conventions.std == (57.375, 57.12, 58.395)
    assert not conventions.stride_in_1x1


def test_pixel_statistics_in_the_file_win():
    tensors = detectron2()
    tensors["pixel_mean"] = np.array([1.0, 2, 3]).reshape(3, 1, 1)
    tensors["pixel_std"] = np.array([4.0, 5, 6]).reshape(3, 1, 1)
    loaded = sources.convert(tensors, "x.pkl")
    assert loaded.conventions.mean == (1, 2, 3)
    assert loaded.conventions.std == (4, 5, 6)
    assert loaded.unknown == ()


# ----------------------------------------------------------------- against torchvision


@pytest.mark.torch
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_torchvision_features(backbone):
    """The maps of torchvision's forward pass, written out with torch's functions."""
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)
    fields = dict(stride_in_1x1=False) if backbone == "resnet50" else {}
    norm = lambda **options: norms.FrozenBatchNorm(epsilon=1e-5, **options)  # noqa: E731
    body = BACKBONES[backbone](norm=norm, **fields).clone(depths=(1, 2, 1, 1))
    model = jax.eval_shape(body.init, jax.random.key(0), jnp.zeros(images.shape))
    tensors = {
        name: goldens.weight(f"backbone.body.stem.{name}", shape)
        for name, shape in names_of(model).items()
    }
    loaded = sources.convert(tensors, "resnet.pth")
    model = {kind: {"body": tree} for kind, tree in model.items()}
    merged = merging.merge(loaded, model).variables
    conventions = loaded.conventions
    assert conventions.order == "rgb"
    x = (images - np.array(conventions.mean)) / np.array(conventions.std)
    ours = jax.jit(body.apply)(
        {kind: tree["body"] for kind, tree in merged.items()},
        jnp.asarray(x, jnp.float32),
    )

    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = (torch.tensor(images).permute(0, 3, 1, 2) / 255 - mean) / std
    weights = {name: torch.tensor(value) for name, value in tensors.items()}
    theirs = torchvision_forward(torch, weights, x)
    for one, other in zip(ours, theirs, strict=True):
        assert goldens.error(one, other.permute(0, 2, 3, 1).numpy()) < 1e-5


def torchvision_forward(torch, weights, x):
    F = torch.nn.functional

    def norm(name, x):
        fields = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{name}.{field}"] for field in fields))

    def conv(name, x, stride=1):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = F.relu(norm("bn1", conv("conv1", x, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for layer in (1, 2, 3, 4):
        index = 0
        while f"layer{layer}.{index}.conv1.weight" in weights:
            block = f"layer{layer}.{index}."
            stride = 2 if layer > 1 and index == 0 else 1
            count = 3 if block + "conv3.weight" in weights else 2
            y = x
            for number in range(1, count + 1):
                first_3x3 = number == (2 if count == 3 else 1)
                y = conv(f"{block}conv{number}", y, stride if first_3x3 else 1)
                y = norm(f"{block}bn{number}", y)
                y = F.relu(y) if number < count else y
            if block + "downsample.0.weight" in weights:
                x = conv(block + "downsample.0", x, stride)
                x = norm(block + "downsample.1", x)
            x = F.relu(x + y)
            index += 1
        maps.append(x)
    return maps
