"""What a street is made of: textures on planes, in metres.

Textures have detail of several pixels everywhere. Densities are texels per metre.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import planes, textures

FAR = 30.0  # of the wall
ROAD = (4.6, 12.0)  # its edges
HAZE = 60.0  # where about a third of the colour is left
SAMPLES = 4  # per texel and axis, for outlines


def wall(
    rng: np.random.Generator, intrinsics: readers.Intrinsics, size: tuple[int, int]
) -> planes.Plane:
    """Hills before a cloudy sky."""
    focal = intrinsics[0, 0]
    height, width = math.ceil(1.5 * size[0]), math.ceil(1.4 * size[1])
    horizon = intrinsics[1, 2] + 0.25 * size[0]
    v = np.arange(height, dtype=np.float32)[:, None]
    clouds = _layered_noise(rng, size=(height, width))
    hue = rng.uniform(0.52, 0.62)
    sky = textures.mix(
        textures.colour(hue, rng.uniform(0.3, 0.6), 0.75),
        textures.colour(hue, 0.08, 1),
        clouds,
        np.ones_like(clouds),
    )
    woods = _layered_noise(rng, size=(height, width))
    hue = rng.uniform(0.2, 0.5)
    hills = textures.mix(
        textures.colour(hue, 0.35, 0.35),
        textures.colour(hue, 0.3, 0.7),
        woods,
        np.ones_like(woods),
    )
    ridge = np.float32(0.3 * size[0]) * textures.noise(rng, 3, width, width)[:1]
    ridge = np.float32(horizon - 0.02 * size[0]) - ridge
    below = np.clip(v - ridge, 0, 1)
    colours = planes.blend(hills, sky, below)
    return planes.Plane(
        _with_coverage(colours),
        place=np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, FAR], [0, 0, 1]]),
        point=np.linalg.inv(
            [[focal / FAR, 0, (width - 1) / 2], [0, focal / FAR, horizon], [0, 0, 1]]
        ),
        endless=True,
    )


def ground(
    rng: np.random.Generator,
    intrinsics: readers.Intrinsics,
    size: tuple[int, int],
    *,
    back: float,
) -> planes.Plane:
    """Grass with a road across it.

    The texture is what a camera sees of it that is `back` metres behind the origin, so
    it has about a texel for each pixel however far a part of the ground lies.
    """
    density = 1.2  # texels for each pixel
    focal = density * float(intrinsics[0, 0])
    height, width = math.ceil(0.6 * focal), math.ceil(density * 1.9 * size[1])
    level = 1.2  # of that camera
    v, u = np.indices((height, width), np.float32) + np.float32(0.5)
    distance = np.minimum(focal * level / v, 2 * FAR)
    x = (u - width / 2) * distance / focal
    z = distance - back
    footprint = np.square(distance) / (focal * level)  # metres of a texel, forwards
    weight = np.full_like(z, 0.5)
    for right, forwards, share in (
        (0.12, 0.22, 0.5),
        (0.25, 0.5, 0.5),
        (0.5, 1.3, 0.5),
        (1.2, 4, 0.4),
        (3, 14, 0.4),
    ):
        lattice = rng.random((64, 64), np.float32) - 0.5
        fine = cv2.remap(
            lattice, x / right, z / forwards, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT
        )
        # What is finer than a texel would flicker: it fades before.
        weight += share * fine * np.clip((forwards / footprint - 1.5) / 1.5, 0, 1)
    hue, grey = rng.uniform(0.1, 0.33), rng.uniform(0.4, 0.6)
    shading = np.ones_like(weight)
    grass = textures.mix(
        textures.colour(hue, 0.6, 0.25),
        textures.colour(hue, 0.5, 0.75),
        weight,
        shading,
    )
    tarmac = textures.mix(
        textures.colour(hue, 0.05, grey - 0.25),
        textures.colour(hue, 0.1, grey + 0.25),
        weight,
        shading,
    )
    road = np.clip((z - ROAD[0]) / footprint + 0.5, 0, 1)
    road = np.minimum(road, np.clip((ROAD[1] - z) / footprint + 0.5, 0, 1))
    colours = _hazy(planes.blend(tarmac, grass, road), z)
    return planes.Plane(
        _with_coverage(colours),
        place=np.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]),
        # v = focal * level / distance - 0.5, and u likewise.
        point=np.linalg.inv(
            [
                [focal, (width - 1) / 2, (width - 1) / 2 * back],
                [0, -0.5, focal * level - 0.5 * back],
                [0, 1, back],
            ]
        ),
        endless=True,
    )


class Paint(NamedTuple):
    """What cars may share."""

    hue: float
    other: float  # hue
    kind: int  # of pattern
    period: float  # metres

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Paint":
        hue = rng.random()
        return cls(
            hue,
            hue + rng.uniform(-0.1, 0.1),
            int(rng.integers(1, 5)),
            rng.uniform(0.5, 0.8),
        )


def car(rng: np.random.Generator, paint: Paint, *, density: float) -> planes.Plane:
    """A van, seen from the side, standing on the origin."""
    length, height = rng.uniform(2.6, 3.8), rng.uniform(1.8, 2.1)
    canvas = _Canvas(length, height, density)
    weight = textures.pattern(paint.kind, canvas.y, canvas.x, period=paint.period)
    weight = 0.7 * weight + 0.5 * (_layered_noise(rng, size=canvas.size) - 0.2)
    colours = textures.mix(
        textures.colour(paint.other, 0.9, 0.45),
        textures.colour(paint.hue, 0.75, 0.95),
        weight,
        1 - 0.25 * canvas.y / np.float32(height),
    )
    side = 2 * int(rng.integers(2)) - 1
    body = [(-0.5, 0.12), (-0.5, 0.5), (-0.4, 0.92), (-0.34, 1), (0.47, 1), (0.5, 0.95)]
    body = np.array([*body, (0.5, 0.12)]) * (side * length, height)
    front = np.array([(-0.42, 0.55), (-0.35, 0.88), (-0.18, 0.88), (-0.18, 0.55)])
    rear = np.array([(-0.1, 0.6), (-0.1, 0.86), (0.16, 0.86), (0.16, 0.6)])
    angles = np.linspace(0, math.tau, 24, endpoint=False)
    radius = 0.17 * height
    circle = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    wheels = [circle + (at * length, radius) for at in (-0.3, 0.3)]
    hubs = [0.4 * wheel + 0.6 * wheel.mean(axis=0) for wheel in wheels]
    glass = [window * (side * length, height) for window in (front, rear)]
    colours = canvas.paint(colours, glass, (150, 185, 205), 0.75)
    colours = canvas.paint(colours, wheels, (28, 28, 32), 0.9)
    colours = canvas.paint(colours, hubs, (190, 190, 190), 0.9)
    return canvas.plane(colours, [body, *wheels])


def house(rng: np.random.Generator, depth: float, *, density: float) -> planes.Plane:
    """As seen at this depth, standing on the origin."""
    width, wall = rng.uniform(4, 9), rng.uniform(2.8, 6)
    roof = rng.uniform(0.8, 2)
    canvas = _Canvas(width, wall + roof, density)
    hue = (0.02, 0.08, 0.12, 0.55)[rng.integers(4)] + rng.uniform(-0.03, 0.03)
    weight = 0.15 + 0.8 * _layered_noise(rng, size=canvas.size)
    light = textures.colour(hue, rng.uniform(0.15, 0.5), rng.uniform(0.75, 0.95))
    colours = textures.mix(0.55 * light, light, weight, np.ones_like(weight))
    top = np.array([(-0.5, wall), (0.5, wall), (0.3, wall + roof), (-0.3, wall + roof)])
    tiles = textures.colour(rng.uniform(0, 0.05), 0.6, 0.5)
    colours = canvas.paint(colours, [top * (width, 1)], tiles, 0.7)
    window = np.array([(0, 0), (0, 0.9), (0.7, 0.9), (0.7, 0)])
    windows = [
        window + (x, y)
        for x in np.arange(-width / 2 + 0.8, width / 2 - 0.7, rng.uniform(1.3, 1.9))
        for y in np.arange(0.9, wall - 0.9, 1.6)
    ]
    colours = canvas.paint(colours, windows, (60, 70, 90), 0.8)
    outline = np.array([(-0.5, 0), (0.5, 0), (0.5, wall), (-0.5, wall)]) * (width, 1)
    return canvas.plane(_hazy(colours, depth), [outline, top * (width, 1)])


def tree(rng: np.random.Generator, depth: float, *, density: float) -> planes.Plane:
    """As seen at this depth, standing on the origin."""
    radius, stem = rng.uniform(0.8, 1.5), rng.uniform(1.2, 2)
    canvas = _Canvas(2.4 * radius, stem + 2.2 * radius, density)
    hue = rng.uniform(0.2, 0.4)
    weight = _layered_noise(rng, size=canvas.size)
    colours = textures.mix(
        textures.colour(hue, 0.7, 0.2),
        textures.colour(hue, 0.6, 0.75),
        weight,
        np.ones_like(weight),
    )
    angles = np.linspace(0, math.tau, 48, endpoint=False)
    bumps = 1 + 0.12 * np.sin(5 * angles + rng.uniform(0, math.tau))
    crown = radius * bumps[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    crown += (0, stem + 0.9 * radius)
    trunk = np.array([(-0.14, 0), (-0.14, stem + 0.3), (0.14, stem + 0.3), (0.14, 0)])
    colours = canvas.paint(colours, [trunk], (92, 68, 50), 0.7)
    return canvas.plane(_hazy(colours, depth), [trunk, crown])


class _Canvas:
    """A texture for something upright on the ground: (x, y) in metres, y upwards."""

    def __init__(self, width, height, density):
        self.density = density
        self.size = math.ceil(height * density) + 4, math.ceil(width * density) + 4
        v, u = np.indices(self.size, np.float32)
        self.x = (u - (self.size[1] - 1) / 2) / np.float32(density)
        self.y = (self.size[0] - 2.5 - v) / np.float32(density)

    def paint(self, colours, outlines, colour, strength):
        """Mixes a colour into polygons."""
        return _tint(colours, colour, strength * self._cover(outlines))

    def plane(self, colours, outlines):
        coverage = np.rint(255 * self._cover(outlines)).astype(np.uint8)
        return planes.Plane(
            np.dstack([colours, coverage]),
            place=np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 0], [0, 0, 1]]),
            point=np.linalg.inv(
                [
                    [self.density, 0, (self.size[1] - 1) / 2],
                    [0, -self.density, self.size[0] - 2.5],
                    [0, 0, 1],
                ]
            ),
        )

    def _cover(self, outlines):
        """How much of each texel lies within any of the polygons."""
        height, width = self.size
        canvas = np.zeros((SAMPLES * height, SAMPLES * width), np.uint8)
        for corners in outlines:
            u = self.density * corners[:, 0] + (width - 1) / 2
            v = height - 2.5 - self.density * corners[:, 1]
            points = (np.stack([u, v], axis=1) + 0.5) * SAMPLES - 0.5
            points = np.rint(points * 16).astype(np.int32)
            cv2.fillPoly(canvas, [points], 255, shift=4)
        covered = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        return covered.astype(np.float32) / 255


def _layered_noise(rng, *, size):
    """Smooth noise of several sizes in [0, 1], the finest of a few texels."""
    weight = np.zeros(size, np.float32)
    for step, share in ((3, 0.4), (7, 0.5), (20, 0.5)):
        cells = max(2, round(min(size) / step))
        weight += share * (textures.noise(rng, cells, *size) - 0.5)
    return np.clip(0.5 + weight, 0, 1)


def _hazy(colours, depth):
    """What is far is pale, wherever the camera is: light does not change."""
    share = 1 - np.exp(-np.maximum(depth, 0) / np.float32(HAZE))
    share = np.broadcast_to(np.float32(share), colours.shape[:2])
    return _tint(colours, (190, 200, 215), np.ascontiguousarray(share))


def _tint(colours, colour, share):
    return planes.blend(np.full_like(colours, colour), colours, share)


def _with_coverage(colours):
    return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
