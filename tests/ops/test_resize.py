import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import mixing, resize


def test_doubling_by_hand():
    x = jnp.array([0.0, 4.0]).reshape(1, 2, 1)
    np.testing.assert_allclose(resize.linear(x, (4,)).ravel(), [0, 1, 3, 4])


def test_halving_does_not_smooth():
    x = jnp.arange(8.0).at[0].set(100).reshape(1, 8, 1)
    # Cell o lies at 4 o + 1.5: between the second and the third.
    np.testing.assert_allclose(resize.linear(x, (2,)).ravel(), [1.5, 5.5])


@pytest.mark.parametrize("size", [(6, 10), (9, 16), (3, 5), (7, 4)])
def test_equals_opencv(size):
    x = np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)
    expected = cv2.resize(x, size[::-1], interpolation=cv2.INTER_LINEAR)
    result = resize.linear(jnp.asarray(x)[None], size)[0]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_trilinear_is_one_axis_after_the_other():
    x = jnp.asarray(np.random.default_rng(0).random((2, 2, 3, 4, 5)), jnp.float32)
    together = jax.jit(resize.linear, static_argnums=1)(x, (4, 6, 8))
    frames = resize.linear(x.reshape(2, 2, -1, 1), (4, 60)).reshape(2, 4, 3, 4, 5)
    cells = resize.linear(frames.reshape(8, 3, 4, 5), (6, 8)).reshape(2, 4, 6, 8, 5)
    np.testing.assert_allclose(together, cells, atol=1e-6)


def test_the_same_size_changes_nothing():
    x = jnp.asarray(np.random.default_rng(0).random((1, 3, 4, 2)), jnp.float32)
    np.testing.assert_array_equal(resize.linear(x, (3, 4)), x)


def test_labels_meet_half_way_and_leave_the_unlabelled():
    maps = jnp.array([[[0, 1], [-1, -1]]])
    enlarged = resize.labels(maps, (4, 4))
    np.testing.assert_array_equal(
        enlarged[0], [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [-1, -1, -1, -1]]
    )


def test_enlarged_labels_do_not_invent_a_third_between_two():
    maps = jnp.array([[[0, 2, 2, 1, 0]]])
    enlarged = np.asarray(resize.labels(maps, (4, 20)))
    assert (enlarged == np.repeat(maps[0], 4, axis=1)).all()


def test_half_way_the_lowest_label_has_it():
    for maps in ([[1, 0]], [[0, 1]]):
        enlarged = resize.labels(jnp.array([maps]), (1, 3))
        np.testing.assert_array_equal(enlarged[0, 0], [maps[0][0], 0, maps[0][1]])


def test_enlarged_labels_equal_the_largest_of_enlarged_masks():
    rng = np.random.default_rng(0)
    maps = rng.integers(-1, 4, (2, 5, 7), np.int32)
    shares = np.stack(
        [
            [cv2.resize((frame == k).astype(np.float32), (28, 20)) for frame in maps]
            for k in range(4)
        ]
    )
    expected = np.where(shares.max(0) > 0, shares.argmax(0), -1)
    got = np.asarray(resize.labels(jnp.asarray(maps), (20, 28)))
    clear = np.sort(shares, axis=0)[-1] - np.sort(shares, axis=0)[-2] > 1e-6
    np.testing.assert_array_equal(got[clear], expected[clear])
    assert clear.mean() > 0.8


def test_aligned_corners_by_hand():
    x = jnp.array([[0.0, 3.0]])[..., None]
    found = resize.linear_corners(x, (2, 4))
    np.testing.assert_allclose(found[..., 0], [[0, 1, 2, 3], [0, 1, 2, 3]], atol=1e-6)


@pytest.mark.parametrize("size", [(6, 10), (1, 3), (5, 1), (1, 1)])
def test_aligned_corners_equal_numpy(size):
    x = np.random.default_rng(0).random((2, *size, 3), np.float32)
    larger = (4 * size[0], 4 * size[1])
    expected = x
    for axis, (old, new) in enumerate(zip(size, larger, strict=True), start=1):
        places = np.linspace(0, old - 1, new)
        expected = np.apply_along_axis(
            lambda line, places=places: np.interp(places, range(len(line)), line),
            *(axis, expected),
        )
    found = resize.linear_corners(jnp.asarray(x), larger)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(
        jax.vmap(lambda x: resize.linear_corners(x, larger))(jnp.asarray(x)),
        *(found,),
        atol=1e-6,
    )


def test_the_grid_enlarged_is_the_grid_of_the_larger_map():
    small, large = (mixing.get("xy").grid((1, *s))[0] for s in ((6, 10), (24, 40)))
    np.testing.assert_allclose(resize.linear_corners(small, (24, 40)), large, atol=2e-6)


def test_values_of_nearest_cells():
    values = jnp.arange(12.0).reshape(3, 4)
    places = jnp.array([[0.4, 1.6], [2.0, 3.0], [-5.0, 9.0], [1.2, 0.5]])
    np.testing.assert_array_equal(resize.nearest(values, places), [2, 11, 3, 4])
