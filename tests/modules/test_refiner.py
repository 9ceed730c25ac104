"""The refiner against plain NumPy, written from what FRTM's paper and program do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.modules import norms, refiner
from stemseg_jax.ops import resize
from tests.systems import target_aware_reference as reference

EPSILON = 1e-5
CHANNELS = 6


def made(seed=0, shape=(2, 3), size=(50, 70)):
    """Maps of four strides, finest first, scores, and a refiner with random numbers in
    all that it has."""
    norm = norms.named("batch_norm", epsilon=EPSILON)
    module = refiner.Refiner(norm=norm, channels=CHANNELS)
    keys = jax.random.split(jax.random.key(seed), 6)
    B, K = shape
    maps = tuple(
        jax.random.normal(key, (B, 16 >> n, 24 >> n, 3 + n))
        for n, key in enumerate(keys[:4])
    )
    scores = jax.random.normal(keys[4], (B, K, 4, 6))
    variables = jax.jit(module.init, static_argnums=3)(keys[5], maps, scores, size)
    leaves, tree = jax.tree.flatten(variables)
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(0, 0.4, x.shape) for x in leaves]
    # Variances are positive; those of all others may be anything.
    variables = jax.tree_util.tree_map_with_path(
        lambda path, x: np.abs(x) + 0.5 if path[-1].key == "var" else x,
        jax.tree.unflatten(tree, drawn),
    )
    variables = jax.tree.map(jnp.float32, variables)
    return module, variables, maps, scores, size


class Plain:
    """One frame and one target."""

    def __init__(self, variables):
        self._params = jax.tree.map(np.float64, variables["params"])
        self._kept = jax.tree.map(np.float64, variables[norms.STATISTICS])

    def __call__(self, maps, score, size):
        x = None
        for n in (3, 2, 1, 0):
            r = self.conv(relu(self.conv(maps[n], f"reduce{n}a")), f"reduce{n}b")
            here = reference.resized(score, maps[n].shape[:2])[..., None]
            h = np.concatenate([r, here], axis=-1)
            for k in range(3):
                h = relu(self.conv(h, f"score{n}_{k}"))
            h = self.residual(h, f"score{n}")
            if x is None:
                coarse = r.mean(axis=(0, 1))
                added = np.broadcast_to(coarse, h.shape)
            else:
                coarse, added = x.mean(axis=(0, 1)), reference.resized(x, h.shape[:2])
            g = np.concatenate([h.mean(axis=(0, 1)), coarse])[None, None]
            g = self.conv(relu(self.conv(g, f"gate{n}a")), f"gate{n}b")
            x = self.residual(h / (1 + np.exp(-g)) + added, f"out{n}")
        x = relu(self.conv(cubic(x), "up"))
        return self.conv(reference.resized(cubic(x), size), "mask")[..., 0]

    def residual(self, u, name):
        v = self.conv(u, f"{name}_in")
        kept, learnt = self._kept[f"{name}_norm"], self._params[f"{name}_norm"]
        y = self.conv(v, f"{name}_conv1") - kept["mean"]
        y = y / np.sqrt(kept["var"] + EPSILON) * learnt["scale"] + learnt["bias"]
        return relu(v + self.conv(relu(y), f"{name}_conv2"))

    def conv(self, x, name):
        kernel, bias = (self._params[name][part] for part in ("kernel", "bias"))
        side = kernel.shape[0]
        h, w, _ = x.shape
        padded = np.pad(x, [(side // 2, side // 2)] * 2 + [(0, 0)])
        return bias + sum(
            padded[i : i + h, j : j + w] @ kernel[i, j]
            for i in range(side)
            for j in range(side)
        )


def relu(x):
    return np.maximum(x, 0)


def cubic(x):
    """Twice as large; the kernel of a = -0.75, borders replicated."""
    for axis in range(2):
        n = x.shape[axis]
        places = (np.arange(2 * n) + 0.5) / 2 - 0.5
        low = np.floor(places).astype(int)
        total = 0
        for step in (-1, 0, 1, 2):
            d = np.abs(places - low - step)
            near = 1.25 * d**3 - 2.25 * d**2 + 1
            far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            weight = np.where(d <= 1, near, far)
            weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
            total = total + weight * x.take(np.clip(low + step, 0, n - 1), axis)
        x = total
    return x


@pytest.mark.parametrize("seed", range(2))
def test_equals_the_plain_form(seed):
    module, variables, maps, scores, size = made(seed)
    found = jax.jit(module.apply, static_argnums=3)(variables, maps, scores, size)
    plain = Plain(variables)
    for b, k in np.ndindex(found.shape[:2]):
        expected = plain(
            [np.float64(x[b]) for x in maps], np.float64(scores[b, k]), size
        )
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[b, k] / scale, expected / scale, atol=1e-4)


def test_the_plain_cubic_is_that_of_the_package():
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    found = resize.cubic(jnp.float32(x)[None], (10, 8))[0]
    np.testing.assert_allclose(found, cubic(x), atol=1e-5)


def test_where_the_coarsest_map_says_something_does_not_matter():
    """Below the score its mean alone is passed on; the score itself has a place."""
    module, variables, maps, scores, size = made()
    apply = jax.jit(module.apply, static_argnums=3)
    # Nothing of that level but what is added: its gate lets nothing through.
    gate = variables["params"]["gate3b"]
    gate = {"kernel": 0 * gate["kernel"], "bias": jnp.full_like(gate["bias"], -100)}
    closed = {**variables, "params": {**variables["params"], "gate3b": gate}}
    turned = (*maps[:3], maps[3][:, ::-1, ::-1])
    np.testing.assert_allclose(
        apply(closed, turned, scores, size),
        apply(closed, maps, scores, size),
        rtol=1e-3,
        atol=1e-3,
    )
    changed = apply(variables, turned, scores, size)
    assert np.abs(changed - apply(variables, maps, scores, size)).max() > 1e-2
