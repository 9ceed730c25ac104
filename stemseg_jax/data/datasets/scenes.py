"""Scenes of moving shapes: outlines, textures, motion, and how a frame follows.

A scene is a set of random choices and a closed formula for every moment, so any frame
can be rendered alone. Lengths are shares of the frame, times are counted in frames.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from stemseg_jax.data.datasets import swings, textures

CATEGORIES = {1: "star", 2: "cross", 3: "trilobe", 4: "crescent"}

SAMPLES = 4  # per pixel and axis, for the share of a pixel that an object covers
FRACTION_BITS = 4  # of the corners given to cv2.fillPoly
EXTENT = 1.5  # half the side of an object's texture, in radii


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Settings of one scene.

    Args:
        height: Size of the frame in pixels.
        radius: Smallest and largest mean radius of an object, as a share of the frame's
            shorter side. An object has the area of a disc of this radius.
        categories: How many of `CATEGORIES` occur, from the first on.
        marked: Whether the second colour of an object is that of its category, see
            `MARKINGS`; else it has the first's hue.
    """

    height: int
    width: int
    objects: int
    radius: tuple[float, float]
    categories: int = len(CATEGORIES)
    marked: bool = False

    def __post_init__(self):
        if not 1 <= self.categories <= len(CATEGORIES):
            raise ValueError(
                f"categories={self.categories}: expected 1 to {len(CATEGORIES)}."
            )
        if min(self.height, self.width) < 16:
            raise ValueError(
                f"frames of {self.height} x {self.width}: expected 16 x 16 or more."
            )
        if not 1 <= self.objects <= 255:
            raise ValueError(f"{self.objects} objects in a scene: expected 1 to 255.")
        if not 0 < self.radius[0] <= self.radius[1] <= 1:
            raise ValueError(
                f"radius={self.radius}: expected 0 < smallest <= largest <= 1."
            )


class Scene:
    """All random choices of one video, and its frames.

    Objects are ordered by depth: object n hides the objects before it.
    """

    def __init__(self, settings: SceneSettings, seed: Sequence[int]):
        self.height, self.width = settings.height, settings.width
        rng = np.random.default_rng(seed)
        count = settings.objects
        self.categories = rng.integers(1, settings.categories + 1, count)

        # Objects: slow swings that carry some of them out of the frame and back.
        amplitude = rng.uniform((0.10, 0.25), (0.45, 0.80), (count, 2))
        resident = rng.integers(count)  # never leaves, so that no frame is empty
        amplitude[resident] = np.minimum(amplitude[resident], 0.3)
        middle = rng.uniform(0.38, 0.62, (count, 2))
        heading = rng.uniform(0, math.tau, count)
        radius = rng.uniform(*settings.radius, count) * min(self.height, self.width)
        self.centres = swings.Swing(rng, middle, amplitude, period=(50, 120))  # (y, x)
        self.angles = swings.Swing(rng, heading, 1.5, period=(40, 120))
        self.radii = swings.Swing(rng, radius, 0.12 * radius, period=(30, 80))  # pixels
        self.bends = swings.Swing(rng, np.zeros((count, 4)), 0.09, period=(15, 40))

        # The camera before the background, and light.
        self.pan = swings.Swing(
            rng, np.zeros(2), rng.uniform(0, 0.12, 2), period=(40, 120)
        )
        self.roll = swings.Swing(rng, 0.0, 0.08, period=(40, 120))
        self.zoom = swings.Swing(rng, 1.1, 0.08, period=(40, 120))
        self.gain = swings.Swing(rng, 0.95, 0.15, period=(15, 60))
        self.slope = swings.Swing(rng, np.zeros(2), 0.12, period=(30, 90))
        self.tint = swings.Swing(rng, np.ones(3), 0.05, period=(30, 90))

        # Hues are spread: most objects of a video differ in colour, some do not.
        hues = rng.random() + (np.arange(count) + rng.uniform(-0.4, 0.4, count)) / count
        self.textures = [
            _object_texture(
                rng,
                category,
                hue,
                size=math.ceil(2.3 * EXTENT * reach),
                marking=MARKINGS[category] if settings.marked else None,
            )
            for category, hue, reach in zip(
                self.categories.tolist(), hues, radius, strict=True
            )
        ]
        self.background = _background_texture(
            rng, math.ceil(1.4 * self.height), math.ceil(1.4 * self.width)
        )

    def render(
        self, t: int
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """The image, and 1 + the number of the topmost object at each pixel (0: none).

        An object is at a pixel if it covers half of it or more; the image blends.
        """
        image = self._background_at(t)
        labels = np.zeros((self.height, self.width), np.uint8)
        poses = self._poses(t)
        for n, outline in enumerate(self.outlines(t)):
            window, coverage = self._cover(outline)
            if coverage.size:
                labels[window][coverage >= 0.5] = n + 1
                image[window] = cv2.blendLinear(
                    self._texture_at(poses[n], self.textures[n], window),
                    np.ascontiguousarray(image[window]),
                    coverage,
                    1 - coverage,
                )
        return cv2.multiply(image, self._light(t), dtype=cv2.CV_8U), labels

    def silhouettes(self, t: int) -> Bool[np.ndarray, "N H W"]:
        """Where each object would be seen if nothing hid it."""
        masks = np.zeros((len(self.categories), self.height, self.width), bool)
        for mask, outline in zip(masks, self.outlines(t), strict=True):
            window, coverage = self._cover(outline)
            mask[window] = coverage >= 0.5
        return masks

    def outlines(self, t: int) -> Float[np.ndarray, "N M 2"]:
        """Corners (y, x) of each object; the centre of the first pixel is (0, 0)."""
        y, x, radius, angle = self._poses(t).T[..., None]  # [N 1] each
        bend = 1 + self.bends.at(t) @ HARMONICS  # [N M]
        reach = radius * bend * OUTLINES[self.categories - 1]
        direction = ANGLES + angle
        return np.stack(
            [y + reach * np.sin(direction), x + reach * np.cos(direction)], axis=-1
        )

    def _poses(self, t):
        """Centre (y, x) and radius in pixels, and angle, of each object: [N 4]."""
        centres = self.centres.at(t) * (self.height, self.width) - 0.5
        return np.column_stack([centres, self.radii.at(t), self.angles.at(t)])

    def _cover(self, outline):
        """A window of the frame around an outline, and how much it covers there."""
        size = (self.height, self.width)
        first = np.clip(np.floor(outline.min(axis=0)), 0, size).astype(int)
        last = np.clip(np.ceil(outline.max(axis=0)) + 1, first, size).astype(int)
        (top, left), (bottom, right) = first, last
        window = slice(top, bottom), slice(left, right)
        height, width = last - first
        if not height or not width:
            return window, np.zeros((height, width), np.float32)
        canvas = np.zeros((SAMPLES * height, SAMPLES * width), np.uint8)
        corners = (outline[:, ::-1] - (left, top) + 0.5) * SAMPLES - 0.5  # (x, y)
        corners = np.rint(corners * 2**FRACTION_BITS).astype(np.int32)
        # OpenCV fills every sample that an edge touches, so those count half. A mean of
        # 16 samples of 0, 112 or 224 is a whole number: nothing is lost to rounding.
        cv2.fillPoly(canvas, [corners], 224, shift=FRACTION_BITS)
        cv2.polylines(canvas, [corners], True, 112, shift=FRACTION_BITS)
        coverage = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        return window, coverage.astype(np.float32) / 224

    def _texture_at(self, pose, texture, window):
        """An object's texture, which turns and grows with it, over a window."""
        y, x, radius, angle = pose
        rows, columns = window
        scale = len(texture) / (2 * EXTENT * radius)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]])  # frame to texture, (x, y)
        origin = (len(texture) - 1) / 2 - turn @ (x - columns.start, y - rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        return _warp(texture, np.column_stack([turn, origin]), size)

    def _background_at(self, t):
        height, width = self.background.shape[:2]
        centre = (self.width - 1) / 2, (self.height - 1) / 2
        roll = math.degrees(self.roll.at(t))
        matrix = cv2.getRotationMatrix2D(centre, roll, float(self.zoom.at(t)))
        y, x = (0.5 + self.pan.at(t)) * (self.height, self.width)
        matrix[:, 2] += (width / 2 - x, height / 2 - y)
        return _warp(self.background, matrix, (self.width, self.height))

    def _light(self, t):
        """What each pixel is multiplied by: a gain, a slope over the frame, a tint."""
        y, x = (
            np.linspace(-slope, slope, size, dtype=np.float32)
            for slope, size in zip(
                self.slope.at(t), (self.height, self.width), strict=True
            )
        )
        light = np.float32(self.gain.at(t)) + y[:, None] + x
        return cv2.merge([light * np.float32(tint) for tint in self.tint.at(t)])


def _warp(texture, matrix, size):
    return cv2.warpAffine(
        texture,
        matrix,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


ANGLES = np.linspace(0, math.tau, 96, endpoint=False)
HARMONICS = np.stack([f(k * ANGLES) for k in (2, 3) for f in (np.cos, np.sin)])


def _outlines():
    """How far each category reaches at every angle; the area is that of a unit disc."""
    cos, sin = np.abs(np.cos(ANGLES)), np.abs(np.sin(ANGLES))
    with np.errstate(divide="ignore"):
        bars = [np.minimum(1 / a, 0.45 / b) for a, b in ((cos, sin), (sin, cos))]
    lobes = [_disc(ANGLES - k * math.tau / 3, 0.45, 0.55)[1] for k in range(3)]
    bite = _disc(ANGLES, 1.05, 0.75)[0]
    star = 0.6 + 0.4 * np.abs(1 - 2 * (5 * ANGLES / math.tau % 1))
    cross = np.maximum(*bars)
    trilobe = np.max(lobes, axis=0)
    crescent = np.where(bite > 0, np.minimum(bite, 1), 1)
    reach = np.stack([star, cross, trilobe, crescent])
    return reach / np.sqrt(np.square(reach).mean(axis=1, keepdims=True))


def _disc(angles, distance, radius):
    """Where rays from the origin enter and leave a disc at `distance`; NaN: nowhere."""
    middle = distance * np.cos(angles)
    with np.errstate(invalid="ignore"):
        half = np.sqrt(radius**2 - np.square(distance * np.sin(angles)))
    return middle - half, middle + half


OUTLINES = _outlines()  # [category - 1, angle]


# The hue of an object's second, darker colour, if it says which category it is.
MARKINGS = {1: 0.0, 2: 0.15, 3: 0.38, 4: 0.65}  # red, yellow, green, blue


def _object_texture(rng, category, hue, *, size, marking):
    """Two colours in the pattern of the category, darker towards the rim."""
    y, x = np.meshgrid(*[np.linspace(-EXTENT, EXTENT, size, dtype=np.float32)] * 2)
    weight = textures.pattern(category, y, x, period=rng.uniform(0.55, 0.8))
    weight += rng.uniform(-0.2, 0.2) + 0.3 * (textures.noise(rng, 7, size, size) - 0.5)
    light = textures.colour(hue, rng.uniform(0.6, 1), rng.uniform(0.85, 1))
    hue += rng.uniform(-0.1, 0.1)
    hue = hue if marking is None else marking
    dark = textures.colour(hue, rng.uniform(0.8, 1), rng.uniform(0.4, 0.6))
    shading = 1 - 0.15 * (np.square(y) + np.square(x))
    return textures.mix(dark, light, weight, shading)


def _background_texture(rng, height, width):
    """Two dull colours in noise of several sizes and a category's pattern, faintly."""
    side = np.float32(min(height, width))
    y, x = np.indices((height, width), np.float32) / side
    category = int(rng.integers(1, len(CATEGORIES) + 1))
    weight = 0.15 * textures.pattern(category, y, x, period=rng.uniform(0.08, 0.3))
    for cells, share, contrast in ((5, 0.4, 4), (12, 0.3, 1.5), (40, 0.15, 1)):
        noise = textures.noise(rng, cells, height, width)
        weight += share * np.clip(contrast * (noise - 0.5) + 0.5, 0, 1)
    hue, value = rng.random(2)
    light = textures.colour(hue, rng.uniform(0.05, 0.35), 0.55 + 0.3 * value)
    hue += rng.uniform(-0.2, 0.2)
    dark = textures.colour(hue, rng.uniform(0.05, 0.35), 0.15 + 0.3 * value)
    return textures.mix(dark, light, weight, np.ones_like(weight))
