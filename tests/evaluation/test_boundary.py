"""F of all pairs at once against F of one pair after the other."""

import cv2
import numpy as np
import pytest

from stemseg_jax.evaluation import boundary


def outline_by_definition(mask):
    """Row by row and column by column, as the README of the cases words it."""
    marked = np.zeros_like(mask)
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            others = (mask[y, right], mask[below, x], mask[below, right])
            marked[y, x] = any(other != mask[y, x] for other in others)
    return marked


def f_by_definition(truth, proposal):
    return f_of_outlines(outline_by_definition(truth), outline_by_definition(proposal))


def f_of_outlines(true, proposed):
    radius = int(np.ceil(0.008 * np.sqrt(true.shape[0] ** 2 + true.shape[1] ** 2)))
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    if not true.any() or not proposed.any():
        return float(true.any() == proposed.any())
    near_true = cv2.dilate(true.astype(np.uint8), disk).astype(bool)
    near_proposed = cv2.dilate(proposed.astype(np.uint8), disk).astype(bool)
    precision = near_true[proposed].mean()
    recall = near_proposed[true].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def random_labels(rng, shape, count):
    """Overlapping blobs and single pixels, some on the border, some labels unused."""
    labels = np.zeros(shape, np.uint8)
    for label in range(1, count + 1):
        if label % 4 == 3:
            continue
        centre = rng.integers(0, shape[::-1]).tolist()
        axes = rng.integers(1, 2 + max(shape) // 3, 2).tolist()
        cv2.ellipse(labels, centre, axes, float(rng.integers(180)), 0, 360, label, -1)
        labels[tuple(rng.integers(0, shape))] = label
    return labels


def test_a_frame_by_hand():
    truth = np.zeros((5, 6), np.uint8)
    truth[1:3, 2:4] = 1
    # The outline lies on the object and on the pixels above and to the left of it.
    own = boundary.outlines(truth, skipped=0, count=1)
    drawn = np.zeros_like(truth)
    drawn[own.rows, own.columns] = own.owners
    expected = np.zeros_like(truth)
    expected[0:3, 1:4] = 1
    expected[1, 2] = 0  # all its neighbours are of the object
    np.testing.assert_array_equal(drawn, expected)

    # One pixel to the right, within the tolerance of 1, is as good as perfect.
    moved = np.roll(truth, 1, axis=1)
    assert boundary.tolerance(5, 6) == 1
    assert boundary.f_measure(truth, moved, 1, 1) == [[1.0]]
    # Two to the right: its outline has 7 points, as it touches the border. Those in
    # columns 3 and 4 are close to column 3 (5 of 7), of the first outline those in
    # columns 2 and 3 (5 of 8).
    far = np.roll(truth, 2, axis=1)
    assert boundary.f_measure(truth, far, 1, 1) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (7, 1), (12, 20), (60, 110), (40, 250)]
)
def test_all_pairs_equal_one_after_the_other(shape):
    rng = np.random.default_rng(sum(shape))
    truth, proposals = random_labels(rng, shape, 4), random_labels(rng, shape, 7)
    scores = boundary.f_measure(truth, proposals, 4, 7)
    true = [outline_by_definition(truth == label) for label in range(1, 5)]
    proposed = [outline_by_definition(proposals == label) for label in range(1, 8)]
    expected = [[f_of_outlines(t, p) for p in proposed] for t in true]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-15)


def test_more_labels_than_an_integer_has_bits():
    rng = np.random.default_rng(0)
    truth, proposals = (
        random_labels(rng, (50, 60), 3),
        random_labels(rng, (50, 60), 150),
    )
    scores = boundary.f_measure(truth, proposals, 3, 150)
    for label in (1, 64, 65, 66, 128, 129, 150):
        expected = [f_by_definition(truth == g, proposals == label) for g in (1, 2, 3)]
        np.testing.assert_allclose(scores[:, label - 1], expected, rtol=0, atol=1e-15)


def test_f_is_symmetric_and_perfect_for_itself():
    rng = np.random.default_rng(1)
    one, other = random_labels(rng, (90, 160), 6), random_labels(rng, (90, 160), 5)
    forth, back = (
        boundary.f_measure(one, other, 6, 5),
        boundary.f_measure(other, one, 5, 6),
    )
    np.testing.assert_allclose(forth, back.T, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(np.diag(boundary.f_measure(one, one, 6, 6)), 1)


def test_what_has_no_outline():
    nothing, everything = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    part = np.eye(4, dtype=np.uint8)
    assert boundary.f_measure(nothing, everything, 1, 1) == 1  # neither has one
    assert boundary.f_measure(nothing, part, 1, 1) == 0
    assert boundary.f_measure(part, everything, 1, 1) == 0
    assert boundary.f_measure(part, part, 0, 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("size", "radius"), [((480, 854), 8), ((480, 910), 9), ((480, 1152), 10)]
)
def test_tolerance(size, radius):
    assert boundary.tolerance(*size) == radius
