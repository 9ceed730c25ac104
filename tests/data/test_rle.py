import numpy as np
import pytest
from pycocotools import mask as coco

from stemseg_jax.data import rle


def blob(rng, size):
    """Smooth enough for runs of all lengths."""
    return rng.random(size).cumsum(axis=0).cumsum(axis=1) % 7 < rng.uniform(1, 6)


def test_by_hand():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)  # columns: 00 10 11
    counts = rle.compress({"counts": [2, 1, 1, 2]}, (2, 3))
    np.testing.assert_array_equal(rle.run_lengths(counts), [2, 1, 1, 2])
    np.testing.assert_array_equal(rle.decode(counts, (2, 3)), mask)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (64, 31), (300, 400)])
def test_equals_pycocotools(size):
    rng = np.random.default_rng(size[0])
    for mask in (blob(rng, size), np.zeros(size, bool), np.ones(size, bool)):
        encoded = coco.encode(np.asfortranarray(mask, np.uint8))
        assert rle.encode(mask) == encoded["counts"]
        np.testing.assert_array_equal(rle.decode(encoded["counts"], size), mask)
        np.testing.assert_array_equal(rle.decode(encoded, size), mask)


def test_polygons_are_drawn_together():
    squares = [[1.0, 1, 4, 1, 4, 4, 1, 4], [6.0, 1, 9, 1, 9, 4, 6, 4]]
    mask = rle.decode(squares, (6, 11))
    assert mask.sum() == 18 and mask[2, 2] and mask[2, 7] and not mask[2, 5]
    arrays = [np.array(square) for square in squares]
    np.testing.assert_array_equal(rle.decode(arrays, (6, 11)), mask)


def test_union():
    first, second = np.zeros((2, 5, 4), bool)
    first[0], second[:, 2] = True, True
    counts = rle.union([rle.encode(first), rle.encode(second)], (5, 4))
    np.testing.assert_array_equal(rle.decode(counts, (5, 4)), first | second)


@pytest.mark.parametrize("counts", [[5, 3], [5, 9], [0]])
def test_runs_that_do_not_fill_the_frame_are_refused(counts):
    with pytest.raises(
        ValueError, match=f"covers {sum(counts)} pixels, but 3 x 4 is 12"
    ):
        rle.decode({"counts": counts}, (3, 4))


@pytest.mark.parametrize("garbage", [b"", b"o", b"OOOO", b"\xff\x00zz", b"]]2;"])
def test_garbage_is_refused(garbage):
    with pytest.raises(ValueError, match="RLE covers"):
        rle.decode(garbage, (3, 4))
