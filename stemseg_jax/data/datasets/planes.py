"""Textured planes as a pinhole camera sees them.

The axes of the camera point right, down and forwards; lengths are metres, and points of
an image are pixel centres (x, y), so the centre of the upper left pixel is (0, 0).
"""

import dataclasses
import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from stemseg_jax.data import readers

View = Float[np.ndarray, "3 4"]  # K [R t]: (X, Y, Z, 1) -> depth * (x, y, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """A texture on a plane in the world.

    Args:
        texture: The fourth channel says how much of it is there, up to 255.
        place: Of a point (a, b, 1) of the plane in the world, (X, Y, Z, 1).
        point: That of the texel (u, v, 1), up to a factor.
        endless: Whether the texture goes on beyond its borders, mirrored.
    """

    texture: UInt8[np.ndarray, "h w 4"]
    place: Float[np.ndarray, "4 3"]
    point: Float[np.ndarray, "3 3"]
    endless: bool = False

    def at(self, position: Float[np.ndarray, "3"]) -> "Plane":
        """The same with its point (0, 0, 1) elsewhere."""
        place = self.place.copy()
        place[:3, 2] = position
        return dataclasses.replace(self, place=place)

    def seen(self, view: View, size: tuple[int, int]) -> "Seen":
        """Its part in an image of a size; all of it lies before the camera."""
        matrix = view @ self.place
        texel_to_pixel = matrix @ self.point
        window = slice(0, size[0]), slice(0, size[1])
        if not self.endless:
            window = _window(texel_to_pixel, self.texture.shape[:2], size)
        rows, columns = window
        shape = rows.stop - rows.start, columns.stop - columns.start
        texture = np.zeros((*shape, 4), np.uint8)
        if texture.size:
            shift = np.array([[1, 0, -columns.start], [0, 1, -rows.start], [0, 0, 1]])
            texture = cv2.warpPerspective(
                self.texture,
                shift @ texel_to_pixel,
                shape[::-1],
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT if self.endless else cv2.BORDER_CONSTANT,
            )
        return Seen(window, texture, np.linalg.inv(matrix)[2])


class Seen(NamedTuple):
    """A plane in an image.

    Args:
        nearness: 1 / depth is the product of this and (x, y, 1), at every pixel.
    """

    window: tuple[slice, slice]  # rows and columns of what follows
    texture: UInt8[np.ndarray, "h w 4"]
    nearness: Float[np.ndarray, "3"]

    @property
    def colours(self) -> UInt8[np.ndarray, "h w 3"]:
        return cv2.cvtColor(self.texture, cv2.COLOR_BGRA2BGR)  # takes the first three

    @property
    def coverage(self) -> Float32[np.ndarray, "h w"]:
        """How much of each pixel the plane covers."""
        return self.texture[..., 3] / np.float32(255)

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Where it covers half of a pixel or more."""
        return self.texture[..., 3] >= 128

    @property
    def inverse_depth(self) -> Float32[np.ndarray, "h w"]:
        """In 1 / metres; below 0 where the plane is behind the camera."""
        rows, columns = self.window
        x = np.arange(columns.start, columns.stop)
        y = np.arange(rows.start, rows.stop)[:, None]
        right, down, origin = self.nearness
        return (right * x + (down * y + origin)).astype(np.float32)


def view(intrinsics: readers.Intrinsics, pose: Float[np.ndarray, "4 4"]) -> View:
    """What a camera with this pose (camera to world) sees."""
    return intrinsics @ np.linalg.inv(pose)[:3]


def blend(
    front: UInt8[np.ndarray, "h w 3"],
    behind: UInt8[np.ndarray, "h w 3"],
    coverage: Float32[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    return cv2.blendLinear(front, np.ascontiguousarray(behind), coverage, 1 - coverage)


def _window(matrix, texture, size):
    """The pixels around a texture, given the way from texels to pixels."""
    height, width = texture
    corners = np.array([(x, y, 1) for x in (-1, width) for y in (-1, height)])
    x, y, depth = matrix @ corners.T
    spans = []
    for axis, length in zip((y / depth, x / depth), size, strict=True):
        first = min(max(math.floor(axis.min()), 0), length)
        spans.append(slice(first, max(first, min(math.ceil(axis.max()) + 1, length))))
    return spans[0], spans[1]
