"""What does not change is shown alike; what changes little, little."""

import numpy as np
import pytest

from stemseg_jax.outputs import steady


def embedding(seed=0, dims=5, size=(12, 16)):
    """Four objects of one embedding each, with noise."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(2, 2, dims))
    whole = centres.repeat(size[0] // 2, axis=0).repeat(size[1] // 2, axis=1)
    return (whole + 0.05 * rng.normal(size=whole.shape)).astype(np.float32)


def test_a_static_scene_has_static_colours():
    colours, scene = steady.PrincipalColours(), embedding()
    first = colours.next(scene)
    assert first.min() >= 0 and first.max() <= 1 and np.ptp(first) > 0.7
    for _ in range(20):
        np.testing.assert_allclose(colours.next(scene), first, atol=1e-5)


def test_the_first_frame_has_its_principal_components():
    points = embedding().reshape(-1, 5).astype(np.float64)
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    expected = (points - points.mean(axis=0)) @ axes[:3].T
    shown = steady.PrincipalColours().next(embedding()).reshape(-1, 3)
    inside = ((shown > 0) & (shown < 1)).all(axis=-1)
    for channel in range(3):
        pair = shown[inside, channel], expected[inside, channel]
        assert abs(np.corrcoef(*pair)[0, 1]) > 0.9999


def test_noise_changes_colours_little():
    colours = steady.PrincipalColours()
    first = colours.next(embedding(0))
    for seed in range(1, 20):
        shown = colours.next(embedding(seed))
        blocks = np.abs(shown - first).reshape(2, 6, 2, 8, 3).mean(axis=(1, 3))
        assert blocks.max() < 0.15


def test_components_of_equal_variance_may_turn_and_colours_do_not():
    """Principal components of a ball are any directions, others in each frame."""
    points = np.random.default_rng(0).normal(size=(1600, 3))
    points, _ = np.linalg.qr(points - points.mean(axis=0))  # all variances are equal
    ball = 40 * points.reshape(40, 40, 3)
    colours, plain, last = steady.PrincipalColours(), [], None
    changes = []
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=ball.shape)
        frame = (ball + 0.1 * noise).astype(np.float32)
        plain.append(steady._principal(np.cov(frame.reshape(-1, 3), rowvar=False)))
        shown = colours.next(frame)
        if last is not None:
            changes.append(np.abs(shown - last).mean())
        last = shown
    turned = [np.abs(a - b).max() for a, b in zip(plain, plain[1:], strict=False)]
    assert max(turned) > 0.5  # the plain basis does turn
    assert max(changes) < 0.06


def test_colours_follow_a_scene_that_changes_for_good():
    colours = steady.PrincipalColours()
    colours.next(embedding())
    other = 5 * embedding()[..., ::-1] + 3
    for _ in range(100):
        shown = colours.next(np.ascontiguousarray(other))
    assert np.ptp(shown) > 0.7 and 0.3 < shown.mean() < 0.7


@pytest.mark.parametrize("dims", [1, 2, 3, 8])
def test_any_number_of_dimensions_has_colours(dims):
    shown = steady.PrincipalColours().next(embedding(dims=dims))
    assert shown.shape == (12, 16, 3) and np.isfinite(shown).all()
    if dims == 1:
        assert np.ptp(shown, axis=-1).max() == 0
    if dims == 2:
        assert (shown[..., 2] == 0.5).all()


def test_one_pixel_and_one_value():
    shown = steady.PrincipalColours().next(np.ones((1, 1, 4), np.float32))
    assert np.isfinite(shown).all()


def test_a_range_moves_slowly():
    ends = steady.Range()
    low, high = ends.next(np.linspace(0, 100, 1001))
    assert (low, high) == pytest.approx((2, 98))
    low, high = ends.next(np.linspace(0, 200, 1001))
    assert (low, high) == pytest.approx((2.2, 98 + 9.8))


def test_a_range_without_values():
    ends = steady.Range()
    assert ends.next(np.array([np.nan, np.inf])) == (0, 1)
    ends.next(np.array([5.0]))
    low, high = ends.next(np.array([]))
    assert low == 5 < high
