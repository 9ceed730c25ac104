"""Small copies of frames, for what looks at colours and rough shapes alone."""

import cv2
import numpy as np
from jaxtyping import UInt8

from stemseg_jax.geometry import Size


def of(image: UInt8[np.ndarray, "H W 3"], size: Size) -> UInt8[np.ndarray, "y x 3"]:
    """The frame at this size, of no more than every n-th pixel where it is large.

    Of 1280 x 720 the mean over all pixels takes 1.2 ms, and this a tenth.
    """
    step = max(min(n // (2 * m) for n, m in zip(image.shape, size, strict=False)), 1)
    part = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])
    return cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA)
