"""Depth without labels: a frame, put together from pixels of its neighbours."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stemseg_jax.ops import warp
from stemseg_jax.structures import Scalar

AUTOMASKS = ("min", "masked_mean", "off")


class DepthTerms(NamedTuple):
    view: Scalar  # synthesis
    smoothness: Scalar


class ViewErrors(NamedTuple):
    """Photometric errors of each frame, the smallest over its sources."""

    warped: Float[Array, "T H W"]
    unwarped: Float[Array, "T H W"]  # as if nothing had moved


def terms(
    disparity: Float[Array, "T H W"],
    images: Float[Array, "T H W 3"],
    intrinsics: Float[Array, "T 3 3"],
    axis_angle: Float[Array, "pairs 3"],
    translation: Float[Array, "pairs 3"],
    *,
    automask: str = "min",
    nearest: float = 0.1,
    farthest: float = 100.0,
) -> DepthTerms:
    """View synthesis and smoothness of one clip; 0 for a single frame.

    Not weighed: next to view synthesis, smoothness counts 0.001 in Godard et al.

    The sources of a frame are the frames before and after it in the clip: the first and
    the last have one.

    Args:
        disparity: Sigmoid of the depth decoder's logits.
        images: In [0, 1], as they are: without jitter of colours.
        intrinsics: Those of an unknown camera, NaN, make the loss NaN.
        axis_angle: With `translation`, pair by pair of consecutive frames, the motion
            from the coordinates of the earlier camera to those of the later one.
        automask: See `synthesis`.

    Source: Hu, Kendall and Cipolla, "Learning a Spatio-Temporal Embedding for Video
        Instance Segmentation", 2019, after Godard et al., "Digging into Self-Supervised
        Monocular Depth Estimation", ICCV 2019.
        Differs from the latter in: sources come from the clip, ends have one; one
        scale; nothing is added to break ties of the automask.
    """
    if len(disparity) == 1:
        zero = jnp.zeros((), disparity.dtype)
        return DepthTerms(zero, zero)
    errors = view_errors(
        disparity_to_depth(disparity, nearest=nearest, farthest=farthest),
        images,
        intrinsics,
        warp.pose_matrix(axis_angle, translation),
        warp.pose_matrix(axis_angle, translation, inverse=True),
    )
    view = jax.vmap(lambda *pair: synthesis(*pair, automask=automask))(*errors)
    return DepthTerms(view.mean(), jax.vmap(smoothness)(disparity, images).mean())


def disparity_to_depth(
    disparity: Float[Array, "*n"], *, nearest: float = 0.1, farthest: float = 100.0
) -> Float[Array, "*n"]:
    """Depth: 1 / depth is linear in disparity, from 1 / farthest to 1 / nearest.

    Args:
        disparity: In [0, 1].
    """
    return 1 / (1 / farthest + (1 / nearest - 1 / farthest) * disparity)


def view_errors(
    depth: Float[Array, "T H W"],
    images: Float[Array, "T H W 3"],
    intrinsics: Float[Array, "T 3 3"],
    forward: Float[Array, "pairs 4 4"],
    backward: Float[Array, "pairs 4 4"],
) -> ViewErrors:
    """Of two frames or more.

    Args:
        forward: Poses from the earlier camera of each pair to the later one.
        backward: From the later to the earlier one.
    """
    earlier, later = images[:-1], images[1:]
    view = jax.vmap(warp.view)
    from_later = view(later, depth[:-1], forward, intrinsics[:-1], intrinsics[1:])
    from_earlier = view(earlier, depth[1:], backward, intrinsics[1:], intrinsics[:-1])
    compare = jax.vmap(photometric)
    unwarped = compare(earlier, later)  # symmetric
    return ViewErrors(
        _smaller(compare(earlier, from_later), compare(later, from_earlier)),
        _smaller(unwarped, unwarped),
    )


def synthesis(
    warped: Float[Array, "H W"], unwarped: Float[Array, "H W"], *, automask: str = "min"
) -> Scalar:
    """The photometric error of one frame, where moving pixels has lowered it.

    Elsewhere it has no gradient: what stands still, or moves with the camera, says
    nothing about depth.

    Args:
        automask: "min": mean over all pixels of the smaller error. "masked_mean": mean
            over the pixels that moving them has improved; 0 without any. "off": mean
            over all pixels of the error after moving.

    Raises:
        ValueError: For another `automask`.

    Source: Godard et al., ICCV 2019, Sec. 3.2; "masked_mean" as the mask is printed,
        "min" as their code has it.
    """
    # Ties are masked. NaN is not: it stays.
    kept = ~(unwarped <= warped)
    if automask == "min":
        return jnp.where(kept, warped, unwarped).mean()
    if automask == "masked_mean":
        return _mean(warped, kept)
    if automask == "off":
        return warped.mean()
    raise ValueError(f"automask={automask!r} is none of {', '.join(AUTOMASKS)}.")


def photometric(
    a: Float[Array, "H W C"], b: Float[Array, "H W C"]
) -> Float[Array, "H W"]:
    """0.85 of the structural and 0.15 of the absolute difference, means over channels.

    Source: Godard et al., ICCV 2019, Sec. 3.1.
    """
    return (0.85 * ssim(a, b) + 0.15 * jnp.abs(a - b)).mean(axis=-1)


def ssim(a: Float[Array, "H W C"], b: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
    """Structural difference (1 - SSIM) / 2 of images in [0, 1]: 0 where they are alike.

    Over windows of 3 x 3; at the border the image is mirrored, without its last row.

    Source: Wang et al., "Image quality assessment", TIP 2004, Eq. 13.
        Differs from it in: uniform windows instead of Gaussian ones of 11 x 11.
    """
    mean_a, mean_b = _window(a), _window(b)
    variances = _window(a * a) - mean_a**2 + _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return jnp.clip((1 - above / below) / 2, 0, 1)


def smoothness(disparity: Float[Array, "H W"], image: Float[Array, "H W C"]) -> Scalar:
    """Steps of disparity, relative to its mean, that count less at edges of the image.

    mean |step of d| exp(-|step of the image|), along x plus along y.

    Source: Godard et al., ICCV 2019, Sec. 3.1.
    """
    disparity = disparity / (disparity.mean() + 1e-7)

    def along(axis):
        edges = jnp.abs(jnp.diff(image, axis=axis)).mean(axis=-1)
        return (jnp.abs(jnp.diff(disparity, axis=axis)) * jnp.exp(-edges)).mean()

    return along(1) + along(0)


def _smaller(
    of_earlier: Float[Array, "pairs H W"], of_later: Float[Array, "pairs H W"]
) -> Float[Array, "pairs+1 H W"]:
    """Frame by frame, from the errors of each pair's earlier and later frame."""
    return jnp.concatenate(
        [
            of_earlier[:1],
            jnp.minimum(of_earlier[1:], of_later[:-1]),
            of_later[-1:],
        ]
    )


def _window(image: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _mean(values: Float[Array, "H W"], where: Bool[Array, "H W"]) -> Scalar:
    return jnp.where(where, values, 0).sum() / jnp.maximum(where.sum(), 1)
