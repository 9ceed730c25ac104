import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from stemseg_jax.ops import warp
from tests import other_figures

K = jnp.array([[20.0, 0, 9.5], [0, 25, 5.5], [0, 0, 1]])
STILL = jnp.eye(4)
pose_matrix = jax.jit(warp.pose_matrix, static_argnames="inverse")
view = jax.jit(warp.view)


def rng_of(*sizes, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=sizes), jnp.float32)


def test_a_quarter_turn_and_a_step_by_hand():
    pose = pose_matrix(jnp.array([0, 0, np.pi / 2]), jnp.array([1.0, 2, 3]))
    # (1, 0, 0) turns to (0, 1, 0), then goes to (1, 3, 3).
    np.testing.assert_allclose(
        pose @ jnp.array([1.0, 0, 0, 1]), [1, 3, 3, 1], atol=1e-6
    )
    back = pose_matrix(
        jnp.array([0, 0, np.pi / 2]), jnp.array([1.0, 2, 3]), inverse=True
    )
    np.testing.assert_allclose(back @ pose, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.0316, 0.0317, 1.0, 3.1])
def test_rotations_equal_scipy_at_all_angles(angle):
    axes = rng_of(2, 3)
    axes = angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    pose = pose_matrix(jnp.asarray(axes), jnp.zeros((2, 3)))
    expected = Rotation.from_rotvec(axes).as_matrix()
    np.testing.assert_allclose(pose[:, :3, :3], expected, atol=1e-6)


def test_the_gradient_of_a_camera_that_stands_still_is_that_of_the_generators():
    still = jnp.zeros(3)
    turn = jax.jit(jax.jacobian(lambda w: pose_matrix(w, still)[:3, :3]))(still)
    # d R / d w_z at 0 turns x to y.
    np.testing.assert_allclose(turn[..., 2], [[0, -1, 0], [1, 0, 0], [0, 0, 0]])
    assert jnp.isfinite(turn).all()


def test_the_gradient_does_not_jump_where_the_series_ends():
    gradient = jax.jit(jax.grad(lambda a: pose_matrix(a * K[0] / K[0, 0], K[0])[1, 2]))
    limit = np.sqrt(1e-3) / np.linalg.norm(K[0] / K[0, 0])
    np.testing.assert_allclose(
        gradient(limit * 0.9999), gradient(limit * 1.0001), rtol=1e-3
    )


def test_a_pixel_by_hand():
    depth = jnp.full((12, 20), 4.0)
    points = warp.backproject(depth, K)
    np.testing.assert_allclose(
        points[3, 7], [4 * (7 - 9.5) / 20, 4 * (3 - 5.5) / 25, 4], rtol=1e-6
    )
    # One to the right at depth 4: 20 / 4 pixels.
    pose = pose_matrix(jnp.zeros(3), jnp.array([1.0, 0, 0]))
    np.testing.assert_allclose(
        warp.project(points, K, pose)[3, 7], [12, 3], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("size", [(5, 8), (4, 4), (2, 9)])
def test_samples_equal_scipy(size):
    image = rng_of(*size, 2)
    pixels = rng_of(6, 7, 2, seed=1) * 5 + 3  # some are off the image
    expected = np.stack(
        [
            ndimage.map_coordinates(
                image[..., c],
                pixels[..., ::-1].transpose(2, 0, 1),
                order=1,
                mode="nearest",
            )
            for c in range(2)
        ],
        axis=-1,
    )
    found = jax.jit(warp.sample)(image, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_samples_have_the_slope_of_the_image_and_none_beyond_it():
    image = (2 * jnp.arange(6.0) + jnp.zeros((4, 6)))[..., None]
    slope = jax.jit(jax.grad(lambda p: warp.sample(image, p).sum()))
    np.testing.assert_allclose(slope(jnp.array([2.5, 1.5])), [2, 0], atol=1e-6)
    np.testing.assert_allclose(slope(jnp.array([9.0, 1.5])), [0, 0], atol=1e-6)
    to_image = jax.grad(lambda i: warp.sample(i, jnp.array([2.5, 1.5])).sum())(image)
    np.testing.assert_array_equal(to_image, 0)


def test_the_own_view_is_the_image():
    image = rng_of(12, 20, 3)
    depth = jnp.exp(rng_of(12, 20))
    seen = view(image, depth, STILL, K, K)
    np.testing.assert_allclose(seen, image, atol=1e-3)


def test_a_source_of_twice_the_focal_length_is_zoomed():
    image = rng_of(12, 20, 3)
    zoomed = jnp.diag(jnp.array([2.0, 2, 1])) @ K
    seen = view(image, jnp.ones((12, 20)), STILL, K, zoomed)
    np.testing.assert_allclose(seen[:6, :10], image[::2, ::2], atol=1e-4)


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
def seen_by_a_moved_camera(depth, axis_angle, translation):
    pose = pose_matrix(axis_angle, translation)
    pixels = warp.project(warp.backproject(depth, K), K, pose)
    return warp.sample(rng_of(12, 20, 3), pixels).sum() + 1e-9 * pixels.sum()


@pytest.mark.parametrize("shift", [-0.1, -1.0, -1 - 1e-7, -50.0])
def test_points_in_the_plane_of_the_camera_or_behind_it_stay_finite(shift):
    value, gradients = seen_by_a_moved_camera(
        jnp.ones((12, 20)), jnp.zeros(3), jnp.array([0.0, 0, shift])
    )
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_vmap_equals_one_by_one():
    images = rng_of(2, 12, 20, 3)
    depth = jnp.exp(rng_of(2, 12, 20))
    poses = pose_matrix(0.1 * rng_of(2, 3), 0.1 * rng_of(2, 3, seed=1))
    cameras = jnp.stack([K, K + 1])
    together = jax.jit(jax.vmap(warp.view))(
        images, depth, poses, cameras, cameras[::-1]
    )
    for i in range(2):
        alone = view(images[i], depth[i], poses[i], cameras[i], cameras[1 - i])
        np.testing.assert_allclose(together[i], alone, atol=1e-5)


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_every_step_equals_the_reference(folder, request):
    arrays = other_figures.load(folder, "monodepth2", request)
    arrays = {key: jnp.asarray(value) for key, value in arrays.items()}
    _, _, height, width = arrays["img_t"].shape
    cameras = arrays["K"][:, :3, :3]
    points = jax.vmap(warp.backproject)(arrays["depth"][:, 0], cameras)
    expected = np.moveaxis(arrays["cam_points"][:, :3], 1, -1)
    np.testing.assert_allclose(
        points.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5
    )
    for name, inverse in (("prev", True), ("next", False)):
        motion = (
            arrays[f"{kind}_{name}"][:, 0] for kind in ("axisangle", "translation")
        )
        poses = pose_matrix(*motion, inverse=inverse)
        np.testing.assert_allclose(poses, arrays[f"T_{name}"], rtol=1e-5, atol=1e-5)
        pixels = jax.vmap(warp.project)(points, cameras, poses)
        normalised = 2 * pixels / np.array([width - 1, height - 1]) - 1
        np.testing.assert_allclose(
            normalised, arrays[f"pix_{name}"], rtol=1e-4, atol=1e-4
        )
        source = np.moveaxis(arrays[f"img_{name}"], 1, -1)
        seen = jax.vmap(warp.sample)(source, pixels)
        expected = np.moveaxis(arrays[f"warp_{name}_align1"], 1, -1)
        np.testing.assert_allclose(seen, expected, atol=1e-4)
    still = pose_matrix(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    np.testing.assert_array_equal(still, arrays["T_zero_angle"])
