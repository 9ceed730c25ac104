"""Objects laid over frames: where they go, who owns a pixel, how edges look."""

import math

import numpy as np
import pytest

from stemseg_jax.data import composition

GREEN, RED, BLUE = (0, 200, 0), (200, 0, 0), (0, 0, 200)
SIZE = (40, 60)


def frame(colour=GREEN, size=SIZE):
    return np.full((*size, 3), colour, np.uint8)


def rectangle(top, left, bottom, right, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def layer(mask, owner, *, colour=RED, matrix=None):
    cutout = composition.cut(frame(colour), mask)
    return composition.Layer(cutout, np.eye(3) if matrix is None else matrix, owner)


def moved(down, right):
    matrix = np.eye(3)
    matrix[:2, 2] = right, down
    return matrix


def centre_of(mask):
    return np.argwhere(mask).mean(axis=0)


def test_an_object_that_is_not_moved_owns_its_mask():
    mask = rectangle(10, 20, 30, 40)
    image, owners = composition.compose(frame(), [layer(mask, 3)])
    corners = [(10, 10, 29, 29), (20, 39, 20, 39)]  # the blur rounds them off
    mask[corners] = owners[corners] == 3
    np.testing.assert_array_equal(owners == 3, mask)
    assert (image[14:26, 24:36] == RED).all()
    assert (image[:6] == GREEN).all() and (image[:, :16] == GREEN).all()


def test_without_layers_the_frame_stays_and_is_not_written_into():
    plain = frame()
    image, owners = composition.compose(plain, [])
    np.testing.assert_array_equal(image, plain)
    assert not owners.any()
    composition.compose(plain, [layer(rectangle(5, 5, 20, 20), 1)])
    assert (plain == GREEN).all()


def test_the_last_layer_is_in_front_and_0_gives_pixels_back():
    first, second = rectangle(5, 5, 25, 30), rectangle(15, 20, 35, 50)
    layers = [layer(first, 1), layer(second, 2, colour=BLUE)]
    image, owners = composition.compose(frame(), layers)
    assert owners[20, 25] == 2 and tuple(image[20, 25]) == BLUE
    assert owners[10, 10] == 1 and tuple(image[10, 10]) == RED
    image, owners = composition.compose(frame(), layers[::-1])
    assert owners[20, 25] == 1 and tuple(image[20, 25]) == RED
    own = composition.Layer(composition.cut(frame(), second), np.eye(3), 0)
    image, owners = composition.compose(frame(), [layers[0], own])
    assert owners[20, 25] == 0 and tuple(image[20, 25]) == GREEN


@pytest.mark.parametrize("shift", [(0, 0), (-25, 0), (0, 45), (-300, 0), (0, 300)])
def test_what_leaves_the_frame_is_cut_off(shift):
    mask = rectangle(10, 20, 30, 40)
    _, owners = composition.compose(frame(), [layer(mask, 1, matrix=moved(*shift))])
    expected = np.zeros(SIZE, bool)
    y, x = np.argwhere(mask).T + np.array(shift)[:, None]
    inside = (y >= 0) & (y < SIZE[0]) & (x >= 0) & (x < SIZE[1])
    expected[y[inside], x[inside]] = True
    assert np.abs(owners.astype(bool).sum() - expected.sum()) <= 4  # its corners
    assert not (owners.astype(bool) & ~expected).any()


def test_an_edge_is_soft_and_the_mask_ends_in_its_middle():
    mask = rectangle(10, 20, 30, 40)
    image, owners = composition.compose(frame((0, 0, 0)), [layer(mask, 1)])
    profile = image[20, 15:26, 0].astype(int)  # over the left edge
    assert (np.diff(profile) >= 0).all()
    assert 0 < profile[4] < 100 < profile[5] < 200
    assert owners[20, 19] == 0 and owners[20, 20] == 1


def test_the_background_of_a_cutout_does_not_shine_through_at_its_edge():
    mask = rectangle(10, 20, 30, 40)
    source = frame(BLUE)
    source[mask] = RED
    source[10, 20:40] = 100, 0, 100  # the edge is a mixture of both
    cutout = composition.cut(source, mask)
    assert cutout.image[..., 2].max() < 10
    image, _ = composition.compose(frame(), [composition.Layer(cutout, np.eye(3), 1)])
    assert image[..., 2].max() < 10


def test_a_thin_object_keeps_its_colours():
    mask = rectangle(10, 20, 30, 21)
    cutout = composition.cut(frame(RED), mask)
    assert (cutout.image == RED).all()


def test_placing_puts_the_anchor_at_the_pose():
    anchor = np.array([12.0, 34.0])
    pose = np.array([0.25, 0.75, math.log(2), 0.3])
    for mirrored in (False, True):
        matrix = composition.placing(
            pose, anchor=anchor, size=(80, 120), mirrored=mirrored
        )
        x, y, _ = matrix @ (34, 12, 1)
        assert (y, x) == pytest.approx((0.25 * 80 - 0.5, 0.75 * 120 - 0.5))
        assert np.linalg.det(matrix) == pytest.approx(-4 if mirrored else 4)
    # Clockwise as seen: what lay on the right of the anchor lies lower.
    quarter = composition.placing(
        np.array([0.5, 0.5, 0, math.pi / 2]), anchor=anchor, size=(80, 120)
    )
    x, y, _ = quarter @ (34 + 5, 12, 1)
    assert (y, x) == pytest.approx((39.5 + 5, 59.5))


def test_an_object_is_seen_where_it_was_placed():
    mask = rectangle(10, 20, 20, 30)
    matrix = composition.placing(
        np.array([0.5, 0.25, math.log(1.5), 0.4]), anchor=centre_of(mask), size=SIZE
    )
    _, owners = composition.compose(frame(), [layer(mask, 1, matrix=matrix)])
    expected = 0.5 * SIZE[0] - 0.5, 0.25 * SIZE[1] - 0.5
    np.testing.assert_allclose(centre_of(owners == 1), expected, atol=0.3)
    assert (owners == 1).sum() == pytest.approx(1.5**2 * 100, rel=0.05)


def test_light_is_matched_as_far_as_asked():
    rng = np.random.default_rng(0)
    pixels = rng.normal((100, 120, 90), (20, 10, 30), (4000, 3))
    own = composition.colours(pixels.round().astype(np.uint8))
    np.testing.assert_allclose(own[0], pixels.mean(axis=0), atol=0.5)
    np.testing.assert_allclose(own[1], pixels.std(axis=0), atol=0.5)
    around = np.array([[140.0, 100, 100], [30.0, 12, 25]])
    gain, offset = composition.matching_light(own, around, degree=1.0)
    np.testing.assert_allclose(own[0] * gain + offset, around[0])
    np.testing.assert_allclose(own[1] * gain, around[1])
    gain, offset = composition.matching_light(own, around, degree=0.0)
    np.testing.assert_allclose([gain, offset], [np.ones(3), np.zeros(3)])
    cutout = composition.cut(
        frame((100, 50, 250)),
        rectangle(5, 5, 20, 20),
        light=np.array([[1.1, 1, 1.1], [10, -60, 0]]),
    )
    assert (cutout.image == (120, 0, 255)).all()


def test_an_object_that_stays_has_its_centre_in_the_frame():
    for seed in range(50):
        motion = composition.draw_object_motion(
            np.random.default_rng(seed), num_frames=40, scale=1.0, stays=True
        )
        centres = np.array([motion.at(t)[:2] for t in range(400)])
        assert (centres >= 0.1).all() and (centres <= 0.9).all()


def test_an_object_that_crosses_is_met_and_moves_at_a_plausible_speed():
    left = 0
    for seed in range(200):
        motion = composition.draw_object_motion(
            np.random.default_rng(seed), num_frames=40, scale=1.0, stays=False
        )
        centres = np.array([motion.at(t)[:2] for t in range(40)])
        inside = ((centres >= 0) & (centres <= 1)).all(axis=1)
        assert inside.any()
        left += not inside.all()
        assert np.linalg.norm(np.diff(centres, axis=0), axis=1).max() < 0.025
    assert 20 < left < 150


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (120, 120)])
def test_a_camera_sees_nothing_beyond_its_still(size):
    corners = [(0, 0), (0, size[0] - 1), (size[1] - 1, 0), (size[1] - 1, size[0] - 1)]
    for seed in range(30):
        motion = composition.draw_camera_motion(np.random.default_rng(seed))
        for t in range(0, 200, 3):
            matrix = composition.placing(
                motion.at(t), anchor=(np.array(size) - 1) / 2, size=size
            )
            for x, y in corners:
                x, y, _ = np.linalg.inv(matrix) @ (x, y, 1)
                assert -0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5


def test_the_camera_moves_image_and_labels_alike():
    mask = rectangle(10, 20, 30, 40)
    image = frame()
    image[mask] = RED
    matrix = composition.placing(
        np.array([0.52, 0.49, 0.25, 0.02]), anchor=np.array([19.5, 29.5]), size=SIZE
    )
    seen = composition.seen_by_camera(image, matrix)
    labels = composition.seen_by_camera(mask.astype(np.uint16), matrix, nearest=True)
    np.testing.assert_array_equal(seen[..., 0] > 100, labels == 1)
