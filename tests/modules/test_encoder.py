"""Features of frames, under the names and from the first weights of their network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import moving_shapes
from stemseg_jax.modules import backbones, fpn, norms
from stemseg_jax.modules.encoder import Encoder

IMAGES = jax.random.normal(jax.random.key(1), (2, 3, 64, 96, 3))


def encoder(**changes):
    config = moving_shapes.get_config("smoke").unlock()
    config.model.update(changes)
    return Encoder.from_config(config.model)


class Network(nn.Module):
    encoder: Encoder

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.head = nn.Dense(2)

    def __call__(self, images):
        return self.head(self.encoder(images)[0])


class Plain(nn.Module):
    """The same network with backbone and pyramid as modules of its own."""

    def setup(self):
        self.body = backbones.build(
            "tiny",
            norm=norms.named("group_norm_8", epsilon=0.0),
            stride_in_1x1=True,
            freeze_at=0,
            remat=False,
            dtype=jnp.float32,
        )
        self.fpn = fpn.FeaturePyramid(16)
        self.head = nn.Dense(2)

    def __call__(self, images):
        return self.head(self.fpn(self.body(images))[0])


def test_weights_are_the_networks_own_by_name_and_by_value():
    key, frames = jax.random.key(0), IMAGES.reshape(-1, 64, 96, 3)
    shared = Network(encoder()).init(key, IMAGES)
    plain = Plain().init(key, frames)
    assert shared["params"].keys() == {"body", "fpn", "head"}
    jax.tree.map(np.testing.assert_array_equal, shared, plain)
    found = Network(encoder()).apply(shared, IMAGES)
    expected = Plain().apply(plain, frames).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_maps_have_the_four_strides_and_the_axes_of_the_frames():
    maps, _ = encoder().init_with_output(jax.random.key(0), IMAGES)
    assert [m.shape for m in maps] == [
        (2, 3, 64 // stride, 96 // stride, 16) for stride in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ()),
        ({"freeze_stages": 2}, ("body/stem", "body/stage1")),
        ({"freeze_stages": 2, "freeze_backbone": True}, ("body", "fpn")),
    ],
)
def test_what_is_frozen_gets_no_gradient_and_is_named(changes, frozen):
    module = encoder(**changes)
    variables = module.init(jax.random.key(0), IMAGES)

    def total(params):
        maps = module.apply({**variables, "params": params}, IMAGES)
        return sum(jnp.square(m).sum() for m in maps)

    gradient = jax.grad(total)(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = "/".join(entry.key for entry in path)
        assert bool(leaf.any()) != name.startswith(frozen or ("none",)), name
    assert module.frozen_modules() == frozen
    assert module.frozen_modules("guide/") == tuple(f"guide/{name}" for name in frozen)
