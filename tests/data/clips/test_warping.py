import cv2
import numpy as np

from stemseg_jax.data.clips import warping


def test_resizing_equals_opencv():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for size in ((30, 40), (45, 60), (20, 31)):
        matrix = warping.resizing((30, 40), size)
        inner = np.s_[2:-2, 2:-2]  # borders blend with the fill in a warp
        ours = warping.warp(image, matrix, size)[inner].astype(int)
        theirs = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[inner]
        assert np.abs(ours - theirs).max() <= 3


def test_affine_turns_about_the_centre():
    quarter = warping.affine((3, 5), rotation=90.0, scale=1.0, translation=(0.0, 0.0))
    np.testing.assert_allclose(quarter @ (2, 1, 1), (2, 1, 1), atol=1e-12)
    np.testing.assert_allclose(quarter @ (3, 1, 1), (2, 2, 1), atol=1e-12)
    shifted = warping.affine((10, 20), rotation=0.0, scale=2.0, translation=(0.1, 0.2))
    np.testing.assert_allclose(shifted @ (9.5, 4.5, 1), (13.5, 5.5, 1))


def test_perspective_spreads_the_inside_over_the_frame():
    same = warping.perspective((30, 40), np.zeros((4, 2)))
    np.testing.assert_allclose(same, np.eye(3), atol=1e-5)
    matrix = warping.perspective((30, 40), np.full((4, 2), 0.1))
    for corner, seen in (((3.5, 2.5), (-0.5, -0.5)), ((35.5, 26.5), (39.5, 29.5))):
        x, y, w = matrix @ (*corner, 1)
        np.testing.assert_allclose((x / w, y / w), seen, atol=1e-4)
