"""Cells of the canvas beyond a clip: its losses are those of the clip alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import embedding, segmentation
from stemseg_jax.ops import masks as masks_ops

T, H, W, N = 2, 12, 16, 3  # the canvas in cells, of which a clip covers
ROWS, COLUMNS = 7, 10


def cells():
    """Random maps over the whole canvas; masks within the clip, ignored ground too."""
    rng = np.random.default_rng(0)
    masks = np.zeros((N, T, H, W), bool)
    for n, mask in enumerate(masks):
        mask[:, 1 + n : 4 + n, 2 * n : 2 * n + 4] = True
    ignore = rng.random((T, H, W)) < 0.1
    ignore[:, ROWS:] = ignore[:, :, COLUMNS:] = True
    maps = {
        "embeddings": rng.normal(0, 0.5, (T, H, W, 2)).astype(np.float32),
        "log_bandwidths": rng.normal(0, 0.5, (T, H, W, 2)).astype(np.float32),
        "seediness": rng.random((T, H, W), np.float32),
        "masks": masks,
        "ignore": ignore,
    }
    return {name: jnp.asarray(value) for name, value in maps.items()}


def own(name, value):
    """The part of the clip."""
    rows, columns = slice(ROWS), slice(COLUMNS)
    last_two = name in ("masks", "seediness", "ignore")
    return value[..., rows, columns] if last_two else value[:, rows, columns]


def outside():
    return masks_ops.outside(jnp.array([4 * ROWS, 4 * COLUMNS]), (T, H, W), stride=4)


def test_cells_beyond_are_those_of_no_row_or_column_of_the_clip():
    expected = np.ones((T, H, W), bool)
    expected[:, :ROWS, :COLUMNS] = False
    np.testing.assert_array_equal(outside(), expected)
    assert masks_ops.outside(None, (T, H, W), stride=4) is None


@pytest.mark.parametrize("parity", ["paper", "released"])
@pytest.mark.parametrize("overlap", ["lovasz", "dice"])
@pytest.mark.parametrize("seediness_mean", ["instances", "points"])
@pytest.mark.parametrize("instances", [N, 0])
def test_embedding_terms(parity, overlap, seediness_mean, instances):
    valid = jnp.arange(N) < instances
    options = dict(overlap=overlap, seediness_mean=seediness_mean, parity=parity)
    whole = cells()
    part = {name: own(name, value) for name, value in whole.items()}
    expected = embedding.terms(**part, valid=valid, **options)
    found = embedding.terms(**whole, valid=valid, **options, outside=outside())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if instances and parity == "released":  # which minds no ignored ground
        plain = embedding.terms(**whole, valid=valid, **options)
        assert abs(plain.overlap - expected.overlap) > 1e-3

    def loss(seediness):
        changed = {**whole, "seediness": seediness}
        return sum(
            embedding.terms(**changed, valid=valid, **options, outside=outside())
        )

    gradient = np.array(jax.grad(loss)(whole["seediness"]))
    assert not gradient[np.array(outside())].any()


@pytest.mark.parametrize("parity", ["paper", "released"])
def test_classes(parity):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(T, H, W, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (T, H, W)), jnp.int32)
    ignore = cells()["ignore"]
    expected = segmentation.semantic(
        logits[:, :ROWS, :COLUMNS],
        labels[:, :ROWS, :COLUMNS],
        ignore[:, :ROWS, :COLUMNS],
        parity=parity,
    )
    found = segmentation.semantic(
        logits, labels, ignore, parity=parity, outside=outside()
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
