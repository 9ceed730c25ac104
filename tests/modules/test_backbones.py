import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.conversion import sources
from stemseg_jax.modules import backbones, fpn, norms
from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.modules.backbones.resnet import BasicBlock, Bottleneck
from tests import other_figures

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 64, 3)), jnp.float32)


@functools.cache
def tiny(**fields):
    """Variables of the tiny backbone, its maps and the gradient of their squares."""
    network = BACKBONES["tiny"](**fields)
    variables = jax.jit(network.init)(jax.random.key(0), IMAGES)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(variables, images):
        maps = network.apply(variables, images)
        return sum(jnp.square(m).mean() for m in maps), maps

    gradients, maps = gradient(variables, IMAGES)
    return variables, maps, gradients["params"], gradient


@pytest.mark.parametrize(
    "name, widths, parameters",
    [
        # As published, without the classifier (and the layer before it).
        ("resnet18", (64, 128, 256, 512), 11_176_512),
        ("resnet50", (256, 512, 1024, 2048), 23_508_032),
        ("resnet101", (256, 512, 1024, 2048), 42_500_160),
        ("resnext101_32x8d", (256, 512, 1024, 2048), 86_742_336),
        ("resnext101_64x4d", (256, 512, 1024, 2048), 81_406_272),
        ("efficientnet_lite0", (24, 40, 112, 320), 2_958_848),
        ("efficientnet_lite1", (24, 40, 112, 320), 3_723_520),
        ("efficientnet_lite2", (24, 48, 120, 352), 4_357_952),
        ("mobilenet_v2", (24, 32, 96, 320), 1_811_712),
        ("tiny", (32, 48, 64, 96), 264_304),
    ],
)
def test_strides_widths_and_size(name, widths, parameters):
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    network = BACKBONES[name]()
    maps, variables = jax.eval_shape(
        network.init_with_output, jax.random.key(0), images
    )
    assert [m.shape for m in maps] == [
        (2, 64 // stride, 96 // stride, width)
        for stride, width in zip((4, 8, 16, 32), widths, strict=True)
    ]
    # The published count has the affine map of batch norms, but not their statistics.
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    sizes = [x.size for path, x in leaves if path[-1].key not in ("mean", "var")]
    assert sum(sizes) == parameters


def test_sizes_need_not_be_multiples_of_32():
    network = BACKBONES["resnet18"]()
    images = jax.ShapeDtypeStruct((1, 50, 90, 3), jnp.float32)
    maps, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert [m.shape[1:3] for m in maps] == [(13, 23), (7, 12), (4, 6), (2, 3)]


def test_frozen_stages_get_no_gradient_and_the_others_do():
    stages = ["stem", *(f"stage{k}_block0" for k in range(1, 5))]
    for freeze_at in (0, 2):
        gradients = tiny(freeze_at=freeze_at)[2]
        for index, stage in enumerate(stages):
            moved = all(g.any() for g in jax.tree.leaves(gradients[stage]))
            assert moved == (index >= freeze_at), stage


OPTIONS = dict(
    norm=norms.named("group_norm_8", epsilon=0.0),
    stride_in_1x1=False,
    freeze_at=2,
    remat=False,
    dtype=jnp.float32,
)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_takes_the_same_options_and_names_its_stages(name):
    """Each parameter is of one stage."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 4), jnp.float32)  # of any channels
    network = backbones.build(name, **OPTIONS)
    params = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    owners = [
        [stage for stage in network.stages if part.startswith(stage)] for part in params
    ]
    assert {stage for (stage,) in owners} == {*network.stages}


def test_what_no_backbone_has_is_refused():
    with pytest.raises(ValueError, match=r"backbone='vit' is unknown.*'resnet50'"):
        backbones.build("vit", **OPTIONS)
    with pytest.raises(ValueError, match="freeze_stages=6: tiny has 5 stages, stem"):
        backbones.build("tiny", **{**OPTIONS, "freeze_at": 6})
    with pytest.raises(ValueError, match="norm='batch' is unknown.*'group_norm'"):
        norms.named("batch", epsilon=0.0)


def test_recomputing_changes_neither_parameters_nor_gradients():
    plain, recomputed = tiny(freeze_at=0), tiny(remat=True)
    for a, b in zip(*map(jax.tree.leaves, (plain[0], recomputed[0])), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(*map(jax.tree.leaves, (plain[2], recomputed[2])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_recomputing_keeps_the_statistics_of_batch_norms():
    """They move once, and the gradient goes through them."""
    variables = BACKBONES["tiny"](norm=norms.BatchNorm).init(jax.random.key(0), IMAGES)
    found = []
    for remat in (False, True):
        network = BACKBONES["tiny"](norm=norms.BatchNorm, remat=remat)

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def gradient(params, network=network):
            maps, changed = network.apply(
                {**variables, "params": params}, IMAGES, mutable=[norms.STATISTICS]
            )
            return sum(jnp.square(m).mean() for m in maps), changed

        found.append(gradient(variables["params"]))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    moved = found[1][1][norms.STATISTICS]["stage4_block0"]["norm2"]["mean"]
    assert moved.any()


def test_frames_do_not_see_each_other():
    variables, maps, _, gradient = tiny(freeze_at=0)
    changed = IMAGES.at[1].multiply(-1)
    for before, after in zip(maps, gradient(variables, changed)[1], strict=True):
        np.testing.assert_array_equal(before[0], after[0])
        assert (before[1] != after[1]).any()


def test_bfloat16_computes_in_it_and_keeps_parameters():
    network = BACKBONES["resnet50"](dtype=jnp.bfloat16)
    maps, variables = jax.eval_shape(
        network.init_with_output, jax.random.key(0), IMAGES
    )
    assert {x.dtype for x in maps} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def tensor(x, torch):
    """Channels last to first, kernels to (out, in, h, w)."""
    x = np.asarray(x)
    return torch.tensor(x.transpose(3, 2, 0, 1) if x.ndim == 4 else x)


def torch_block(x, variables, block, torch):
    """A residual block written with PyTorch's functions."""
    F = torch.nn.functional
    kernels = {k: tensor(v["kernel"], torch) for k, v in variables["params"].items()}
    constants = jax.tree.map(lambda v: tensor(v, torch), variables["constants"])

    def conv(x, name, **options):
        return F.conv2d(
            x, kernels[name], padding=kernels[name].shape[-1] // 2, **options
        )

    def norm(x, name):
        c = constants[name]
        return F.batch_norm(x, c["mean"], c["var"], c["scale"], c["bias"], eps=1e-5)

    x = y = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
    if isinstance(block, BasicBlock):
        layers = [("conv1", {"stride": block.stride}), ("conv2", {})]
    else:
        first, second = (block.stride, 1) if block.stride_in_1x1 else (1, block.stride)
        layers = [
            ("conv1", {"stride": first}),
            ("conv2", {"stride": second, "groups": block.groups}),
            ("conv3", {}),
        ]
    for index, (name, options) in enumerate(layers, start=1):
        y = norm(conv(y, name, **options), f"norm{index}")
        if index < len(layers):
            y = F.relu(y)
    if "shortcut_conv" in kernels:
        x = norm(conv(x, "shortcut_conv", stride=block.stride), "shortcut_norm")
    return F.relu(x + y).numpy().transpose(0, 2, 3, 1)


@pytest.mark.torch
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
@pytest.mark.parametrize(
    "block, fields",
    [
        (BasicBlock, {"width": 16, "stride": 1}),
        (BasicBlock, {"width": 24, "stride": 2}),
        (Bottleneck, {"width": 16, "stride": 1}),
        (Bottleneck, {"width": 32, "stride": 1}),
        (Bottleneck, {"width": 32, "stride": 2}),
        (Bottleneck, {"width": 32, "stride": 2, "stride_in_1x1": False}),
        (
            Bottleneck,
            {
                "width": 64,
                "stride": 2,
                "stride_in_1x1": False,
                "groups": 4,
                "group_width": 16,
            },
        ),
    ],
)
def test_blocks_equal_pytorch(block, fields, size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    block = block(
        norm=functools.partial(norms.FrozenBatchNorm, epsilon=1e-5),
        initialiser="he_normal",
        dtype=jnp.float32,
        **fields,
    )
    x = jnp.asarray(rng.normal(size=(2, *size, 16)), jnp.float32)
    variables = block.init(jax.random.key(0), x)
    variables["constants"] = jax.tree.map(
        lambda v: jnp.asarray(rng.uniform(0.5, 1.5, v.shape), jnp.float32),
        variables["constants"],
    )
    expected = torch_block(x, variables, block, torch)
    assert goldens.error(block.apply(variables, x), expected) < 2e-6


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
@pytest.mark.parametrize(
    "name, fields",
    [
        ("x_s1", dict(stride=1, stride_in_1x1=False, groups=4, group_width=32)),
        ("x_s2", dict(stride=2, stride_in_1x1=False, groups=4, group_width=32)),
        ("r_s2_in1x1", dict(stride=2, stride_in_1x1=True)),
    ],
)
def test_bottlenecks_equal_the_reference(name, fields, folder, request):
    """Those of ResNeXt and ResNet in the authors' program, with frozen norms."""
    arrays = other_figures.load(folder, "stemseg_ovis", request)
    own = f"{name}__param__"
    weights = {
        key.replace(own, "layer1.0."): x
        for key, x in arrays.items()
        if key.startswith(own)
    }
    variables = {
        kind: tree["body"]["stage1_block0"]
        for kind, tree in sources.convert(weights, name).variables.items()
    }
    block = Bottleneck(
        width=32,
        norm=norms.FrozenBatchNorm,
        initialiser="he_normal",
        dtype=jnp.float32,
        **fields,
    )
    y = jax.jit(block.apply)(variables, goldens.channels_last(arrays["x"]))
    assert goldens.error(y, goldens.channels_last(arrays[f"{name}__out"])) < 1e-5


def check_figures(folder, name, depths, frames):
    """Stem, stages and FPN of the first frames."""
    meta, arrays = goldens.load(folder, name)
    images = goldens.pixels(meta["seed"], meta["frames"], meta["h"], meta["w"])
    images = goldens.channels_last(images[:frames]).astype(np.float32)
    images -= np.array([102.9801, 115.9465, 122.7717], np.float32)
    weights = goldens.state_dict(goldens.backbone_shapes(depths), salt=meta["salt"])
    tree = sources.convert(weights, name).variables
    params, constants = tree["params"], tree["constants"]
    network = BACKBONES[
        {"R-50-FPN": "resnet50", "R-101-FPN": "resnet101"}[meta["backbone"]]
    ]
    pyramid = fpn.FeaturePyramid()

    @jax.jit
    def run(images):
        maps, state = network().apply(
            {"params": params["body"], "constants": constants["body"]},
            images,
            capture_intermediates=lambda module, _: module.name == "stem",
        )
        stem = state["intermediates"]["stem"]["__call__"][0]
        return stem, maps, pyramid.apply({"params": params["fpn"]}, maps)

    stem, maps, levels = run(jnp.asarray(images))
    quantities = {"stem_c16": stem[:, ::2, ::2, ::16]}
    quantities |= {f"c{k}_c64": m[..., ::64] for k, m in enumerate(maps, start=2)}
    quantities |= {
        f"fpn{stride}_c16": level[..., ::16]
        for stride, level in zip((4, 8, 16, 32), levels, strict=True)
    }
    for key, actual in quantities.items():
        expected = goldens.channels_last(arrays[key][:frames])
        assert goldens.error(actual, expected) < 1e-5, key


def test_reference_figures_kept_here():
    check_figures(goldens.KEPT, "model_davis8_R50", (3, 4, 6, 3), frames=1)


@pytest.mark.slow
def test_reference_figures_of_resnet101(shared):
    folder = shared / "reference" / "goldens"
    check_figures(folder, "model_davis8_R101", (3, 4, 23, 3), frames=8)
