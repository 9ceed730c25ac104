"""A colour for each id, and what can be read on it."""

import functools
import math

import numpy as np

Colour = tuple[int, int, int]

INK = (23, 23, 28)
PAPER = (255, 255, 255)


@functools.cache
def of_id(id: int) -> Colour:
    """The colour of an id: hues far apart from those of the ids before.

    Hues go round by the golden angle, from blue, in OKLCH, where equal steps look
    equal; each round is a little lighter or darker. Yellow is lighter than the others:
    dark yellow is brown.
    """
    hue = math.radians(255 + 137.508 * (id - 1))
    lightness = (0.70, 0.64, 0.80)[(id - 1) // 4 % 3]
    lightness += 0.10 * max(0.0, math.cos(hue - math.radians(105)))
    chroma = 0.19
    while True:  # less chroma until a screen can show it
        rgb = _oklab_to_linear(
            lightness, chroma * math.cos(hue), chroma * math.sin(hue)
        )
        if rgb.min() >= 0 and rgb.max() <= 1:
            return tuple(int(c) for c in _encoded(rgb))
        chroma -= 0.005


def readable_on(fill: Colour) -> Colour:
    """Dark or white, whichever has the higher contrast."""
    luminance = _decoded(fill) @ (0.2126, 0.7152, 0.0722)
    return INK if luminance > 0.33 else PAPER


def _oklab_to_linear(lightness: float, a: float, b: float) -> np.ndarray:
    """Linear sRGB of an OKLab colour.

    Source: Ottosson, "A perceptual color space for image processing", 2020.
    """
    cone = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return to_rgb @ cone**3


def _encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB 0..255 of linear 0..1."""
    small = 12.92 * linear
    large = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.rint(255 * np.where(linear < 0.0031308, small, large))


def _decoded(colour: Colour) -> np.ndarray:
    encoded = np.array(colour) / 255
    small, large = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded < 0.04045, small, large)
