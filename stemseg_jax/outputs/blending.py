"""One picture over another."""

import cv2
import numpy as np
from jaxtyping import UInt8


def over(
    below: UInt8[np.ndarray, "h w 3"],
    above: UInt8[np.ndarray, "h w 3"],
    weight: UInt8[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    """`above` where its weight is 255, `below` where it is 0, mixtures in between."""
    weight = cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB)
    return cv2.add(
        cv2.multiply(below, 255 - weight, scale=1 / 255),
        cv2.multiply(above, weight, scale=1 / 255),
    )
