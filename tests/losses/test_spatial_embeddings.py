"""The embedding loss against SpatialEmbeddings, whose loss it descends from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import embedding
from tests import other_figures


def their_loss(prediction, ids, grid):
    """Of one image [C H W], by our terms.

    Theirs has exp(-s d^2) with s = exp(10 v), v averaged before the exponential, and
    weighs the squares of seeds within instances by 10, those of variances by 10.
    """
    offsets, logits = prediction[:2], prediction[-1]
    v = jnp.broadcast_to(prediction[2:-1], offsets.shape)  # one may serve both axes
    masks = ids[None] == jnp.arange(1, ids.max() + 1)[:, None, None]
    mean = (v[:, None] * masks).sum(axis=(2, 3)) / masks.sum(axis=(1, 2))  # [V N]
    v_of_owner = (mean[..., None, None] * masks).sum(axis=1)  # [V H W]
    seediness = jax.nn.sigmoid(logits)
    arguments = dict(
        masks=jnp.asarray(masks)[:, None],
        valid=jnp.ones(len(masks), bool),
        ignore=jnp.zeros((1, *ids.shape), bool),
        seediness_mean="points",
    )

    def terms(v, seediness):
        return embedding.terms(
            jnp.moveaxis(jnp.tanh(offsets) + grid, 0, -1)[None],
            jnp.moveaxis(v, 0, -1)[None],
            seediness[None],
            **arguments,
        )

    # 2 exp(10 v) as 10 exp(u), the same all over an instance.
    found = terms(10 * v_of_owner + np.log(0.2), seediness)
    inside = terms(
        10 * v_of_owner + np.log(0.2), jnp.where(masks.any(axis=0), seediness, 0)
    )
    return {
        "inst": found.overlap,
        "var": terms(v, seediness).smoothness,
        "seed": found.seediness + 9 * inside.seediness,
    }


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_values_and_gradient_equal_the_reference(folder, request):
    arrays = other_figures.load(folder, "spatial_embeddings", request)
    ids, grid = arrays["ids"].astype(int), arrays["xym"]
    for kind in ("ns1", "ns2"):
        if f"pred_{kind}" not in arrays:
            continue  # one of the two is kept here
        predictions = jnp.asarray(arrays[f"pred_{kind}"])

        def total(predictions):
            pairs = zip(predictions, ids, strict=True)
            each = [their_loss(*pair, grid) for pair in pairs]
            terms = {name: sum(e[name] for e in each) / len(ids) for name in each[0]}
            return terms["inst"] + 10 * terms["var"] + terms["seed"], terms

        (value, terms), gradient = jax.value_and_grad(total, has_aux=True)(predictions)
        for name, found in {**terms, "total": value}.items():
            expected = arrays[f"loss__{kind}_center0__{name}"]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        expected = arrays[f"grad__{kind}_center0__total"]
        # The hinge sorts its errors: points whose errors are equal up to rounding may
        # change places, and their gradients with them.
        agree = np.isclose(gradient, expected, rtol=1e-4, atol=1e-5)
        assert (~agree).mean() < 5e-4
        np.testing.assert_allclose(gradient, expected, atol=5e-4)


def test_dice_in_place_of_the_hinge():
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 1, 4, 6), bool)
    masks[0, 0, :2, :3] = masks[1, 0, 2:, 3:] = True
    arguments = dict(
        embeddings=jnp.asarray(rng.normal(size=(1, 4, 6, 2)), jnp.float32),
        log_bandwidths=jnp.zeros((1, 4, 6, 2)),
        seediness=jnp.asarray(rng.random((1, 4, 6)), jnp.float32),
        masks=jnp.asarray(masks),
        valid=jnp.ones(2, bool),
        ignore=jnp.zeros((1, 4, 6), bool),
    )
    hinge, dice = (
        embedding.terms(**arguments, overlap=name) for name in ("lovasz", "dice")
    )
    e = np.asarray(arguments["embeddings"])[0]
    expected = []
    for mask in masks[:, 0]:
        p = np.exp(-5 * np.square(e - e[mask].mean(axis=0)).sum(axis=-1))
        expected.append(1 - 2 * p[mask].sum() / (p.sum() + mask.sum()))
    np.testing.assert_allclose(dice.overlap, np.mean(expected), rtol=1e-5)
    assert hinge.overlap != dice.overlap
    assert hinge[1:] == dice[1:]


def test_the_mean_over_points_counts_each_alike():
    masks = np.zeros((1, 1, 1, 6), bool)
    masks[..., :2] = True
    ignore = np.zeros((1, 1, 6), bool)
    ignore[..., 0], ignore[..., 5] = True, True  # of the object's, it counts
    terms = embedding.terms(
        jnp.zeros((1, 1, 6, 2)),  # so that p is 1 everywhere
        jnp.zeros((1, 1, 6, 2)),
        jnp.array([[[0.5, 1.0, 0.2, 0.0, 0.4, 9.0]]]),
        jnp.asarray(masks),
        jnp.ones(1, bool),
        jnp.asarray(ignore),
        seediness_mean="points",
    )
    np.testing.assert_allclose(terms.seediness, (0.25 + 0.04 + 0.16) / 5, rtol=1e-6)
