import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.modules import fpn


def maps(widths=(3, 5, 7), size=8):
    rng = np.random.default_rng(0)
    sizes = [size >> k for k in range(len(widths))]
    return tuple(
        jnp.asarray(rng.normal(size=(2, s, 2 * s, w)), jnp.float32)
        for s, w in zip(sizes, widths, strict=True)
    )


def test_coarse_information_reaches_all_levels_bilinearly_by_hand():
    # One channel; laterals pass on, outputs pick their centre.
    inputs = (jnp.zeros((1, 1, 4, 1)), jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1))
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    kernels = {"lateral": jnp.ones((1, 1, 1, 1)), "output": centre}
    params = {
        f"{name}{level}": {"kernel": kernel, "bias": jnp.zeros(1)}
        for name, kernel in kernels.items()
        for level in (1, 2)
    }
    fine, coarse = fpn.FeaturePyramid(1).apply({"params": params}, inputs)
    np.testing.assert_allclose(fine.ravel(), [0, 1, 3, 4])
    np.testing.assert_allclose(coarse.ravel(), [0, 4])


def test_sizes_stay_and_widths_become_one():
    levels, variables = fpn.FeaturePyramid(6).init_with_output(
        jax.random.key(0), maps()
    )
    assert [x.shape for x in levels] == [(2, 8, 16, 6), (2, 4, 8, 6), (2, 2, 4, 6)]
    assert not any(v["bias"].any() for v in variables["params"].values())


def test_information_flows_from_coarse_to_fine_only():
    inputs = maps()
    network = fpn.FeaturePyramid(6)
    variables = network.init(jax.random.key(0), inputs)
    apply = jax.jit(network.apply)
    before = apply(variables, inputs)
    after = apply(variables, (inputs[0] + 1, *inputs[1:]))
    assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == [
        True,
        False,
        False,
    ]


def test_bfloat16():
    network = fpn.FeaturePyramid(6, dtype=jnp.bfloat16)
    levels, variables = network.init_with_output(jax.random.key(0), maps())
    assert {x.dtype for x in levels} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
