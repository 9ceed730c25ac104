"""Images in memory: times, choices and what is refused."""

from fractions import Fraction

import numpy as np
import pytest

from stemseg_jax.data import inputs

IMAGES = [np.full((4, 6, 3), 10 * k, np.uint8) for k in range(6)]


def test_a_list_can_be_read_again_and_a_generator_once():
    held = inputs.Arrays(IMAGES)
    assert isinstance(held, inputs.InputVideo)
    assert not held.live and held.num_frames == 6
    for _ in range(2):
        frames = list(held)
        assert [frame.index for frame in frames] == list(range(6))
        assert all(f.image is image for f, image in zip(frames, IMAGES, strict=True))
        assert [f.time for f in frames] == pytest.approx([k / 24 for k in range(6)])
    assert (held.height, held.width) == (4, 6)
    once = inputs.Arrays(iter(IMAGES))
    assert once.live and once.num_frames is None and len(list(once)) == 6


def test_a_choice_counts_by_the_rate_of_the_images():
    choice = inputs.FrameChoice(fps=10, start=0.2, stride=2)
    held = inputs.Arrays(IMAGES, choice=choice)
    assert [frame.image[0, 0, 0] for frame in held] == [20, 40]
    assert [frame.time for frame in held] == pytest.approx([0.2, 0.4])
    assert held.fps == Fraction(5) and held.num_frames == 2


@pytest.mark.parametrize(
    "image", [np.zeros((4, 6)), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3))]
)
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match=r"image 1 is .* expected RGB"):
        list(inputs.Arrays([IMAGES[0], image]))


def test_all_have_one_size():
    with pytest.raises(ValueError, match="image 1 is 6 x 4"):
        list(inputs.Arrays([IMAGES[0], IMAGES[1].swapaxes(0, 1)]))
