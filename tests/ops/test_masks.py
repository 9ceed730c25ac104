import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import masks


def test_one_cell_by_hand():
    mask = np.zeros((4, 8), bool)
    mask[1:3, 1:3] = True  # the central four of the left cell, a quarter of it
    mask[:, 5:7] = True  # half of the right cell
    mask = jnp.asarray(mask)
    np.testing.assert_array_equal(masks.central_and(mask), [[True, True]])
    np.testing.assert_array_equal(masks.fraction(mask), [[0.25, 0.5]])
    np.testing.assert_array_equal(masks.majority(mask), [[False, True]])
    np.testing.assert_array_equal(
        masks.central_and(mask & (jnp.arange(4) != 2)[:, None]), [[False, False]]
    )


@pytest.mark.parametrize("size", [(8, 8), (32, 64), (3, 2, 96, 128)])
@pytest.mark.parametrize("stride", [4, 8])
def test_central_and_is_bilinear_resizing_cut_to_integers(size, stride):
    mask = np.random.default_rng(0).random(size) < 0.8
    expected = [
        cv2.resize(
            m, None, fx=1 / stride, fy=1 / stride, interpolation=cv2.INTER_LINEAR
        )
        for m in mask.reshape(-1, *size[-2:]).astype(np.float32)
    ]
    result = masks.central_and(jnp.asarray(mask), stride)
    assert result.shape == (*size[:-2], size[-2] // stride, size[-1] // stride)
    np.testing.assert_array_equal(
        result, np.reshape(expected, result.shape).astype(np.uint8) == 1
    )


def test_ignored_cells_by_hand():
    """A row of six cells: object, object, border, ignored ground, padding, padding."""
    mask = np.zeros((1, 1, 4, 24), bool)
    mask[..., :10] = True  # two cells and half of the third
    ignore = np.zeros((1, 4, 24), bool)
    ignore[..., 10:17] = True  # the rest of the frame, one pixel into the fifth cell
    small = masks.central_and(jnp.asarray(mask))
    np.testing.assert_array_equal(small[0, 0, 0], [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(
        masks.ignored(jnp.asarray(ignore), small)[0, 0], [0, 0, 1, 1, 1, 0]
    )
    # What belongs to an object stays with it, however little of it is ignored.
    ignore[..., 3] = True
    np.testing.assert_array_equal(
        masks.ignored(jnp.asarray(ignore), small)[0, 0], [0, 0, 1, 1, 1, 0]
    )
    without = jnp.zeros((0, 1, 1, 6), bool)
    np.testing.assert_array_equal(
        masks.ignored(jnp.asarray(ignore), without)[0, 0], [1, 0, 1, 1, 1, 0]
    )


def test_fraction_keeps_the_area():
    mask = jnp.asarray(np.random.default_rng(0).random((3, 16, 24)) < 0.5)
    np.testing.assert_allclose(masks.fraction(mask).sum() * 16, mask.sum())


@pytest.mark.parametrize("rule", masks.TO_STRIDE)
def test_full_and_empty_masks_stay_so(rule):
    full = masks.TO_STRIDE[rule](jnp.ones((2, 8, 12), bool))
    assert full.shape == (2, 2, 3) and full.all()
    assert not masks.TO_STRIDE[rule](jnp.zeros((2, 8, 12), bool)).any()
    assert masks.TO_STRIDE[rule](jnp.zeros((0, 8, 12), bool)).shape == (0, 2, 3)


def test_outlines_by_hand():
    shapes = np.zeros((3, 4, 6), bool)
    shapes[0, 1:3, 2:5] = True
    shapes[0, 3, 2] = True
    shapes[1, 0, 5] = True
    found = masks.outlines(jnp.asarray(shapes))
    np.testing.assert_array_equal(found.cells, [7, 1, 0])
    np.testing.assert_allclose(found.centres, [[12 / 7, 20 / 7], [0, 5], [0, 0]])
    np.testing.assert_array_equal(found.middles, [[2, 3], [0, 5], [0, 0]])
    np.testing.assert_array_equal(found.sizes, [[3, 3], [1, 1], [0, 0]])


def test_outlines_equal_numpy_whatever_the_leading_axes():
    shapes = np.random.default_rng(0).random((2, 3, 7, 5)) < 0.1
    found = jax.jit(masks.outlines)(jnp.asarray(shapes))
    for index in np.ndindex(2, 3):
        places = np.argwhere(shapes[index])
        assert found.cells[index] == len(places)
        if len(places):
            low, high = places.min(axis=0), places.max(axis=0)
            np.testing.assert_allclose(found.centres[index], places.mean(axis=0), 1e-6)
            np.testing.assert_array_equal(found.middles[index], (low + high) / 2)
            np.testing.assert_array_equal(found.sizes[index], high - low + 1)
