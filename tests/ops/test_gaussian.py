import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from stemseg_jax.ops import gaussian


def test_bandwidths_by_hand():
    result = gaussian.bandwidths(jnp.array([[0.0, np.log(2.0)]]), (0.5, 0.1))
    np.testing.assert_allclose(result, [[10, 20, 4, 100]], rtol=1e-6)


@pytest.mark.parametrize("std", [0.05, 0.3, 2.0])
def test_a_deviation_becomes_the_output_that_gives_it(std):
    output = jnp.full((3, 2), gaussian.log_bandwidth(std))
    np.testing.assert_allclose(gaussian.bandwidths(output), std**-2, rtol=1e-5)


def test_without_free_dimensions_there_are_just_the_predicted():
    assert gaussian.bandwidths(jnp.zeros((4, 5, 3))).shape == (4, 5, 3)


@pytest.mark.parametrize("shape", [(7, 2), (3, 4, 5), (2, 3, 4, 5)])
def test_squared_distances_equal_scipys_mahalanobis(shape):
    rng = np.random.default_rng(0)
    points, centre = rng.normal(size=shape), rng.normal(size=shape[-1])
    bandwidths = rng.uniform(1, 9, shape[-1])
    result = gaussian.squared_distances(
        *(jnp.asarray(x, jnp.float32) for x in (points, centre, bandwidths))
    )
    expected = [
        distance.mahalanobis(point, centre, np.diag(bandwidths)) ** 2
        for point in points.reshape(-1, shape[-1])
    ]
    np.testing.assert_allclose(result, np.reshape(expected, shape[:-1]), rtol=1e-5)


def test_probability_is_one_at_the_centre_and_one_half_at_its_radius():
    bandwidths = jnp.array([4.0, 1.0])
    centre = jnp.array([0.3, -2.0])
    radius = np.sqrt(2 * np.log(2) / 4)  # along the first dimension
    points = jnp.stack([centre, centre + jnp.array([radius, 0.0])])
    result = gaussian.probabilities(points, centre, bandwidths)
    np.testing.assert_allclose(result, [1, 0.5], rtol=1e-6)


def test_vmap_over_centres_under_jit():
    rng = np.random.default_rng(0)
    points, centres = (
        jnp.asarray(rng.normal(size=(n, 3)), jnp.float32) for n in (6, 4)
    )
    many = jax.jit(jax.vmap(gaussian.probabilities, (None, 0, 0)))
    result = many(points, centres, jnp.ones((4, 3)))
    expected = np.exp(-0.5 * distance.cdist(centres, points, "sqeuclidean"))
    np.testing.assert_allclose(result, expected, rtol=1e-5)
