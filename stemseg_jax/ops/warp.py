"""Pinhole geometry: from the depth of one image to where another camera sees it.

Points are (X, Y, Z), Z along the optical axis; pixels are (x, y), the centre of the
upper left one (0, 0). This is the project's exception to (t, y, x), see
`structures.ClipBatch`. Everything is of one image; `vmap` over frames.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pose_matrix(
    axis_angle: Float[Array, "*b 3"],
    translation: Float[Array, "*b 3"],
    *,
    inverse: bool = False,
) -> Float[Array, "*b 4 4"]:
    """The rigid motion that rotates first and then adds the translation.

    Args:
        axis_angle: The axis of rotation, as long as the angle in radians.
        inverse: The motion back: subtracts the translation, then rotates back.
    """
    rotation = _rotation(axis_angle)
    if inverse:
        rotation = jnp.swapaxes(rotation, -1, -2)
        translation = -_apply(rotation, translation)
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    last = jnp.broadcast_to(jnp.eye(4, dtype=top.dtype)[3:], (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, last], axis=-2)


def backproject(
    depth: Float[Array, "H W"], intrinsics: Float[Array, "3 3"]
) -> Float[Array, "H W 3"]:
    """The point that each pixel shows: D K^-1 (x, y, 1)."""
    height, width = depth.shape
    x, y = jnp.meshgrid(
        jnp.arange(width, dtype=depth.dtype), jnp.arange(height, dtype=depth.dtype)
    )
    pixels = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
    return depth[..., None] * _apply(jnp.linalg.inv(intrinsics), pixels)


def project(
    points: Float[Array, "*n 3"],
    intrinsics: Float[Array, "3 3"],
    pose: Float[Array, "4 4"],
) -> Float[Array, "*n 2"]:
    """The pixels (x, y) in which a camera sees points.

    A point closer to the camera's plane than a millimetre (of metric points), or behind
    it, is projected as if it were that far in front: most often far off the image.

    Args:
        pose: From the coordinates of the points to those of this camera.

    Source: Godard et al., "Digging into Self-Supervised Monocular Depth Estimation",
        ICCV 2019, Sec. 3.1. Differs from the authors' code, which mirrors points behind
        the camera and has no bound for those in its plane.
    """
    moved = _apply(pose[:3, :3], points) + pose[:3, 3]
    seen = _apply(intrinsics, moved)
    return seen[..., :2] / jnp.maximum(seen[..., 2:] + 1e-7, 1e-3)


def sample(
    image: Float[Array, "H W C"], pixels: Float[Array, "*n 2"]
) -> Float[Array, "*n C"]:
    """Bilinear values at pixels (x, y); off the image, those of the nearest on it.

    The image gets no gradient: it would be a scatter, which costs more than the rest.
    """
    height, width, _ = image.shape
    image = jax.lax.stop_gradient(image)
    last = jnp.array([width - 1, height - 1])
    pixels = jnp.clip(pixels, 0, last)
    # One less at the right and lower border, so that all four neighbours exist.
    corner = jax.lax.stop_gradient(jnp.clip(jnp.floor(pixels), 0, last - 1))
    right, down = jnp.split(pixels - corner, 2, axis=-1)
    x, y = jnp.moveaxis(corner.astype(jnp.int32), -1, 0)
    upper = (1 - right) * image[y, x] + right * image[y, x + 1]
    lower = (1 - right) * image[y + 1, x] + right * image[y + 1, x + 1]
    return (1 - down) * upper + down * lower


def view(
    source: Float[Array, "H W C"],
    depth: Float[Array, "H W"],
    pose: Float[Array, "4 4"],
    intrinsics: Float[Array, "3 3"],
    source_intrinsics: Float[Array, "3 3"],
) -> Float[Array, "H W C"]:
    """The image of a target camera, put together from pixels of a source.

    Args:
        depth: Of the target, along the optical axis.
        pose: From the coordinates of the target's camera to those of the source's.
        intrinsics: Of the target.

    Source: Godard et al., ICCV 2019, Sec. 3.1.
        Differs from the authors' code in: the source is read at the very pixel of the
        projection. There, pixels are normalised with aligned corners and read without,
        off by up to half a pixel.
    """
    points = backproject(depth, intrinsics)
    return sample(source, project(points, source_intrinsics, pose))


def _rotation(axis_angle: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rodrigues: I + sin(a) / a [w] + (1 - cos(a)) / a^2 [w]^2 for w of length a."""
    square = jnp.square(axis_angle).sum(axis=-1)[..., None, None]
    # A camera that stands still has no axis; a series has its gradient there.
    small = square < 1e-3
    angle = jnp.sqrt(jnp.where(small, 1, square))
    first = jnp.where(small, 1 - square / 6 + square**2 / 120, jnp.sin(angle) / angle)
    half = jnp.sin(angle / 2) / angle  # 1 - cos would cancel
    second = jnp.where(small, 0.5 - square / 24 + square**2 / 720, 2 * half**2)
    x, y, z = jnp.moveaxis(axis_angle, -1, 0)
    zero = jnp.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    cross = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    twice = jnp.matmul(cross, cross, precision="highest")
    return jnp.eye(3, dtype=cross.dtype) + first * cross + second * twice


def _apply(
    matrix: Float[Array, "*b 3 3"], vectors: Float[Array, "*n 3"]
) -> Float[Array, "*n 3"]:
    # On tensor cores it would be off by a pixel.
    return jnp.einsum("...ij,...j->...i", matrix, vectors, precision="highest")
