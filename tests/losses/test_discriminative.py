import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import discriminative
from tests import other_figures

terms = jax.jit(discriminative.terms)


def total(embeddings, masks, valid):
    found = discriminative.terms(embeddings, masks, valid)
    return found.attraction + found.repulsion + 0.001 * found.regularisation


gradient_of_total = jax.jit(jax.grad(total))


def clip(N=3, E=4, size=(2, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, N + 1, size)
    masks = owner == np.arange(1, N + 1)[:, None, None, None]
    embeddings = rng.normal(size=(*size, E)).astype(np.float32)
    return jnp.asarray(embeddings), jnp.asarray(masks), jnp.ones(N, bool)


def reference(embeddings, masks, valid):
    """Instance by instance, pair by pair."""
    embeddings, masks = np.asarray(embeddings, float), np.asarray(masks)
    own = [
        embeddings[mask]
        for mask, real in zip(masks, valid, strict=True)
        if real and mask.any()
    ]
    means = [points.mean(axis=0) for points in own]
    attraction = [
        np.mean(np.maximum(np.linalg.norm(points - mean, axis=1) - 0.5, 0) ** 2)
        for points, mean in zip(own, means, strict=True)
    ]
    repulsion = [
        max(0, 3 - np.linalg.norm(a - b)) ** 2
        for i, a in enumerate(means)
        for j, b in enumerate(means)
        if i != j
    ]
    lengths = [np.linalg.norm(mean) for mean in means]
    return [sum(x) / max(len(x), 1) for x in (attraction, repulsion, lengths)]


def test_by_hand():
    # Means 1 and 3; points 1 from the first mean, and none off the second.
    embeddings = jnp.array([[0.0], [2.0], [3.0], [9.0]])
    masks = jnp.array([[True, True, False, False], [False, False, True, False]])
    found = terms(embeddings, masks, jnp.ones(2, bool))
    np.testing.assert_allclose(found, (0.25 / 2, 1, 2), rtol=1e-6)


@pytest.mark.parametrize("N, E", [(1, 2), (2, 5), (4, 3)])
def test_equals_the_formulas_instance_by_instance(N, E):
    arguments = clip(N, E, seed=N)
    np.testing.assert_allclose(terms(*arguments), reference(*arguments), rtol=1e-5)


def test_a_point_of_two_instances_counts_for_both():
    embeddings, masks, valid = clip()
    masks = masks.at[1].set(masks[0] | masks[1])
    found = terms(embeddings, masks, valid)
    np.testing.assert_allclose(found, reference(embeddings, masks, valid), rtol=1e-5)


def test_slots_without_a_point_or_not_valid_change_nothing():
    embeddings, masks, valid = clip()
    found = terms(embeddings, masks, valid)
    extra = jnp.stack([jnp.zeros_like(masks[0]), ~masks[0]])
    masks = jnp.concatenate([masks[:1], extra, masks[1:]])
    valid = jnp.array([True, True, False, True, True])
    np.testing.assert_allclose(terms(embeddings, masks, valid), found, rtol=1e-6)
    gradient = gradient_of_total(embeddings, masks, valid)
    np.testing.assert_array_equal(
        np.asarray(gradient)[~np.asarray(masks)[[0, 3, 4]].any(axis=0)], 0
    )


def test_order_and_place_do_not_matter_except_for_the_regularisation():
    embeddings, masks, valid = clip()
    found = terms(embeddings, masks, valid)
    turned = terms(embeddings[:, ::-1], masks[::-1, :, ::-1], valid)
    np.testing.assert_allclose(turned, found, rtol=1e-5)
    moved = terms(embeddings + 7, masks, valid)
    np.testing.assert_allclose(moved[:2], found[:2], rtol=1e-5)
    assert moved.regularisation > found.regularisation


@pytest.mark.parametrize("slots", [0, 2])
def test_without_instances_all_is_zero(slots):
    embeddings, masks, _ = clip()
    arguments = embeddings, masks[:slots], jnp.zeros(slots, bool)
    np.testing.assert_array_equal(terms(*arguments), 0)
    np.testing.assert_array_equal(gradient_of_total(*arguments), 0)


def test_gradients_are_finite_where_distances_are_zero():
    # A mask of one pixel, a point at its mean, and two instances of the same mean.
    embeddings = jnp.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.0], [3.0, 4.0]])
    owner = jnp.array([0, 1, 2, 2])
    masks = owner == jnp.arange(3)[:, None]
    zeros = jnp.zeros_like(embeddings)
    for points in (embeddings, zeros):
        gradient = gradient_of_total(points, masks, jnp.ones(3, bool))
        assert jnp.isfinite(gradient).all()
    # Also with the hinge at distance zero itself.
    loss = functools.partial(discriminative.terms, attraction_radius=0.0)
    gradient = jax.grad(lambda e: loss(e, masks, jnp.ones(3, bool)).attraction)(zeros)
    np.testing.assert_array_equal(gradient, 0)


def test_vmap_over_frames_is_a_loss_per_frame():
    embeddings, masks, valid = clip()
    each = jax.vmap(discriminative.terms, in_axes=(0, 1, None))(
        embeddings, masks, valid
    )
    for t in range(len(embeddings)):
        alone = terms(embeddings[t], masks[:, t], valid)
        np.testing.assert_allclose([x[t] for x in each], alone, rtol=1e-6)


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_values_and_gradient_equal_the_reference(folder, precision, request):
    arrays = other_figures.load(folder, "discriminative", request)
    tolerance = {"float32": 1e-4, "float64": 1e-9}[precision]
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance)
    cases = {key.partition("__")[0] for key in arrays if "__" in key}
    assert "three" in cases
    with jax.enable_x64(precision == "float64"):
        for name in cases:
            case = {k: arrays[f"{name}__{k}"] for k in ("embeddings", "ids", "means")}
            masks = case["ids"] == np.arange(1, len(case["means"]) + 1).reshape(
                -1, 1, 1, 1
            )
            arguments = (
                jnp.asarray(np.moveaxis(case["embeddings"], 0, -1), precision),
                jnp.asarray(masks),
                jnp.ones(len(masks), bool),
            )
            found = jax.jit(discriminative.terms)(*arguments)
            for term, value in found._asdict().items():
                close(value, arrays[f"{name}__{term}"], atol=tolerance, err_msg=name)
            gradient = np.moveaxis(jax.jit(jax.grad(total))(*arguments), -1, 0)
            close(gradient, arrays[f"{name}__grad_total"], atol=tolerance / 10)
            pooled = arrays[f"{name}__attraction_pixel_pooled"]
            differs = not np.isclose(found.attraction, pooled, rtol=1e-4)
            assert differs == (name == "three")  # the one of several sizes
