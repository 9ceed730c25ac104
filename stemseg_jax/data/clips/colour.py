"""Changes of colour and sharpness, which leave every pixel where it is."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Image = UInt8[np.ndarray, "H W 3"]


def brighten(image: Image, amount: int) -> Image:
    """Adds to all channels, up to black and white."""
    return cv2.add(image, (amount, amount, amount, 0))


def shift_hue_and_saturation(image: Image, amount: int) -> Image:
    """Adds to the saturation, of 255, and turns the hue by as much of a circle.

    The hue moves in steps of two degrees, cut off towards 0, as in imgaug.
    Differs from the authors' code in: the colours are taken for what they are; there
    red and blue are confused.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)
    turned = (np.arange(256) + int(amount / 255 * 180)) % 180
    hue = cv2.LUT(hue, turned.astype(np.uint8))
    saturation = cv2.add(saturation, amount)
    return cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)


def scale_brightness(image: Image, factor: float) -> Image:
    """Away from black, up to white."""
    return _whole(image.astype(np.float32) * factor)


def scale_contrast(image: Image, factor: float) -> Image:
    """Away from the mean grey of the image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()
    return _whole(grey + (image.astype(np.float32) - grey) * factor)


def scale_saturation(image: Image, factor: float) -> Image:
    """Each pixel away from its own grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return _whole(grey + (image - grey) * factor)


def turn_hue(image: Image, turn: float) -> Image:
    """By a share of the circle, in steps of 1/256."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
    hue += np.uint8(round(turn * 256) % 256)  # past 255 comes 0
    turned = cv2.merge([hue, saturation, value])
    return cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL)


def _whole(image: Float[np.ndarray, "H W 3"]) -> Image:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def blur_motion(image: Image, *, length: int, angle: float, direction: float) -> Image:
    """What a camera sees that moves along a line while the shutter is open.

    Args:
        length: Pixels, odd.
        angle: Degrees from the vertical.
        direction: -1 weighs one end of the line alone, 1 the other, 0 both alike.
    """
    kernel = motion_kernel(length=length, angle=angle, direction=direction)
    return cv2.filter2D(image, -1, kernel)


def motion_kernel(
    *, length: int, angle: float, direction: float
) -> Float[np.ndarray, "K K"]:
    """Weights of a line through the centre, linear from end to end; they sum to 1."""
    end = (direction + 1) / 2
    kernel = np.zeros((length, length), np.float32)
    kernel[:, length // 2] = np.linspace(end, 1 - end, length)
    centre = (length - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length), flags=cv2.INTER_LINEAR)
    return kernel / kernel.sum()
