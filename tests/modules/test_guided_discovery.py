"""What of guided discovery goes where."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import target_aware_davis
from stemseg_jax.modules.aspp import ASPP
from stemseg_jax.systems.target_aware import TargetAware


def made(**changes):
    """A small one with classes, and two frames."""
    config = target_aware_davis.get_config("smoke")
    with config.unlocked():
        config.model.num_classes = 3
        config.model.update(changes)
        if not config.model.guidance:
            del config.optim.rates["discovery/guide/body"]
    module = TargetAware.from_config(config).network.discovery
    keys = jax.random.split(jax.random.key(0), 4)
    images = jax.random.normal(keys[0], (2, 64, 96, 3))
    before = jax.random.normal(keys[1], (2, 64, 96, 4))
    variables = jax.jit(module.init)(keys[2], images, before)
    # All biases are zeros, and all scales ones, which hides who is who.
    leaves, tree = jax.tree.flatten(variables["params"])
    draws = jax.random.split(keys[3], len(leaves))
    leaves = [
        x if x.ndim > 1 else x + 0.2 * jax.random.normal(key, x.shape)
        for x, key in zip(leaves, draws, strict=True)
    ]
    variables = {**variables, "params": jax.tree.unflatten(tree, leaves)}
    return module, variables, images, before


def composed(module, descriptor, variables, images, before):
    """Foreground, heat map and offsets, from the parts."""
    own, params = module.bind(variables), variables["params"]

    def through(gate, own_map, guide_map, described):
        """Two layers on two means, and a softmax over pairs of channels."""
        first, second = params[gate]["squeeze"], params[gate]["excite"]
        c = jnp.concatenate([x.mean(axis=(1, 2)) for x in described], axis=-1)
        c = jnp.maximum(c @ first["kernel"] + first["bias"], 0)
        one, other = jnp.split(c @ second["kernel"] + second["bias"], 2, axis=-1)
        share = (1 / (1 + jnp.exp(other - one)))[:, None, None]
        return share * own_map + (1 - share) * guide_map

    def head(name, x):
        return x @ params[name]["kernel"][0, 0] + params[name]["bias"]

    of_4, of_8, _, x = own.body(images)
    foreground, instances = own.foreground_aspp(x), own.instance_aspp(x)
    if descriptor:
        guide = own.guide.pool(own.guide.body(before)[-1])
        seen = {
            "pair": ((foreground, guide), (instances, guide)),
            "printed": ((foreground, instances),) * 2,
        }[descriptor]
        foreground, instances = (
            through("foreground_gate", foreground, guide, seen[0]),
            through("instance_gate", instances, guide, seen[1]),
        )
    foreground = own.foreground_decoder(foreground, (of_8, of_4))
    instances = own.instance_decoder(instances, (of_8, of_4))
    return (
        head("foreground_head", foreground),
        head("heatmap_head", instances)[..., 0],
        head("offset_head", instances),
    )


@pytest.mark.parametrize("descriptor", ["pair", "printed", None])
def test_is_made_of_its_parts(descriptor):
    """As the paper draws it; without guidance maps pass as they are."""
    changes = {"descriptor": descriptor} if descriptor else {"guidance": False}
    module, variables, images, before = made(**changes)
    found = jax.jit(module.apply)(variables, images, before)
    expected = jax.jit(functools.partial(composed, module, descriptor))(
        variables, images, before
    )
    assert found.offsets.shape == (2, 16, 24, 2)
    for name, a, b in zip(found._fields, found, expected, strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, atol=1e-4, err_msg=name)


def test_each_aspp_drops_something_else():
    module, variables, images, before = made()
    keys = jax.random.split(jax.random.key(5))

    @jax.jit
    def maps(keys):
        _, kept = module.apply(
            *(variables, images, before, keys),
            capture_intermediates=lambda part, _: isinstance(part, ASPP),
            mutable=["intermediates"],
        )
        found = kept["intermediates"]
        found = found | {"guide": found["guide"]["pool"]}
        names = ("foreground_aspp", "instance_aspp", "guide")
        return [found[name]["__call__"][0] for name in names]

    whole, dropped = jax.device_get((maps(None), maps(keys)))
    gone = [(x != 0) & (y == 0) for x, y in zip(whole, dropped, strict=True)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        both = (whole[a] != 0) & (whole[b] != 0)
        assert both.sum() > 100
        # Of two independent draws half agree.
        assert 0.4 < (gone[a] == gone[b])[both].mean() < 0.6
    for x, y in zip(whole, dropped, strict=True):
        np.testing.assert_allclose(y[y != 0], 2 * x[y != 0], rtol=1e-5)
