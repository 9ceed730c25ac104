"""Errors of depth and of motion, against cases by hand and rotations of SciPy."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stemseg_jax.evaluation import depth

TRUTH = np.array([[1.0, 2.0], [4.0, 8.0]])


def motion(rotation=(0, 0, 0), translation=(0, 0, 1)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def test_errors_by_hand():
    predicted = np.array([[1.5, 2.0], [2.0, 8.0]])  # 1/2 too far, 2 too near
    found = depth.errors(predicted, TRUTH, scale=None)
    assert found == pytest.approx(
        {
            "abs_rel": (0.5 + 0.5) / 4,
            "sq_rel": (0.25 / 1 + 4 / 4) / 4,
            "rmse": math.sqrt((0.25 + 4) / 4),
            "rmse_log": math.sqrt((math.log(1.5) ** 2 + math.log(2) ** 2) / 4),
            "delta<1.25": 0.5,
            "delta<1.25^2": 0.75,  # 1.5 is below 1.5625
            "delta<1.25^3": 0.75,  # 2 is not below 1.953
            "scale": 1.0,
        }
    )


def test_a_quarter_too_far_is_not_below_a_quarter():
    found = depth.errors(np.array([1.25, 1.2]), np.array([1.0, 1.0]), scale=None)
    assert found["delta<1.25"] == 0.5


def test_the_median_scales_the_valid_pixels():
    predicted = np.array([[10.0, 20.0], [30.0, 1e6]])
    valid = np.array([[True, True], [True, False]])
    found = depth.errors(predicted, TRUTH, valid=valid)
    scaled = predicted[valid] * 2 / 20
    assert found["scale"] == pytest.approx(0.1)
    assert found["abs_rel"] == pytest.approx(np.mean(np.abs(scaled / TRUTH[valid] - 1)))


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_a_depth_that_is_right_but_for_its_scale_has_no_error(factor):
    truth = np.random.default_rng(0).uniform(2, 30, (3, 5)).astype(np.float32)
    found = depth.errors(factor * truth, truth)
    assert [found[name] for name in depth.NAMES[:4]] == pytest.approx([0] * 4, abs=1e-5)
    assert [found[name] for name in depth.NAMES[4:7]] == [1, 1, 1]
    assert found["scale"] == pytest.approx(1 / factor, rel=1e-5)
    assert depth.errors(factor * truth, truth, scale=None)["abs_rel"] > 0.5


def test_no_valid_pixel_gives_nan():
    found = depth.errors(TRUTH, TRUTH, valid=np.zeros((2, 2), bool))
    assert tuple(found) == depth.NAMES
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_depth_is_refused_where_it_counts(value):
    wrong = TRUTH.copy()
    wrong[0, 1] = value
    with pytest.raises(ValueError, match="predicted depth: 1 of 4 valid pixels"):
        depth.errors(wrong, TRUTH)
    with pytest.raises(ValueError, match="true depth: 1 of 4.*by `valid`"):
        depth.errors(TRUTH, wrong)
    known = wrong == TRUTH
    assert depth.errors(TRUTH, wrong, valid=known)["abs_rel"] == 0


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="'mean': expected 'median' or None"):
        depth.errors(TRUTH, TRUTH, scale="mean")


def test_errors_of_motion_by_hand():
    straight, sideways = motion(), motion(translation=(3, 0, 0))
    assert depth.direction_error(straight, sideways) == pytest.approx(90)
    assert depth.direction_error(motion(translation=(0, 0, -2)), straight) == (
        pytest.approx(180)
    )
    quarter = motion(rotation=(0, math.pi / 2, 0))
    assert depth.rotation_error(quarter, straight) == pytest.approx(90)
    assert depth.rotation_error(straight, straight) == 0


@pytest.mark.parametrize("angle", [1e-7, 0.01, 1.0, 3.1, math.pi])
def test_rotation_error_is_the_angle_of_the_relative_rotation(angle):
    rng = np.random.default_rng(1)
    first = Rotation.random(6, random_state=1)
    axes = rng.normal(size=(6, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    second = Rotation.from_rotvec(angle * axes) * first
    one, other = np.tile(np.eye(4), (2, 6, 1, 1))
    one[:, :3, :3], other[:, :3, :3] = first.as_matrix(), second.as_matrix()
    found = depth.rotation_error(one, other)
    np.testing.assert_allclose(found, np.rad2deg(angle), rtol=1e-6)
    np.testing.assert_allclose(found, depth.rotation_error(other, one), rtol=1e-6)


def test_direction_error_knows_no_length_and_small_angles():
    one = motion(translation=(0, 0, 2))
    other = motion(rotation=(0.1, 0.2, 0.3), translation=(1e-6, 0, 1))
    assert depth.direction_error(one, other) == pytest.approx(np.rad2deg(1e-6))


def test_a_camera_that_stands_still_has_no_direction():
    still = motion(translation=(0, 0, 0))
    found = depth.direction_error(np.stack([still, motion()]), np.stack([motion()] * 2))
    assert np.isnan(found[0]) and found[1] == 0
    assert depth.rotation_error(still, motion()) == 0


def test_no_motion_at_all():
    none = np.zeros((0, 4, 4))
    assert depth.rotation_error(none, none).shape == (0,)
    assert depth.direction_error(none, none).shape == (0,)
