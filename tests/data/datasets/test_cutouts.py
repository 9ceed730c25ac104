"""Which objects can be cut out of a video, and of which of its frames."""

import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import cutouts, moving_shapes


def disc(y, x, radius, size=(100, 160)):
    return np.hypot(*(np.indices(size) - np.array([y, x])[:, None, None])) < radius


def test_what_is_cut_out_is_whole_and_neither_large_nor_small():
    assert cutouts.measure(disc(50, 80, 20)) == pytest.approx(
        (50, 80, np.pi * 400), rel=0.01
    )
    assert cutouts.measure(disc(50, 80, 4)) is None
    assert cutouts.measure(disc(50, 80, 45)) is None
    assert cutouts.measure(disc(10, 80, 20)) is None  # cut off by the frame
    assert cutouts.measure(disc(50, 40, 20) | disc(50, 120, 18)) is None
    assert cutouts.measure(disc(50, 80, 20) | disc(50, 120, 5)) is not None


def test_an_object_is_used_while_it_is_fit_to_be_cut_out():
    class Passing(moving_shapes.MovingShapesVideo):
        num_frames, height, width, name, annotated = 20, 100, 160, "passing", True

        def __init__(self):
            pass

        def clip(self, indices):
            masks = np.stack([disc(50, -10 + 10 * t, 15) for t in indices])[None]
            frames = np.zeros((*masks.shape[1:], 3), np.uint8)
            ones, none = np.ones(1, int), np.zeros(masks.shape[1:], bool)
            return readers.RawClip(frames, ones, ones, masks, none)

        def frame(self, index):
            return self.clip([index]).frames[0]

    (instance,) = cutouts.find(Passing())
    assert instance.frames == range(3, 16)
    np.testing.assert_allclose(instance.centres[:, 0], 50, atol=0.01)
    np.testing.assert_allclose(instance.centres[2:-2, 1], np.arange(40, 121, 10))
