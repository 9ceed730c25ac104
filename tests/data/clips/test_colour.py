import numpy as np
import pytest

from stemseg_jax.data.clips import colour


def test_brightness_stops_at_black_and_white():
    image = np.array([[[0, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(colour.brighten(image, 20), [[[20, 120, 255]]])
    np.testing.assert_array_equal(colour.brighten(image, -20), [[[0, 80, 230]]])


def test_hue_turns_red_towards_yellow():
    red = np.array([[[200, 0, 0]]], np.uint8)
    turned = colour.shift_hue_and_saturation(red, 20)[0, 0].astype(int)
    assert turned[0] == 200 and turned[1] > 50 and turned[2] == 0
    grey = np.full((2, 2, 3), 90, np.uint8)
    np.testing.assert_array_equal(colour.shift_hue_and_saturation(grey, -5), grey)


@pytest.mark.parametrize("length", [9, 11])
def test_motion_kernels_are_lines_of_weight_one(length):
    straight = colour.motion_kernel(length=length, angle=0.0, direction=0.0)
    middle = np.zeros((length, length))
    middle[:, length // 2] = 1 / length
    np.testing.assert_allclose(straight, middle, atol=1e-6)
    for angle in (30.0, 77.0, 200.0):
        kernel = colour.motion_kernel(length=length, angle=angle, direction=0.4)
        assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0
    one_sided = colour.motion_kernel(length=length, angle=0.0, direction=-1.0)
    assert one_sided[0].sum() == 0 and one_sided[-1].sum() > 0.1


def test_blur_keeps_flat_regions():
    flat = np.full((20, 20, 3), 77, np.uint8)
    blurred = colour.blur_motion(flat, length=9, angle=30.0, direction=0.5)
    np.testing.assert_array_equal(blurred, flat)


def test_factors_by_hand():
    image = np.array([[[100, 150, 200], [0, 0, 0]]], np.uint8)
    brighter = [[[120, 180, 240], [0, 0, 0]]]
    np.testing.assert_array_equal(colour.scale_brightness(image, 1.2), brighter)
    stopped = [[[200, 255, 255], [0, 0, 0]]]
    np.testing.assert_array_equal(colour.scale_brightness(image, 2.0), stopped)
    # Grey is 0.299 R + 0.587 G + 0.114 B: 141 here, and 70.5 on average.
    flatter = [[[85, 110, 135], [35, 35, 35]]]
    contrast = colour.scale_contrast(image, 0.5).astype(int)
    assert np.abs(contrast - flatter).max() <= 1
    greyer = [[[120, 145, 170], [0, 0, 0]]]
    saturation = colour.scale_saturation(image, 0.5).astype(int)
    assert np.abs(saturation - greyer).max() <= 1
    assert np.ptp(colour.scale_saturation(image, 0.0), axis=-1).max() == 0
    for change in (
        colour.scale_brightness,
        colour.scale_contrast,
        colour.scale_saturation,
    ):
        np.testing.assert_array_equal(change(image, 1.0), image)


def test_a_third_of_a_turn_makes_red_green():
    red = np.array([[[200, 0, 0]]], np.uint8)
    green, blue = colour.turn_hue(red, 1 / 3), colour.turn_hue(red, -1 / 3)
    assert np.abs(green.astype(int) - [[[0, 200, 0]]]).max() <= 6
    assert np.abs(blue.astype(int) - [[[0, 0, 200]]]).max() <= 6
    np.testing.assert_array_equal(colour.turn_hue(red, 0.0), red)
