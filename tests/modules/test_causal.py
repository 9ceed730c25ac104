"""The temporal model: figures of FIERY, and clips against frame by frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.modules import causal
from tests import other_figures

LAYERS = {
    "conv_down_project": ("project", "project_norm"),
    "conv": ("", "norm"),
    "conv_up_project": ("expand", "expand_norm"),
}


def clip(frames):
    x = np.random.default_rng(0).normal(size=(2, frames, 3, 4, 6))
    return jnp.asarray(x, jnp.float32)


def small(blocks=4):
    """With statistics and affine maps that are not the identity."""
    model = causal.TemporalModel(blocks=blocks, channels=6)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: (
            leaf
            if leaf.ndim > 1
            else jnp.asarray(rng.uniform(0.3, 1, leaf.shape), jnp.float32)
        ),
        model.init(jax.random.key(0), clip(1)),
    )
    return jax.jit(lambda *args: model.apply(variables, *args))


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
@pytest.mark.parametrize("reach", [1, 2])
def test_a_bottleneck_is_that_of_fiery(folder, reach, request):
    figures = other_figures.load(folder, "causal3d", request)
    params, statistics = {}, {}
    for theirs, (conv, norm) in LAYERS.items():
        start = f"bottleneck_t{reach}__param__layers.{theirs}."
        kernel = figures[f"{start}conv.weight"].transpose(2, 3, 4, 1, 0)
        params |= {conv: {"kernel": kernel}} if conv else {"kernel": kernel}
        params[norm] = {
            "scale": figures[f"{start}norm.weight"],
            "bias": figures[f"{start}norm.bias"],
        }
        statistics[norm] = {
            name: figures[f"{start}norm.running_{name}"] for name in ("mean", "var")
        }
    block = causal.CausalBottleneck(8, reach)
    variables = {"params": params, "batch_stats": statistics}
    x = jnp.asarray(figures["x"].transpose(0, 2, 3, 4, 1))
    y, past = block.apply(variables, x)
    assert past.shape == (1, reach - 1, 6, 7, 4)
    expected = figures[f"bottleneck_t{reach}__out"].transpose(0, 2, 3, 4, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_frame_by_frame_is_the_clip_over_40_frames():
    x, run = clip(40), small()
    whole, _ = run(x)
    _, past = run(x[:, :1])
    assert [p.shape for p in past] == [(2, 1, 3, 4, 3)] * 2
    past = jax.tree.map(jnp.zeros_like, past)  # what None stands for
    for t in range(40):
        y, past = run(x[:, t : t + 1], past)
        np.testing.assert_allclose(y[:, 0], whole[:, t], rtol=1e-5, atol=1e-5)


def test_a_frame_is_seen_by_itself_and_the_next_two():
    x, run = clip(8), small(blocks=12)
    moved = jnp.abs(run(x.at[:, 3].add(1.0))[0] - run(x)[0]).max(axis=(0, 2, 3, 4))
    assert (moved > 1e-4).tolist() == [t in (3, 4, 5) for t in range(8)]
    np.testing.assert_array_equal(moved[:3], 0)


def test_no_frame_leaves_the_past_as_it_is():
    x, run = clip(3), small()
    _, past = run(x)
    y, same = run(x[:, :0], past)
    assert y.shape[1] == 0
    jax.tree.map(np.testing.assert_array_equal, same, past)


def test_has_the_parameters_that_the_paper_prints():
    model, x = causal.TemporalModel(), jnp.zeros((1, 1, 8, 8, 128))
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    sizes = [(leaf.ndim, leaf.size) for leaf in jax.tree.leaves(params)]
    assert sum(size for _, size in sizes) == 718_848
    assert sum(size for ndim, size in sizes if ndim == 5) == 712_704
