import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import heatmap
from tests import other_figures


def peaks_of(*rows):
    """Peaks of (row, column, height, width)."""
    rows = np.array(rows, np.float32).reshape(-1, 4)
    valid = jnp.ones(len(rows), bool)
    return heatmap.Peaks(jnp.asarray(rows[:, :2]), jnp.asarray(rows[:, 2:]), valid)


def test_a_peak_by_hand():
    # R = 1: sigma = 0.5, so that a neighbour has exp(-2) and a corner exp(-4).
    found = heatmap.render(
        jnp.array([[2.9, 1.2]]), jnp.ones(1), jnp.ones(1, bool), (5, 4)
    )
    expected = np.zeros((5, 4))
    expected[1:4, :3] = np.exp([[-4, -2, -4], [-2, 0, -2], [-4, -2, -4]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_radius_of_a_square_by_hand():
    # 10 x 10: (20 + sqrt(400 - 400 * 0.3 / 1.7)) / 2 and the two other roots.
    cases = (
        (20 + np.sqrt(400 - 400 * 0.3 / 1.7)) / 2,
        (40 + np.sqrt(1600 - 16 * 0.3 * 100)) / 2,
        (-28 + np.sqrt(784 + 16 * 0.7 * 0.3 * 100)) / 2,
    )
    found = heatmap.radius(jnp.array([10.0, 10.0]))
    np.testing.assert_allclose(found, min(cases), rtol=1e-5)
    assert heatmap.radius(jnp.zeros(2)) == 0


def test_a_tiny_object_is_one_cell_and_one_beyond_the_map_is_none():
    found = heatmap.draw(peaks_of((1, 2, 1, 1), (-9, -9, 4, 4)), (4, 5))
    expected = np.zeros((4, 5))
    expected[1, 2] = 1
    np.testing.assert_array_equal(found, expected)


def test_padding_changes_nothing_and_no_object_gives_zeros():
    some = peaks_of((3, 4, 6, 6), (5, 9, 8, 3))
    padded = heatmap.Peaks(
        *(jnp.concatenate([x, jnp.full((2, 2), jnp.float32(3))]) for x in some[:2]),
        jnp.array([True, True, False, False]),
    )
    draw = jax.jit(heatmap.draw, static_argnums=1)
    np.testing.assert_array_equal(draw(some, (12, 16)), draw(padded, (12, 16)))
    nothing = padded._replace(valid=jnp.zeros(4, bool))
    assert not draw(nothing, (12, 16)).any()


def test_the_largest_peak_counts_whatever_the_order():
    some = peaks_of((3, 4, 30, 30), (5, 6, 20, 40))
    other = jax.tree.map(lambda x: x[::-1], some)
    both = heatmap.draw(some, (12, 16))
    np.testing.assert_array_equal(both, heatmap.draw(other, (12, 16)))
    alone = [
        heatmap.draw(peaks_of(row), (12, 16))
        for row in ((3, 4, 30, 30), (5, 6, 20, 40))
    ]
    np.testing.assert_allclose(both, np.maximum(*alone), rtol=1e-5)


def test_noise_has_the_rates_that_are_asked_for():
    count = 4000
    some = heatmap.Peaks(
        jnp.full((count, 2), jnp.float32(50)),
        jnp.tile(jnp.array([20.0, 40.0]), (count, 1)),
        jnp.arange(count) < 3000,
    )
    noise = heatmap.Noise(jitter=0.05, dropped=0.4, spurious=0.1)
    centres, sizes, valid = heatmap.disturb(jax.random.key(1), some, noise)
    own, second = valid[:count], valid[count:]
    assert abs(own.sum() / 3000 - 0.6) < 0.03
    assert abs(second.sum() / own.sum() - 0.1) < 0.03
    assert not own[3000:].any() and not (second & ~own).any()
    moved = centres - 50
    np.testing.assert_allclose(moved.std(axis=0), [1, 2], rtol=0.05)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.1)
    np.testing.assert_array_equal(sizes[:count], some.sizes)


def test_without_noise_the_peaks_stay_as_they_are():
    some = peaks_of((3, 4, 6, 6), (5, 9, 8, 3))
    none = heatmap.Noise(jitter=0.0, dropped=0.0, spurious=0.0)
    found = heatmap.disturb(jax.random.key(0), some, none)
    np.testing.assert_array_equal(
        heatmap.draw(found, (12, 16)), heatmap.draw(some, (12, 16))
    )


@pytest.mark.parametrize("wrong", [dict(jitter=-1.0), dict(dropped=2.0)])
def test_noise_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        heatmap.Noise(**wrong)


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_reference_figures(folder, request):
    arrays = other_figures.load(folder, "centertrack", request)
    radii = heatmap.radius(jnp.asarray(arrays["radius_hw"], jnp.float32))
    np.testing.assert_allclose(radii, arrays["radius"], rtol=1e-4, atol=1e-4)
    centres = jnp.asarray(arrays["render_centers_xy"][:, ::-1], jnp.float32)
    size = arrays["render"].shape
    found = heatmap.render(
        centres,
        jnp.asarray(arrays["render_radius"], jnp.float32),
        jnp.ones(len(centres), bool),
        size,
    )
    np.testing.assert_allclose(found, arrays["render"], rtol=1e-5, atol=1e-5)
