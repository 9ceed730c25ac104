"""What textures are made of: patterns, smooth noise, colours."""

import colorsys
import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Field = Float32[np.ndarray, "H W"]
Colour = Float32[np.ndarray, "3"]  # RGB, 0 to 255


def pattern(kind: int, y: Field, x: Field, *, period: float) -> Field:
    """Stripes (1), checks (2), rings (3) or dots (4), in [0, 1]."""
    y, x = (np.float32(math.tau / period) * axis for axis in (y, x))
    if kind == 1:
        wave = np.sin(x)
    elif kind == 2:
        wave = 2 * np.sin(x) * np.sin(y)
    elif kind == 3:
        wave = np.sin(np.hypot(y, x))
    else:
        wave = np.cos(x) + np.cos(y) - 0.5
    return np.clip(0.5 + 1.5 * wave, 0, 1)


def noise(rng: np.random.Generator, cells: int, height: int, width: int) -> Field:
    """Smooth noise in about [0, 1]; `cells` values along the shorter side."""
    side = min(height, width)
    values = rng.random((cells * height // side, cells * width // side), np.float32)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)


def colour(hue: float, saturation: float | int, value: float | int) -> Colour:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32) * 255


def mix(
    dark: Colour, light: Colour, weight: Field, shading: Field
) -> UInt8[np.ndarray, "H W 3"]:
    """From `dark` to `light` by the weight, times the shading."""
    channels = [
        shading * (a + (b - a) * weight) for a, b in zip(dark, light, strict=True)
    ]
    return np.clip(cv2.merge(channels), 0, 255).astype(np.uint8)
