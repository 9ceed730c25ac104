"""Built-in videos of moving shapes with exact masks; nothing to download.

Textured objects of four categories, none of them convex, deform, turn, change size, cross
and hide each other, leave and come back, over a moving textured background under
changing light. Everything follows from (seed, split, index of the video): the same
settings give the same bytes, and any frame is rendered without the frames before it.

All lengths are shares of the frame, so any size can be asked for; speeds are per frame.
"""

import colorsys
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from stemseg_jax.data.records import Dataset, RawClip

CATEGORIES = {1: "star", 2: "cross", 3: "trilobe", 4: "crescent"}
SPLITS = ("train", "val", "test")

SAMPLES = 4  # per pixel and axis, for the coverage of a pixel by an object
SHIFT = 4  # fractional bits of the corners given to cv2.fillPoly
EXTENT = 1.5  # half the side of an object's texture, in radii


def load(
    root: str | None = None,
    split: str = "train",
    *,
    num_videos: int = 1000,
    num_frames: int = 20,
    height: int = 96,
    width: int = 160,
    seed: int = 0,
    objects: tuple[int, int] = (2, 4),
    radius: tuple[float, float] = (0.17, 0.24),
) -> Dataset:
    """Videos of moving shapes, drawn when they are asked for.

    Args:
        root: Not used; there is no folder.
        split: "train", "val" or "test". No two splits share a video.
        num_videos: As many as wished; video i is the same however many there are.
        objects: Fewest and most objects of a video. One of them never leaves the frame.
        radius: Smallest and largest mean radius of an object, as a share of the frame's
            shorter side. An object covers what a disc of this radius would.

    Raises:
        ValueError: For an unknown split and for settings out of range.
    """
    settings = Settings(
        split=split,
        num_frames=num_frames,
        height=height,
        width=width,
        seed=seed,
        objects=tuple(objects),
        radius=tuple(radius),
    )
    videos = [MovingShapesVideo(settings, index) for index in range(num_videos)]
    return Dataset("moving_shapes", CATEGORIES, videos)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all videos of a dataset have in common; see `load`."""

    split: str
    num_frames: int
    height: int
    width: int
    seed: int
    objects: tuple[int, int]
    radius: tuple[float, float]

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}: known splits are {SPLITS}.")
        if min(self.height, self.width) < 16 or self.num_frames < 1:
            raise ValueError(
                f"{self.num_frames} frames of {self.height} x {self.width}: at least one "
                "frame of 16 x 16 is needed."
            )
        if not 1 <= self.objects[0] <= self.objects[1] <= 255:
            raise ValueError(f"objects={self.objects}: expected 1 <= fewest <= most <= 255.")
        if not 0 < self.radius[0] <= self.radius[1] <= 1:
            raise ValueError(f"radius={self.radius}: expected 0 < smallest <= largest <= 1.")


@dataclasses.dataclass(frozen=True)
class MovingShapesVideo:
    """Video number `index` of a dataset of moving shapes."""

    settings: Settings
    index: int

    annotated = True

    @property
    def name(self) -> str:
        return f"{self.settings.split}_{self.index:06d}"

    @property
    def height(self) -> int:
        return self.settings.height

    @property
    def width(self) -> int:
        return self.settings.width

    @property
    def num_frames(self) -> int:
        return self.settings.num_frames

    @property
    def categories(self) -> Mapping[int, int]:
        kinds = _scene(self.settings, self.index).kinds
        return {n + 1: int(kind) for n, kind in enumerate(kinds)}

    @property
    def annotated_frames(self) -> Sequence[int]:
        return range(self.num_frames)  # one object never leaves

    def clip(self, indices: Sequence[int]) -> RawClip:
        scene = _scene(self.settings, self.index)
        rendered = [scene.render(self._checked(t)) for t in indices]
        frames = np.stack([image for image, _ in rendered])
        labels = np.stack([label for _, label in rendered])
        ids = np.arange(1, len(scene.kinds) + 1)
        masks = labels == ids[:, None, None, None].astype(labels.dtype)
        seen = masks.any(axis=(1, 2, 3))
        return RawClip(
            frames, ids[seen], scene.kinds[seen], masks[seen], np.zeros(labels.shape, bool)
        )

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        return _scene(self.settings, self.index).render(self._checked(index))[0]

    def silhouettes(self, index: int) -> Bool[np.ndarray, "N H W"]:
        """The objects whole, as if nothing hid them; object n has the id n + 1."""
        return _scene(self.settings, self.index).silhouettes(self._checked(index))

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.num_frames:
            raise IndexError(f"{self.name} has no frame {index}, only {self.num_frames}.")
        return index


# Rendering frame by frame would otherwise redraw the textures for each frame.
@functools.lru_cache(maxsize=8)
def _scene(settings: Settings, index: int) -> "_Scene":
    return _Scene(settings, index)


class _Wave(NamedTuple):
    """A value, or an array of values, that swings over time."""

    mean: float | Float[np.ndarray, "..."]
    amplitude: float | Float[np.ndarray, "..."]
    frequency: Float[np.ndarray, "..."]  # radians a frame
    phase: Float[np.ndarray, "..."]

    def at(self, t: int) -> Float[np.ndarray, "..."]:
        return self.mean + self.amplitude * np.sin(self.frequency * t + self.phase)


def _wave(rng, mean, amplitude, *, period: tuple[float, float], shape=()) -> _Wave:
    frequency = math.tau / rng.uniform(*period, shape)
    return _Wave(mean, amplitude, frequency, rng.uniform(0, math.tau, shape))


class _Scene:
    """All random choices of one video, and how a frame follows from them."""

    def __init__(self, settings: Settings, index: int):
        self.height, self.width = settings.height, settings.width
        rng = np.random.default_rng([settings.seed, SPLITS.index(settings.split), index])
        count = int(rng.integers(settings.objects[0], settings.objects[1] + 1))
        self.kinds = rng.integers(1, len(CATEGORIES) + 1, count)

        # Motion of the objects: (y, x) as a share of the frame, slow swings that carry
        # some of them out of the frame and back.
        amplitude = rng.uniform((0.10, 0.25), (0.45, 0.75), (count, 2))
        resident = rng.integers(count)
        amplitude[resident] = np.minimum(amplitude[resident], 0.3)
        mean = rng.uniform(0.35, 0.65, (count, 2))
        self.centres = _wave(rng, mean, amplitude, period=(50, 120), shape=(count, 2))
        self.angles = _wave(
            rng, rng.uniform(0, math.tau, count), 1.5, period=(40, 120), shape=count
        )
        radius = rng.uniform(*settings.radius, count) * min(self.height, self.width)
        self.radii = _wave(rng, radius, 0.12 * radius, period=(30, 80), shape=count)
        self.bending = _wave(rng, 0.0, 0.09, period=(15, 40), shape=(count, 4))

        # Motion of the camera before the background, and light.
        self.pan = _wave(
            rng, 0.0, rng.uniform(0, 0.12, 2), period=(40, 120), shape=2
        )
        self.roll = _wave(rng, 0.0, 0.08, period=(40, 120))
        self.zoom = _wave(rng, 1.1, 0.08, period=(40, 120))
        self.gain = _wave(rng, 0.95, 0.15, period=(15, 60))
        self.slope = _wave(rng, 0.0, 0.12, period=(30, 90), shape=2)
        self.tint = _wave(rng, 1.0, 0.05, period=(30, 90), shape=3)

        # Hues are spread so that most objects of a video differ, and some do not.
        hues = rng.random() + (np.arange(count) + rng.uniform(-0.4, 0.4, count)) / count
        self.textures = [
            _object_texture(rng, kind, hue, math.ceil(2.3 * EXTENT * r))
            for kind, hue, r in zip(self.kinds, hues, radius, strict=True)
        ]
        self.background = _background_texture(
            rng, math.ceil(1.4 * self.height), math.ceil(1.4 * self.width)
        )

    def render(
        self, t: int
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """The image, and the id of the topmost object at each pixel (0: none)."""
        image = self._render_background(t)
        labels = np.zeros((self.height, self.width), np.uint8)
        poses = self._poses(t)
        for n, outline in enumerate(self._outlines(t)):
            window, coverage = self._cover(outline)
            if coverage is None:
                continue
            labels[window][coverage >= 0.5] = n + 1
            texture = self._warp_texture(n, poses[n], window)
            image[window] = cv2.blendLinear(
                texture, np.ascontiguousarray(image[window]), coverage, 1 - coverage
            )
        return cv2.multiply(image, self._light(t), dtype=cv2.CV_8U), labels

    def silhouettes(self, t: int) -> Bool[np.ndarray, "N H W"]:
        masks = np.zeros((len(self.kinds), self.height, self.width), bool)
        for mask, outline in zip(masks, self._outlines(t), strict=True):
            window, coverage = self._cover(outline)
            if coverage is not None:
                mask[window] = coverage >= 0.5
        return masks

    def _poses(self, t: int) -> Float[np.ndarray, "N 4"]:
        """Centre (y, x) and radius in pixels, and the angle of each object."""
        centres = self.centres.at(t) * (self.height, self.width) - 0.5
        return np.column_stack([centres, self.radii.at(t), self.angles.at(t)])

    def _outlines(self, t: int) -> Float[np.ndarray, "N M 2"]:
        """Corners (y, x) of each object, nearest object last."""
        poses = self._poses(t)[:, :, None]  # [N 4 1]
        reach = OUTLINES[self.kinds] * (1 + self.bending.at(t) @ HARMONICS) * poses[:, 2]
        angles = THETA + poses[:, 3]
        y = poses[:, 0] + reach * np.sin(angles)
        x = poses[:, 1] + reach * np.cos(angles)
        return np.stack([y, x], axis=-1)

    def _cover(self, outline):
        """The window of the frame an object lies in, and its share of each pixel there."""
        top, left = np.maximum(np.floor(outline.min(axis=0)).astype(int), 0)
        bottom, right = np.ceil(outline.max(axis=0)).astype(int) + 1
        bottom, right = min(bottom, self.height), min(right, self.width)
        window = slice(top, bottom), slice(left, right)
        if top >= bottom or left >= right:
            return window, None
        canvas = np.zeros(
            (SAMPLES * (bottom - top), SAMPLES * (right - left)), np.uint8
        )
        corners = (outline[:, ::-1] - (left, top) + 0.5) * SAMPLES - 0.5
        corners = np.rint(corners * 2**SHIFT).astype(np.int32)
        # Averages of 0 and 240 over 16 samples are whole numbers: coverage is exact.
        cv2.fillPoly(canvas, [corners], 240, shift=SHIFT)
        coverage = cv2.resize(
            canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )
        return window, coverage.astype(np.float32) / 240

    def _warp_texture(self, n, pose, window) -> UInt8[np.ndarray, "h w 3"]:
        """The texture of object n, which turns and grows with it, over a window."""
        y, x, radius, angle = pose
        texture = self.textures[n]
        size = texture.shape[0]
        scale = size / (2 * EXTENT * radius)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        y, x = y - window[0].start, x - window[1].start
        centre = (size - 1) / 2
        matrix = np.array(
            [
                [cos, sin, centre - cos * x - sin * y],
                [-sin, cos, centre + sin * x - cos * y],
            ]
        )
        extent = (window[1].stop - window[1].start, window[0].stop - window[0].start)
        return _warp(texture, matrix, extent)

    def _render_background(self, t: int) -> UInt8[np.ndarray, "H W 3"]:
        height, width = self.background.shape[:2]
        matrix = cv2.getRotationMatrix2D(
            ((self.width - 1) / 2, (self.height - 1) / 2),
            math.degrees(self.roll.at(t)),
            float(self.zoom.at(t)),
        )
        dy, dx = self.pan.at(t) * (self.height, self.width)
        matrix[:, 2] += (dx + (width - self.width) / 2, dy + (height - self.height) / 2)
        return _warp(self.background, matrix, (self.width, self.height))

    def _light(self, t: int) -> Float32[np.ndarray, "H W 3"]:
        """What each pixel is multiplied by: a gain, a slope over the frame, a tint."""
        slope_y, slope_x = self.slope.at(t)
        y = np.linspace(-slope_y, slope_y, self.height, dtype=np.float32)
        x = np.linspace(-slope_x, slope_x, self.width, dtype=np.float32)
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


# Outlines: the reach of each category at every angle, scaled so that its area is that of
# the unit disc.

THETA = np.linspace(0, math.tau, 96, endpoint=False)
HARMONICS = np.stack(
    [np.cos(2 * THETA), np.sin(2 * THETA), np.cos(3 * THETA), np.sin(3 * THETA)]
)


def _outlines() -> Float[np.ndarray, "5 96"]:
    cos, sin = np.abs(np.cos(THETA)), np.abs(np.sin(THETA))
    with np.errstate(divide="ignore"):
        bar = [np.minimum(1 / a, 0.45 / b) for a, b in ((cos, sin), (sin, cos))]
    star = 0.6 + 0.4 * np.abs(1 - 2 * (5 * THETA / math.tau % 1))
    cross = np.maximum(*bar)
    trilobe = np.max([_disc(THETA - a, 0.45, 0.55) for a in (0, 2.1, 4.2)], axis=0)
    crescent = np.minimum(1, _near_side(THETA, 1.05, 0.75))
    reach = np.stack([np.ones_like(THETA), star, cross, trilobe, crescent])
    return reach / np.sqrt(np.square(reach).mean(axis=1, keepdims=True))


def _disc(theta, distance, radius):
    """Reach of a disc that holds the origin, its centre at `distance` and angle 0."""
    return distance * np.cos(theta) + np.sqrt(
        radius**2 - np.square(distance * np.sin(theta))
    )


def _near_side(theta, distance, radius):
    """Where a ray from the origin meets a disc that does not hold it; else infinity."""
    inside = radius**2 - np.square(distance * np.sin(theta))
    meets = (inside > 0) & (np.cos(theta) > 0)
    near = distance * np.cos(theta) - np.sqrt(np.maximum(inside, 0))
    return np.where(meets, near, np.inf)


OUTLINES = _outlines()  # row 0, the disc, is no category


# Textures.


def _object_texture(rng, kind, hue, size) -> UInt8[np.ndarray, "S S 3"]:
    """Two saturated colours in the pattern of the category, darker towards the rim."""
    y, x = np.meshgrid(*[np.linspace(-EXTENT, EXTENT, size, dtype=np.float32)] * 2)
    weight = _pattern(kind, y, x, period=rng.uniform(0.55, 0.8))
    weight += rng.uniform(-0.2, 0.2) + 0.3 * (_noise(rng, 7, 7, size, size) - 0.5)
    light = _colour(hue, rng.uniform(0.6, 1), rng.uniform(0.85, 1))
    dark = _colour(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.8, 1), rng.uniform(0.4, 0.6))
    shading = 1 - 0.15 * (np.square(y) + np.square(x))
    return _mix(dark, light, weight, shading)


def _background_texture(rng, height, width) -> UInt8[np.ndarray, "h w 3"]:
    """Two dull colours in noise of several sizes, with a faint pattern of a category."""
    side = np.float32(min(height, width))
    y, x = np.meshgrid(
        np.arange(height, dtype=np.float32) / side,
        np.arange(width, dtype=np.float32) / side,
        indexing="ij",
    )
    kind = int(rng.integers(1, len(CATEGORIES) + 1))
    weight = 0.15 * _pattern(kind, y, x, period=rng.uniform(0.08, 0.3))
    for cells, share in ((4, 0.4), (12, 0.3), (40, 0.15)):
        weight += share * _noise(rng, cells, cells * width // height, height, width)
    hue, value = rng.random(2)
    light = _colour(hue, rng.uniform(0.05, 0.35), 0.55 + 0.3 * value)
    dark = _colour(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.05, 0.35), 0.15 + 0.3 * value)
    return _mix(dark, light, weight, np.ones_like(weight))


def _pattern(kind, y, x, *, period) -> Float32[np.ndarray, "h w"]:
    """The texture a category is known by, in [0, 1]."""
    k = np.float32(math.tau / period)
    wave = {
        1: lambda: np.sin(k * x),  # stripes
        2: lambda: 2 * np.sin(k * x) * np.sin(k * y),  # checks
        3: lambda: np.sin(k * np.hypot(y, x)),  # rings
        4: lambda: np.cos(k * x) + np.cos(k * y) - 0.5,  # dots
    }[kind]()
    return np.clip(0.5 + 1.5 * wave, 0, 1)


def _noise(rng, rows, columns, height, width) -> Float32[np.ndarray, "h w"]:
    cells = rng.random((rows, columns), np.float32)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def _colour(hue, saturation, value) -> Float32[np.ndarray, "3"]:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32) * 255


def _mix(dark, light, weight, shading) -> UInt8[np.ndarray, "h w 3"]:
    """From `dark` to `light` with the weight, times the shading."""
    channels = [shading * (d + (b - d) * weight) for d, b in zip(dark, light, strict=True)]
    return np.clip(cv2.merge(channels), 0, 255).astype(np.uint8)
