"""Maps of the plane as 3 x 3 matrices on (x, y, 1), and images moved by them.

Points are pixel centres, so the centre of the upper left pixel is (0, 0). The matrices
lead from the source to where it is seen; OpenCV asks for (x, y).
"""

import cv2
import numpy as np
from jaxtyping import Float, Shaped

Matrix = Float[np.ndarray, "3 3"]


def resizing(source: tuple[int, int], target: tuple[int, int]) -> Matrix:
    """From an image of size (height, width) `source` to one of `target`."""
    (h, w), (H, W) = source, target
    return np.array(
        [[W / w, 0, 0.5 * W / w - 0.5], [0, H / h, 0.5 * H / h - 0.5], [0, 0, 1]]
    )


def shift(down: int, right: int) -> Matrix:
    """Moves by so many pixels."""
    return np.array([[1.0, 0, right], [0, 1, down], [0, 0, 1]])


def mirroring(width: int) -> Matrix:
    """Left becomes right in an image of this width."""
    return np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def affine(
    size: tuple[int, int],
    *,
    rotation: float,
    scale: float,
    translation: tuple[float, float],
) -> Matrix:
    """Turns and scales about the centre, then shifts.

    Args:
        size: (height, width).
        rotation: Degrees, clockwise as seen.
        translation: (y, x), as shares of the size.
    """
    height, width = size
    cosine = scale * np.cos(np.deg2rad(rotation))
    sine = scale * np.sin(np.deg2rad(rotation))
    y, x = (height - 1) / 2, (width - 1) / 2
    return np.array(
        [
            [cosine, -sine, x - cosine * x + sine * y + translation[1] * width],
            [sine, cosine, y - sine * x - cosine * y + translation[0] * height],
            [0, 0, 1],
        ]
    )


def perspective(size: tuple[int, int], corners: Float[np.ndarray, "4 2"]) -> Matrix:
    """Spreads a quadrilateral inside the frame over the whole frame.

    Args:
        size: (height, width).
        corners: Distances (y, x) of its corners from those of the frame, inwards, as
            shares of the size; upper left, upper right, lower right, lower left.
    """
    height, width = size
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    inwards = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    inside = frame + inwards * corners[:, ::-1] * (width, height)
    return cv2.getPerspectiveTransform(inside.astype(np.float32) - 0.5, frame - 0.5)


def warp(
    image: Shaped[np.ndarray, "H W *C"],
    matrix: Matrix,
    size: tuple[int, int],
    *,
    nearest: bool = False,
    fill: int | tuple[int, ...] = 0,
) -> Shaped[np.ndarray, "h w *C"]:
    """The image as the matrix moves it, on a canvas of `size`; bilinear or nearest."""
    return cv2.warpPerspective(
        image,
        matrix,
        size[::-1],
        flags=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )
