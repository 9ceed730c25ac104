import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from stemseg_jax.data.datasets import layered_world
from stemseg_jax.losses import depth
from stemseg_jax.ops import warp
from tests import other_figures

SIZE = (8, 12)
K = np.array([[10.0, 0, 5.5], [0, 10, 3.5], [0, 0, 1]])
terms = jax.jit(depth.terms, static_argnames="automask")


def clip(T=3, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    images = ndimage.gaussian_filter(rng.random((T, *size, 3)), (0, 1, 1, 0))
    return [
        jnp.asarray(x, jnp.float32)
        for x in (
            rng.uniform(0.002, 0.02, (T, *size)),
            (images - images.min()) / np.ptp(images),
            K + 0.5 * (K > 1) * rng.normal(size=(T, 1, 1)),
            rng.normal(size=(T - 1, 3)) * 0.05,
            rng.normal(size=(T - 1, 3)) * 0.3,
        )
    ]


def reference(disparity, images, cameras, axis_angle, translation, automask):
    """Frame by frame and source by source, with SciPy's rotations and filters."""
    disparity, images, cameras, axis_angle, translation = (
        np.asarray(x, float)
        for x in (disparity, images, cameras, axis_angle, translation)
    )
    T, H, W = disparity.shape
    views, steps = [], []
    for t in range(T):
        D = 1 / (0.01 + 9.99 * disparity[t])
        warped, unwarped = [], []
        for s in (t - 1, t + 1):
            if not 0 <= s < T:
                continue
            rotation = Rotation.from_rotvec(axis_angle[min(s, t)]).as_matrix()
            shift = translation[min(s, t)]
            seen = np.zeros((H, W, 2))
            for v in range(H):
                for u in range(W):
                    p = D[v, u] * np.linalg.solve(cameras[t], (u, v, 1))
                    p = rotation @ p + shift if s > t else rotation.T @ (p - shift)
                    q = cameras[s] @ p
                    seen[v, u] = q[1::-1] / q[2]
            source = [
                ndimage.map_coordinates(
                    images[s, ..., c], np.moveaxis(seen, -1, 0), order=1, mode="nearest"
                )
                for c in range(3)
            ]
            warped.append(photometric(images[t], np.stack(source, axis=-1)))
            unwarped.append(photometric(images[t], images[s]))
        E, E0 = np.min(warped, axis=0), np.min(unwarped, axis=0)
        better = E < E0
        views.append(
            {
                "min": np.minimum(E, E0).mean(),
                "masked_mean": E[better].mean() if better.any() else 0,
                "off": E.mean(),
            }[automask]
        )
        d = disparity[t] / disparity[t].mean()
        steps.append(0)
        for axis in (0, 1):
            edge = np.abs(np.diff(images[t], axis=axis)).mean(axis=-1)
            steps[-1] += (np.abs(np.diff(d, axis=axis)) * np.exp(-edge)).mean()
    return np.mean(views), np.mean(steps)


def photometric(a, b):
    return (0.85 * structural(a, b) + 0.15 * np.abs(a - b)).mean(axis=-1)


def structural(a, b):
    mean = functools.partial(ndimage.uniform_filter, size=(3, 3, 1), mode="mirror")
    var_a, var_b = (mean(x**2) - mean(x) ** 2 for x in (a, b))
    cov = mean(a * b) - mean(a) * mean(b)
    ratio = (2 * mean(a) * mean(b) + 1e-4) / (mean(a) ** 2 + mean(b) ** 2 + 1e-4)
    return np.clip((1 - ratio * (2 * cov + 9e-4) / (var_a + var_b + 9e-4)) / 2, 0, 1)


def test_depth_of_disparities_by_hand():
    found = depth.disparity_to_depth(
        jnp.array([0.0, 0.5, 1.0]), nearest=1.0, farthest=4.0
    )
    np.testing.assert_allclose(found, [4, 1 / 0.625, 1], rtol=1e-6)


def test_smoothness_by_hand():
    # Mean 2; along x one step of 2 of relative 1 each row, at an edge of 0.5.
    disparity = jnp.array([[1.0, 3.0], [1.0, 3.0]])
    image = jnp.array([[0.0, 0.5], [0.0, 0.5]])[..., None]
    np.testing.assert_allclose(
        depth.smoothness(disparity, image), np.exp(-0.5), rtol=1e-5
    )


def test_photometric_error_of_two_grey_images_by_hand():
    a, b = (jnp.full((3, 3, 2), x) for x in (0.2, 0.6))
    similarity = (2 * 0.12 + 1e-4) / (0.4 + 1e-4)  # nothing varies
    expected = 0.85 * (1 - similarity) / 2 + 0.15 * 0.4
    np.testing.assert_allclose(depth.photometric(a, b), expected, rtol=1e-4)


def test_synthesis_by_hand():
    warped = jnp.array([[0.1, 0.4, 0.3, 0.2]])
    unwarped = jnp.array([[0.2, 0.3, 0.3, 0.4]])
    for automask, value, gradient in (
        ("min", 0.9 / 4, [0.25, 0, 0, 0.25]),
        ("masked_mean", 0.3 / 2, [0.5, 0, 0, 0.5]),
        ("off", 1 / 4, [0.25] * 4),
    ):
        found = jax.value_and_grad(depth.synthesis)(warped, unwarped, automask=automask)
        np.testing.assert_allclose(found[0], value, rtol=1e-6)
        np.testing.assert_allclose(found[1][0], gradient, rtol=1e-6)


def test_an_unknown_automask_is_refused():
    with pytest.raises(ValueError, match="'max' is none of min, masked_mean, off"):
        depth.synthesis(jnp.ones((2, 2)), jnp.ones((2, 2)), automask="max")


@pytest.mark.parametrize("T", [2, 4])
@pytest.mark.parametrize("automask", depth.AUTOMASKS)
def test_equals_the_formulas_pixel_by_pixel(T, automask):
    arguments = clip(T, seed=T)
    found = terms(*arguments, automask=automask)
    expected = reference(*arguments, automask)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_structural_difference_equals_scipy():
    a, b = np.random.default_rng(0).random((2, 7, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(
        depth.ssim(jnp.asarray(a), jnp.asarray(b)), structural(a, b), atol=1e-4
    )


def test_backwards_in_time_the_loss_is_the_same():
    disparity, images, cameras, axis_angle, translation = clip()
    back = warp.pose_matrix(axis_angle, translation, inverse=True)
    reversed_motion = -axis_angle[::-1], back[::-1, :3, 3]
    found = terms(disparity, images, cameras, axis_angle, translation)
    mirrored = terms(disparity[::-1], images[::-1], cameras[::-1], *reversed_motion)
    np.testing.assert_allclose(mirrored, found, rtol=1e-5)


def test_one_frame_has_no_loss():
    arguments = clip(T=1)
    np.testing.assert_array_equal(terms(*arguments), 0)
    gradient = jax.grad(lambda d: sum(depth.terms(d, *arguments[1:])))(arguments[0])
    np.testing.assert_array_equal(gradient, 0)


def test_an_unknown_camera_is_noticed():
    disparity, images, cameras, *motion = clip(T=2)
    unknown = jnp.full_like(cameras, jnp.nan)
    for automask in depth.AUTOMASKS:
        found = terms(disparity, images, unknown, *motion, automask=automask)
        assert jnp.isnan(found.view)


@functools.partial(jax.jit, static_argnames="automask")
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
def total(disparity, axis_angle, translation, images, cameras, automask):
    found = depth.terms(
        disparity, images, cameras, axis_angle, translation, automask=automask
    )
    return found.view + 1e-3 * found.smoothness


@pytest.mark.parametrize("automask", depth.AUTOMASKS)
def test_value_and_gradients_stay_finite(automask):
    disparity, images, cameras, axis_angle, translation = clip()
    still = jnp.zeros_like(axis_angle)
    alike = jnp.broadcast_to(images[:1], images.shape)
    backed_away = jnp.array([[0.0, 0, -500], [0.0, 0, 500]])
    for changed in (
        (disparity, still, still, images),
        (disparity, still, still, alike),
        (disparity, axis_angle, translation, alike),
        (disparity, axis_angle, translation, jnp.full_like(images, 0.5)),
        (disparity, axis_angle, translation, jnp.zeros_like(images)),
        (jnp.zeros_like(disparity), axis_angle, translation, images),
        (jnp.ones_like(disparity), axis_angle, translation, images),
        (disparity, axis_angle, backed_away, images),
    ):
        value, gradients = total(*changed, cameras, automask)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(g).all() for g in gradients)


def test_frames_that_are_alike_say_nothing_of_motion():
    disparity, images, cameras, axis_angle, translation = clip()
    alike = jnp.broadcast_to(images[:1], images.shape)
    gradients = total(disparity, axis_angle, translation, alike, cameras, "min")[1]
    assert all(not g.any() for g in gradients[1:])


def test_vmap_over_clips_equals_one_by_one():
    clips = [clip(seed=seed) for seed in range(2)]
    together = jax.jit(jax.vmap(depth.terms))(*map(jnp.stack, zip(*clips, strict=True)))
    for i, one in enumerate(clips):
        np.testing.assert_allclose([x[i] for x in together], terms(*one), rtol=1e-5)


def plane_clip(axis_angle, translation, size=(24, 40)):
    """Images and depth of a tilted, textured plane that a camera moves past."""
    camera = np.array([[30.0, 0, 19.5], [0, 30, 11.5], [0, 0, 1]])
    normal, distance = np.array([0.2, -0.1, 1.0]), 5.0  # of the first camera
    y, x = np.mgrid[: size[0], : size[1]]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(camera).T
    R, shift = np.eye(3), np.zeros(3)  # from the first camera to the current one
    images, depths = [], []
    for t in range(len(axis_angle) + 1):
        if t:
            turn = Rotation.from_rotvec(axis_angle[t - 1]).as_matrix()
            R, shift = turn @ R, turn @ shift + translation[t - 1]
        z = (distance + normal @ R.T @ shift) / (rays @ R @ normal)
        points = (z[..., None] * rays - shift) @ R
        waves = [
            np.sin(4 * points[..., 0] + c) * np.cos(3 * points[..., 1] - c)
            for c in range(3)
        ]
        images.append(0.5 + 0.5 * np.stack(waves, axis=-1))
        depths.append(z)
    cameras = np.broadcast_to(camera, (len(images), 3, 3))
    return [jnp.asarray(x, jnp.float32) for x in (depths, images, cameras)]


def test_the_true_depth_and_motion_explain_a_plane_and_wrong_ones_do_not():
    axis_angle = np.array([[0.0, 0.02, 0.01], [0.01, -0.02, 0.0]], np.float32)
    translation = np.array([[0.4, 0.0, -0.2], [0.3, -0.2, -0.1]], np.float32)
    depths, images, cameras = plane_clip(axis_angle, translation)

    @jax.jit
    def error(depths, axis_angle, translation):
        forward, backward = (
            warp.pose_matrix(axis_angle, translation, inverse=inverse)
            for inverse in (False, True)
        )
        found = depth.view_errors(depths, images, cameras, forward, backward)
        # The border is seen by no source.
        return found.warped[:, 5:-5, 7:-7].mean(axis=(1, 2))

    truth = error(depths, axis_angle, translation)
    assert (truth < 0.02).all()
    wrong = (
        error(1.3 * depths, axis_angle, translation),
        error(depths, axis_angle, 1.3 * translation),
        error(depths, -axis_angle, -translation),
        error(depths, axis_angle, -translation),
        error(depths, axis_angle[::-1], translation[::-1]),
    )
    for one in wrong:
        assert (one[1:] > 3 * truth[1:]).all(), (truth, one)
    # A far plane shows no motion at all; the gradient leads back to the true scale.
    slope = jax.jit(
        jax.grad(lambda s: error(s * depths, axis_angle, translation).mean())
    )
    assert slope(1.2) > 0 > slope(0.85)


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_values_and_gradients_equal_the_reference(folder, request):
    arrays = other_figures.load(folder, "monodepth2", request)
    arrays = {key: jnp.asarray(value) for key, value in arrays.items()}
    last = functools.partial(jnp.moveaxis, source=1, destination=-1)
    before, now, after = (last(arrays[f"img_{k}"]) for k in ("prev", "t", "next"))
    cameras = jnp.repeat(arrays["K"][:, None, :3, :3], 3, axis=1)
    np.testing.assert_allclose(
        depth.disparity_to_depth(arrays["disp"]), arrays["depth"], rtol=1e-5
    )
    np.testing.assert_allclose(
        jax.vmap(depth.ssim)(after, now),
        last(arrays["ssim_next_vs_target"]),
        atol=1e-4,
    )
    for name, source in (("prev", before), ("next", after)):
        for seen, key in (
            (last(arrays[f"warp_{name}_align1"]), f"photometric_{name}"),
            (source, f"photometric_identity_{name}"),
        ):
            np.testing.assert_allclose(
                jax.vmap(depth.photometric)(seen, now), arrays[key][:, 0], atol=1e-4
            )
    each = jax.vmap(depth.smoothness)(arrays["disp"][:, 0], now)
    np.testing.assert_allclose(each.mean(), arrays["smooth_mean_normalised"], rtol=1e-5)
    raw = (each * arrays["disp"].mean(axis=(1, 2, 3))).mean()
    np.testing.assert_allclose(raw, arrays["smooth_raw"], rtol=1e-5)

    def loss(disparity, to_before, to_after, frames, automask):
        """Of the middle of three frames, or of the last of two."""
        images = jnp.stack([before, now, after][:frames], axis=1)
        forward = jnp.stack([jnp.zeros_like(to_after), to_after], 1)[:, : frames - 1]
        backward = jnp.stack([to_before, jnp.zeros_like(to_before)], 1)
        depths = depth.disparity_to_depth(disparity)
        errors = jax.vmap(depth.view_errors)(
            jnp.repeat(depths, frames, axis=1),
            *(images, cameras[:, :frames], forward, backward[:, : frames - 1]),
        )
        warped, unwarped = (x[:, 1] for x in errors)
        view = jax.vmap(lambda *pair: depth.synthesis(*pair, automask=automask))
        smooth = jax.vmap(depth.smoothness)(disparity[:, 0], now)
        value = view(warped, unwarped).mean() + 1e-3 * smooth.mean()
        return value, warped < unwarped

    compute = jax.jit(
        jax.value_and_grad(loss, (0, 1, 2), has_aux=True),
        static_argnames=("frames", "automask"),
    )
    cases = {
        "min_automask_align1": (3, "min"),
        "min_noautomask_align1": (3, "off"),
        "prev_only_automask_align1": (2, "min"),
    }
    known = [name for name in cases if f"loss__{name}" in arrays]
    assert "min_automask_align1" in known
    for name in known:
        inputs = (arrays[k] for k in ("disp", "T_prev", "T_next"))
        (value, kept), gradients = compute(*inputs, *cases[name])
        np.testing.assert_allclose(value, arrays[f"loss__{name}"], rtol=1e-5)
        for found, key in zip(gradients, ("disp", "T_prev", "T_next"), strict=True):
            if f"grad_{key}__{name}" in arrays:
                agrees(found, arrays[f"grad_{key}__{name}"], key)
        if f"kept_mask__{name}" in arrays:
            assert (kept == arrays[f"kept_mask__{name}"]).mean() > 0.995


def agrees(found, expected, key):
    """Up to one pixel in 200, where a minimum, a clip or a border has two slopes."""
    close = np.isclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert close.mean() >= (0.995 if key == "disp" else 1), (key, close.mean())


def test_the_truth_of_a_layered_world_explains_its_views_best():
    """Data, geometry and loss have one idea of depth, motion and cameras."""
    (video,) = layered_world.load(num_videos=1).videos
    frames = range(4, 7)
    images = jnp.asarray(np.stack([video.frame(t) for t in frames]) / 255, jnp.float32)
    truth = jnp.asarray(np.stack([video.depth(t) for t in frames]))
    camera = jnp.asarray(np.tile(video.intrinsics, (3, 1, 1)), jnp.float32)
    moved = jnp.asarray(np.stack([video.motion(t) for t in frames[:2]]), jnp.float32)
    back = jnp.linalg.inv(moved)

    @jax.jit
    def error(distance, forward, backward):
        """Cars move by themselves, and are masked."""
        errors = depth.view_errors(distance, images, camera, forward, backward)
        still = errors.unwarped.mean()
        return jax.vmap(depth.synthesis)(*errors).mean(), still

    right, still = error(truth, moved, back)
    assert right < 0.6 * still
    for wrong in (2 * truth, truth / 2, jnp.full_like(truth, jnp.median(truth))):
        assert right < 0.9 * error(wrong, moved, back)[0]
    assert right < 0.9 * error(truth, back, moved)[0]
