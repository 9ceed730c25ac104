import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import centres
from tests import other_figures


@pytest.fixture(scope="module")
def figures(request):
    return other_figures.load("kept", "panoptic_deeplab", request)


def masks_of(figures):
    ids = figures["ids"]
    return jnp.asarray([ids == k for k in range(1, 5)])


@pytest.mark.parametrize("sigma", [10, 4])
def test_targets_are_those_of_the_program(figures, sigma):
    found = centres.targets(masks_of(figures), sigma=float(sigma))
    np.testing.assert_allclose(
        found.heatmap, figures[f"heatmap_sigma{sigma}"][0], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        found.offsets, figures["offset"].transpose(1, 2, 0), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_array_equal(found.instance, figures["offset_weights"] > 0)


def test_terms_by_hand():
    masks = jnp.zeros((1, 2, 3), bool).at[0, :, 1].set(True)
    wanted = centres.targets(masks)  # its centre is (0.5, 1)
    offsets = wanted.offsets.at[0, 1].add(jnp.array([1.0, -3.0]))
    none = jnp.zeros((2, 3), bool)
    found = centres.terms(wanted.heatmap + 0.5, offsets, wanted, none)
    np.testing.assert_allclose(found, (0.25, 4 / 4), rtol=1e-6)
    # What is ignored does not count.
    found = centres.terms(
        wanted.heatmap.at[0, 1].add(5), offsets, wanted, none.at[0, 1].set(True)
    )
    np.testing.assert_allclose(found, (0, 0), atol=1e-12)


def test_order_and_padding_change_nothing(figures):
    masks = masks_of(figures)
    padded = jnp.concatenate([jnp.zeros_like(masks[:2]), masks[::-1]])
    for own, other in zip(
        centres.targets(masks), jax.jit(centres.targets)(padded), strict=True
    ):
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_without_an_instance_offsets_cost_nothing():
    nothing = centres.targets(jnp.zeros((2, 4, 5), bool))
    assert not nothing.heatmap.any() and not nothing.instance.any()
    found, gradient = jax.value_and_grad(
        lambda x: sum(centres.terms(x[..., 0], x, nothing, nothing.instance))
    )(jnp.ones((4, 5, 2)))
    np.testing.assert_allclose(found, 1)
    assert np.isfinite(gradient).all()
    batch = jnp.zeros((3, 2, 4, 5), bool)
    assert jax.vmap(centres.targets)(batch).heatmap.shape == (3, 4, 5)
