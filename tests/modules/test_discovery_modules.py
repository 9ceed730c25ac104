"""The parts of target-aware discovery: ASPP, gates, decoder, refiner, dilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stemseg_jax.modules import aspp, backbones, guidance, norms, refiner, skip_decoder
from tests import other_figures

BATCH = norms.named("batch_norm", epsilon=1e-5)
GROUP = norms.named("group_norm_8", epsilon=1e-5)


def test_aspp_is_that_of_the_program(request):
    figures = other_figures.load("kept", "panoptic_deeplab", request)
    module = aspp.ASPP(8, BATCH)
    x = jnp.asarray(figures["aspp_in"].transpose(0, 2, 3, 1))
    made = jax.eval_shape(module.init, jax.random.key(0), x)
    flat = traverse_util.flatten_dict(made, sep="/")
    theirs = {f"branch{k}": f"convs.{k}.0" for k in range(4)}
    theirs |= {f"branch{k}_norm": f"convs.{k}.1" for k in range(4)}
    theirs |= {"pooled": "convs.4.aspp_pooling.1", "project": "project.0"}
    theirs |= {"project_norm": "project.1"}
    leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    leaves |= {"mean": "running_mean", "var": "running_var"}
    for path, shape in flat.items():
        _, layer, leaf = path.split("/")
        value = figures[f"aspp_param__{theirs[layer]}.{leaves[leaf]}"]
        if leaf == "kernel":
            value = value.transpose(2, 3, 1, 0)
        assert value.shape == shape.shape, path
        flat[path] = jnp.asarray(value)
    found = module.apply(traverse_util.unflatten_dict(flat, sep="/"), x)
    np.testing.assert_allclose(
        found.transpose(0, 3, 1, 2), figures["aspp_out"], rtol=1e-5, atol=1e-5
    )


def test_aspp_drops_by_the_key_of_each_image():
    module = aspp.ASPP(8, GROUP)
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 8))
    variables = module.init(jax.random.key(1), x)
    keys = jax.random.split(jax.random.key(2))
    whole = module.apply(variables, x)
    dropped = module.apply(variables, x, keys)
    shown = dropped != 0
    np.testing.assert_allclose(dropped[shown], 2 * whole[shown], rtol=1e-5)
    assert 0.3 < shown.sum() / (whole != 0).sum() < 0.7
    # An image's mask does not depend on the images beside it.
    turned = module.apply(variables, x[::-1], keys[::-1])
    np.testing.assert_allclose(turned[::-1], dropped, atol=1e-6)


def test_a_gate_shares_one_out_between_two_maps():
    module = guidance.GuidanceGate(hidden=3)
    own, guide = jax.random.normal(jax.random.key(0), (2, 2, 4, 5, 6))
    variables = module.init(jax.random.key(1), own, guide, (own, guide))
    found = module.apply(variables, own, guide, (own, guide))
    low, high = jnp.minimum(own, guide), jnp.maximum(own, guide)
    assert ((found >= low - 1e-6) & (found <= high + 1e-6)).all()
    # By hand: means, two layers, and a softmax over pairs of channels.
    params = variables["params"]
    c = np.concatenate([np.mean(own, (1, 2)), np.mean(guide, (1, 2))], axis=-1)
    c = np.maximum(c @ params["squeeze"]["kernel"] + params["squeeze"]["bias"], 0)
    z = c @ params["excite"]["kernel"] + params["excite"]["bias"]
    share = 1 / (1 + np.exp(z[:, 6:] - z[:, :6]))[:, None, None]
    np.testing.assert_allclose(found, share * own + (1 - share) * guide, atol=1e-5)
    # Both forms: what decides need not be what is shared out.
    printed = module.apply(variables, own, guide, (own, own))
    assert np.abs(printed - found).max() > 1e-3


def test_the_decoder_ends_at_stride_4():
    module = skip_decoder.SkipDecoder(16, (8, 8), GROUP)
    x, finer = jnp.ones((1, 2, 3, 8)), (jnp.ones((1, 4, 6, 5)), jnp.ones((1, 8, 12, 4)))
    shape = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), x, finer)[0]
    )
    assert shape.shape == (1, 8, 12, 16)


def test_targets_are_refined_each_on_its_own():
    module = refiner.Refiner(norm=GROUP, channels=8)
    maps = tuple(
        jax.random.normal(jax.random.key(n), (2, 16 // 2**n, 16 // 2**n, 4))
        for n in range(4)
    )
    scores = jax.random.normal(jax.random.key(9), (2, 3, 4, 4))
    size = (64, 64)
    variables = module.init(jax.random.key(1), maps, scores[:, :1], size)
    apply = jax.jit(module.apply, static_argnums=3)
    found = apply(variables, maps, scores, size)
    assert found.shape == (2, 3, *size)
    alone = apply(variables, tuple(x[1:] for x in maps), scores[1:, 2:], size)
    np.testing.assert_allclose(alone[0, 0], found[1, 2], rtol=1e-3, atol=1e-4)
    order = apply(variables, maps, scores[:, ::-1], size)
    np.testing.assert_allclose(order[:, ::-1], found, rtol=1e-3, atol=1e-4)


def test_a_dilated_backbone_ends_at_stride_16_with_the_same_parameters():
    made = {}
    for dilated in (False, True):
        backbone = backbones.build(
            "resnet50",
            norm=BATCH,
            stride_in_1x1=False,
            freeze_at=0,
            remat=False,
            dtype=jnp.float32,
            dilated=dilated,
        )
        maps, variables = jax.eval_shape(
            lambda b=backbone: b.init_with_output(
                jax.random.key(0), jnp.zeros((1, 64, 96, 3))
            )
        )
        made[dilated] = jax.tree.map(lambda x: x.shape, variables)
        assert maps[2].shape == (1, 4, 6, 1024)
        assert maps[3].shape == ((1, 4, 6, 2048) if dilated else (1, 2, 3, 2048))
    assert made[False] == made[True]
    with pytest.raises(ValueError, match="have no dilated form; use a ResNet"):
        backbones.build(
            "mobilenet_v2",
            norm=BATCH,
            stride_in_1x1=False,
            freeze_at=0,
            remat=False,
            dtype=jnp.float32,
            dilated=True,
        )
