"""Moving objects over the frames of a video, with exact masks of what is seen of each.

An object is cut out of a frame, lit like its new surroundings, moved by a trajectory
and blended in with a soft edge. Matrices and points are those of `clips/warping.py`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from stemseg_jax.data.clips import warping

FEATHER = 0.8  # standard deviation of the blur of an edge, in pixels of the frame
MARGIN = 3  # pixels around an object that its soft edge may need
EDGE = 0.02  # weight of the colours on an object's edge, against 1 inside


class Trajectory(NamedTuple):
    """A path: mean + drift t + amplitude sin(frequency t + phase), t in frames.

    The four values are y and x of the centre, as shares of the frame, the logarithm of
    the scale, and the angle in radians, clockwise as seen.
    """

    mean: Float[np.ndarray, "4"]
    drift: Float[np.ndarray, "4"]
    amplitude: Float[np.ndarray, "4"]
    frequency: Float[np.ndarray, "4"]
    phase: Float[np.ndarray, "4"]

    def at(self, t: int) -> Float[np.ndarray, "4"]:
        swing = self.amplitude * np.sin(self.frequency * t + self.phase)
        return self.mean + self.drift * t + swing


def draw_object_motion(
    rng: np.random.Generator, *, num_frames: int, scale: float, stays: bool
) -> Trajectory:
    """An object that crosses the frame, or that never leaves it.

    Crossing, it goes straight on at 0.1 to 1.5 % of the frame a frame, swings a little,
    and is somewhere within the frame at one moment at least. Staying, it swings about
    the middle of the frame.
    """
    centre = rng.uniform(0.3, 0.7, 2) if stays else rng.uniform(0.1, 0.9, 2)
    heading, speed = (
        rng.uniform(0, math.tau),
        np.exp(rng.uniform(*np.log((1e-3, 15e-3)))),
    )
    velocity = (not stays) * speed * np.array([math.sin(heading), math.cos(heading)])
    met = rng.uniform(0, num_frames)
    sway = rng.uniform(0.05, 0.2, 2) if stays else rng.uniform(0, 0.04, 2)
    return _swinging(
        rng,
        mean=[*(centre - velocity * met), math.log(scale), rng.uniform(-0.1, 0.1)],
        drift=[*velocity, 0, 0],
        amplitude=[*sway, rng.uniform(0, 0.15), rng.uniform(0, 0.2)],
    )


def draw_camera_motion(rng: np.random.Generator) -> Trajectory:
    """Of a camera before a still: it pans, zooms and rolls, and sees nothing beyond it.

    That holds for sides of up to 16 : 9.
    """
    zoom = rng.uniform(1.2, 1.4)
    return _swinging(
        rng,
        mean=[0.5, 0.5, math.log(zoom), 0],
        drift=np.zeros(4),
        amplitude=rng.uniform(0, (0.04, 0.04, 0.05, 0.025)),
    )


def _swinging(rng, *, mean, drift, amplitude) -> Trajectory:
    frequency = math.tau / rng.uniform(60, 160, 4)
    mean, drift, amplitude = (np.array(v, float) for v in (mean, drift, amplitude))
    return Trajectory(mean, drift, amplitude, frequency, rng.uniform(0, math.tau, 4))


def placing(
    pose: Float[np.ndarray, "4"],
    *,
    anchor: Float[np.ndarray, "2"],
    size: tuple[int, int],
    mirrored: bool = False,
) -> warping.Matrix:
    """Puts an image into a frame.

    Args:
        pose: As `Trajectory.at` gives it.
        anchor: The point (y, x) of the image that comes to the pose's centre.
        size: (height, width) of the frame.
        mirrored: Left becomes right first, about the anchor.
    """
    (y, x), (height, width) = pose[:2], size
    cosine, sine = (math.exp(pose[2]) * f(pose[3]) for f in (math.cos, math.sin))
    side = -1 if mirrored else 1
    turn = np.array([[side * cosine, -sine], [side * sine, cosine]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = (x * width - 0.5, y * height - 0.5) - turn @ anchor[::-1]
    return matrix


def matching_light(
    own: Float[np.ndarray, "2 3"], around: Float[np.ndarray, "2 3"], *, degree: float
) -> Float[np.ndarray, "2 3"]:
    """Gain and offset of each channel that bring an object towards its surroundings.

    Args:
        own, around: Mean and standard deviation of the colours, as `colours` gives.
        degree: 0 changes nothing, 1 takes mean and contrast of the surroundings.
    """
    gain = np.clip(around[1] / np.maximum(own[1], 1), 0.5, 2) ** degree
    mean = own[0] + degree * (around[0] - own[0])
    return np.stack([gain, mean - gain * own[0]])


def colours(pixels: UInt8[np.ndarray, "*points 3"]) -> Float[np.ndarray, "2 3"]:
    """Mean and standard deviation of each channel."""
    return np.stack(cv2.meanStdDev(pixels.reshape(-1, 1, 3)))[..., 0]


class Cutout(NamedTuple):
    """What lies in the box of an object, with a margin; pixels of a larger frame."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    corner: tuple[int, int]  # (y, x) of its first pixel in that frame


def cut(
    frame: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    *,
    light: Float[np.ndarray, "2 3"] | None = None,
) -> Cutout:
    """Cuts an object out and continues its colours beyond its edge.

    There, and on the edge itself, colours of the background it came from would be seen
    as a seam around it. The mask stays as it is.

    Args:
        light: Gain and offset of each channel.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    y, x = max(top - MARGIN, 0), max(left - MARGIN, 0)
    box = np.s_[y : top + height + MARGIN, x : left + width + MARGIN]
    image, inside = np.ascontiguousarray(frame[box]), mask[box].astype(np.uint8)
    interior = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)
    interior = interior.astype(np.float32)
    weight = cv2.max(interior, EDGE * inside.astype(np.float32))
    window = (2 * MARGIN + 3, 2 * MARGIN + 3)  # from the margin to the interior
    total = cv2.max(cv2.blur(weight, window), 1e-6)
    continued = cv2.blur(
        cv2.multiply(image, cv2.merge([weight] * 3), dtype=cv2.CV_32F), window
    )
    continued = cv2.divide(continued, cv2.merge([total] * 3), dtype=cv2.CV_8U)
    image = cv2.blendLinear(image, continued, interior, 1 - interior)
    if light is not None:
        levels = np.arange(256)[:, None] * light[0] + light[1]
        levels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, levels[None])
    return Cutout(image, inside.view(bool), (y, x))


class Layer(NamedTuple):
    """A cutout, where it goes, and whose its pixels are (0: the frame's below all)."""

    cutout: Cutout
    matrix: warping.Matrix  # from the frame it was cut from
    owner: int


def compose(
    frame: UInt8[np.ndarray, "H W 3"], layers: Sequence[Layer]
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt16[np.ndarray, "H W"]]:
    """Lays objects over a frame; gives the image and the owner of each pixel.

    A pixel belongs to the last layer that covers half of it or more; 0 is the frame.

    Args:
        layers: From back to front.
    """
    image, owners = frame.copy(), np.zeros(frame.shape[:2], np.uint16)
    for layer in layers:
        window, matrix = _window(layer, frame.shape[:2])
        height, width = owners[window].shape
        if not height or not width:
            continue
        mask = np.float32(layer.cutout.mask)
        moved, alpha = (
            cv2.warpAffine(part, matrix, (width, height), borderMode=border)
            for part, border in (
                (layer.cutout.image, cv2.BORDER_REPLICATE),
                (mask, cv2.BORDER_CONSTANT),
            )
        )
        alpha = cv2.GaussianBlur(
            alpha, (0, 0), FEATHER, borderType=cv2.BORDER_REPLICATE
        )
        below = np.ascontiguousarray(image[window])
        image[window] = cv2.blendLinear(moved, below, alpha, 1 - alpha)
        owners[window][alpha >= 0.5] = layer.owner
    return image, owners


def _window(layer, size):
    """The part of the frame that a layer may reach, and the map from cutout to it."""
    y, x = layer.cutout.corner
    matrix = layer.matrix @ warping.shift(y, x)
    height, width = layer.cutout.mask.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) - 0.5
    reach = (corners @ matrix[:2, :2].T + matrix[:2, 2])[:, ::-1]  # (y, x)
    first = np.clip(np.floor(reach.min(axis=0)) - MARGIN, 0, size).astype(int)
    last = np.clip(np.ceil(reach.max(axis=0)) + MARGIN + 1, first, size).astype(int)
    (top, left), (bottom, right) = first.tolist(), last.tolist()
    matrix = warping.shift(-top, -left) @ matrix
    return (slice(top, bottom), slice(left, right)), matrix[:2]


def seen_by_camera(
    image: np.ndarray, matrix: warping.Matrix, *, nearest: bool = False
) -> np.ndarray:
    """A still [H W *C] moved within its own frame, mirrored where it ends."""
    return cv2.warpAffine(
        image,
        matrix[:2],
        image.shape[1::-1],
        flags=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
