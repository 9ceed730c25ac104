"""A street before a moving camera: what stands where, and how a frame follows.

Everything is a textured plane at a known place: a far wall, the ground, houses and
trees, and cars, which drive along their lanes. Light is constant and textures have
detail of several pixels everywhere, so that two frames agree where both see a thing.

The world's axes point right, down and forwards, in metres; the ground is at height 0.
A scene is a set of random choices and a closed formula for every moment.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import planes, scenery, swings

CATEGORIES = {1: "car"}

FOCAL = 1.25  # lengths, in heights of the frame
CENTRE = (0.46, 0.49)  # principal point (y, x), in frames from the upper left corner
BACK = 1.0  # how far the camera goes back and forth, at most
LANES = (5.7, 9.8)  # nearest and farthest car
ALIKE = 0.5  # how often a car has the paint of another one


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreetSettings:
    """Settings of one street.

    Args:
        height: Size of the frame in pixels.
        objects: Number of cars.
        speed: Of the camera; 1: about 0.1 to 0.2 metres a frame. 0: it stands still.
    """

    height: int
    width: int
    objects: int
    speed: float = 1.0

    def __post_init__(self):
        if min(self.height, self.width) < 32:
            raise ValueError(
                f"frames of {self.height} x {self.width}: expected 32 x 32 or more."
            )
        if not 1 <= self.objects <= 100:
            raise ValueError(f"{self.objects} cars in a street: expected 1 to 100.")
        if not 0 <= self.speed <= 10:
            raise ValueError(f"speed={self.speed}: expected 0 to 10.")

    @property
    def intrinsics(self) -> readers.Intrinsics:
        focal = FOCAL * self.height
        y, x = CENTRE[0] * self.height - 0.5, CENTRE[1] * self.width - 0.5
        return np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])


class Street:
    """All random choices of one video, and its frames; car 0 is in the last lane."""

    def __init__(self, settings: StreetSettings, seed: Sequence[int]):
        self.settings = settings
        self.size = settings.height, settings.width
        self.intrinsics = settings.intrinsics
        rng = np.random.default_rng(seed)

        # The camera drives round an ellipse, so that it never stops, and looks around.
        self.reach = rng.uniform(0.7, 1.1), rng.uniform(0.7, BACK)  # right, forwards
        self.phase = rng.uniform(0, math.tau)
        self.turn = math.tau * (2 * rng.integers(2) - 1) / rng.uniform(32, 48)
        self.height = swings.Swing(rng, rng.uniform(1.1, 1.3), 0.04, period=(20, 40))
        ahead = np.array([rng.uniform(0, 0.05), 0, 0])  # pitch, yaw, roll
        self.heading = swings.Swing(rng, ahead, (0.012, 0.05, 0.015), period=(40, 80))

        # Cars swing along their lanes. The nearest one, which nothing hides, stays in
        # view; the others leave it at times.
        count = settings.objects
        gap = (LANES[1] - LANES[0]) / max(count - 1, 1)
        room = min(gap, 2.0) * np.ones(count)  # of a lane
        lanes = LANES[0] + gap * np.arange(count)[::-1]
        lanes += rng.uniform(-0.1, 0.1, count) * room
        view = lanes * settings.width / (FOCAL * settings.height)  # metres of a frame
        amplitude = rng.uniform(0.2, 0.6, count) * view
        amplitude[-1] = rng.uniform(0.1, 0.2) * view[-1]
        middle = rng.uniform(-0.12, 0.12, count) * view
        self.along = swings.Swing(rng, middle, amplitude, period=(40, 100))
        self.away = swings.Swing(rng, lanes, 0.3 * room, period=(40, 100))

        paints = [scenery.Paint.draw(rng) for _ in range(count)]
        for n in range(1, count):
            if rng.random() < ALIKE:
                paints[n] = paints[rng.integers(n)]
        densities = 1.25 * self.intrinsics[0, 0] / lanes
        self.cars = [
            scenery.car(rng, paint, density=density)
            for paint, density in zip(paints, densities, strict=True)
        ]
        self.wall = scenery.wall(rng, self.intrinsics, self.size)
        self.ground = scenery.ground(rng, self.intrinsics, self.size, back=BACK)
        self.standing = _houses_and_trees(rng, settings)

    def pose(self, t: int) -> Float[np.ndarray, "4 4"]:
        """From the camera's axes to the world's."""
        t = self.settings.speed * t
        angle = self.phase + self.turn * t
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(self.heading.at(t))[0]
        pose[0, 3] = self.reach[0] * math.cos(angle)
        pose[1, 3] = -self.height.at(t)
        pose[2, 3] = self.reach[1] * math.sin(angle)
        return pose

    def render(
        self, t: int
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """The image, and 1 + the number of the car at each pixel (0: none).

        A thing is at a pixel if it covers half of it or more; the image blends.
        """
        wall, ground, standing = self._seen(t)
        image = planes.blend(ground.colours, wall.colours, _before(ground, wall))
        labels = np.zeros(self.size, np.uint8)
        for label, seen in standing:
            if seen.texture.size:
                image[seen.window] = planes.blend(
                    seen.colours, image[seen.window], seen.coverage
                )
                labels[seen.window][seen.mask] = label
        return image, labels

    def depth(self, t: int) -> Float32[np.ndarray, "H W"]:
        """Of what is seen at each pixel: metres along the camera's axis."""
        wall, ground, standing = self._seen(t)
        near = np.maximum(wall.inverse_depth, ground.inverse_depth)
        for _, seen in standing:
            np.copyto(near[seen.window], seen.inverse_depth, where=seen.mask)
        return 1 / near

    def silhouettes(self, t: int) -> Bool[np.ndarray, "N H W"]:
        """Where each car would be seen if nothing hid it."""
        masks = np.zeros((len(self.cars), *self.size), bool)
        for label, seen in self._seen(t)[2]:
            if label:
                masks[label - 1][seen.window] = seen.mask
        return masks

    def _seen(self, t):
        """The wall, the ground, and what stands on it from far to near with labels."""
        view = planes.view(self.intrinsics, self.pose(t))
        places = zip(self.along.at(t), self.away.at(t), strict=True)
        standing = [(0, plane) for plane in self.standing]
        standing += [
            (label, car.at(np.array([x, 0, z])))
            for label, (car, (x, z)) in enumerate(
                zip(self.cars, places, strict=True), start=1
            )
        ]
        # All are parallel: one that is nearer lies before all of another.
        standing.sort(key=lambda item: -item[1].place[2, 2])
        wall, ground = (
            plane.seen(view, self.size) for plane in (self.wall, self.ground)
        )
        return (
            wall,
            ground,
            [(label, plane.seen(view, self.size)) for label, plane in standing],
        )


def _before(ground, wall):
    """How much of each pixel the ground covers: it meets the wall in a line."""
    slope = np.hypot(*(ground.nearness - wall.nearness)[:2])
    distance = (ground.inverse_depth - wall.inverse_depth) / np.float32(slope)  # pixels
    return np.clip(distance + np.float32(0.5), 0, 1)


def _houses_and_trees(rng, settings):
    focal = FOCAL * settings.height
    standing = []
    for draw, depths, counts in (
        (scenery.house, (13, 26), (3, 6)),
        (scenery.tree, (7.5, 22), (2, 5)),
    ):
        for depth in rng.uniform(*depths, rng.integers(*counts)):
            half = 0.5 * depth * settings.width / focal  # of what a frame shows there
            plane = draw(rng, depth, density=1.25 * focal / depth)
            position = np.array([rng.uniform(-1.1, 1.1) * half, 0, depth])
            standing.append(plane.at(position))
    return standing
