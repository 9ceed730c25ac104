"""Objects painted over a frame: a light fill, an outline, and a dark rim around it."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import scipy.ndimage
import scipy.special
from jaxtyping import Integer, UInt8

from stemseg_jax.outputs import blending, colours

OPACITY = 0.48
RIM = 2.5  # times as wide as the outline is soft

Box = tuple[slice, slice]
Objects = Sequence[tuple[int, Box]]  # ids, with the box around each


class Style(NamedTuple):
    """Lengths in pixels."""

    unit: float  # a 480 x 854 frame has 1
    softness: float = 1.0  # size of the steps that a mask's border has
    opacity: float = OPACITY

    @property
    def line(self) -> float:
        return max(1.4, 2.2 * self.unit)

    @property
    def sigma(self) -> float:
        return max(0.8, 0.8 * self.unit, 0.9 * self.softness * (self.softness > 1))

    @property
    def margin(self) -> int:
        return math.ceil(3 * self.sigma)

    @property
    def reach(self) -> int:
        """Beyond a mask nothing is painted farther away."""
        return math.ceil(3 * RIM * self.sigma) + 2


def objects(labels: Integer[np.ndarray, "h w"]) -> Objects:
    """The ids from 1 that a frame has, in order."""
    x, y, width, height = cv2.boundingRect((labels > 0).view(np.uint8))
    if not width:
        return []
    found = scipy.ndimage.find_objects(labels[y : y + height, x : x + width])
    return [
        (id, (_shifted(box[0], y), _shifted(box[1], x)))
        for id, box in enumerate(found, start=1)
        if box is not None
    ]


def paint(
    image: UInt8[np.ndarray, "h w 3"],
    labels: Integer[np.ndarray, "h w"],
    objects: Objects,
    style: Style,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image, RGB, with its objects in their colours."""
    painted = image.copy()
    for region, inside in _regions(objects, style.reach, labels.shape):
        top, left = (-side.start for side in region)
        inside = [(id, (_shifted(b[0], top), _shifted(b[1], left))) for id, b in inside]
        painted[region] = _painted(image[region], labels[region], inside, style)
    return painted


def _shifted(side: slice, by: int) -> slice:
    return slice(side.start + by, side.stop + by)


def _regions(
    objects: Objects, reach: int, shape: tuple[int, int]
) -> list[tuple[Box, Objects]]:
    """Boxes that do not meet, each with its objects and room for all they paint."""
    regions: list[tuple[Box, Objects]] = []
    for id, box in objects:
        region, inside = _even(_grown(box, reach, shape), shape), [(id, box)]
        while meeting := [held for held in regions if _meet(held[0], region)]:
            regions = [held for held in regions if not _meet(held[0], region)]
            for other, others in meeting:
                region, inside = _around(region, other), [*inside, *others]
        regions.append((region, sorted(inside, key=lambda one: one[0])))
    return regions


def _grown(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, size))
        for s, size in zip(box, shape, strict=True)
    )


def _even(box: Box, shape: tuple[int, int]) -> Box:
    """With even sides, so that pairs of pixels are the same in every region."""
    return tuple(
        slice(s.start // 2 * 2, min((s.stop + 1) // 2 * 2, size))
        for s, size in zip(box, shape, strict=True)
    )


def _meet(one: Box, other: Box) -> bool:
    sides = zip(one, other, strict=True)
    return all(a.start < b.stop and b.start < a.stop for a, b in sides)


def _around(one: Box, other: Box) -> Box:
    sides = zip(one, other, strict=True)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in sides)


def _painted(
    image, labels, inside: Objects, style: Style
) -> UInt8[np.ndarray, "h w 3"]:
    """A region of a frame; the boxes of its objects are seen from it."""
    weight = _rim(labels, style)
    paint = np.zeros((3, *labels.shape), np.uint8)  # black under the rim
    for id, box in inside:
        box = _grown(box, style.margin, labels.shape)
        ours = _coverage((labels[box] == id).view(np.uint8), style)
        on_top = ours > weight[box]
        np.copyto(weight[box], ours, where=on_top)
        colour = np.array(colours.of_id(id), np.uint8)[:, None, None]
        np.copyto(paint[:, *box], colour, where=on_top)
    return blending.over(np.ascontiguousarray(image), cv2.merge(paint), weight)


def _rim(labels: np.ndarray, style: Style) -> UInt8[np.ndarray, "h w"]:
    """Dark just outside the objects, so that outlines stand out anywhere."""
    objects = (labels > 0).view(np.uint8)
    size = labels.shape[::-1]
    # It is soft: half the resolution is enough.
    half = [(side + 1) // 2 for side in size]
    near = cv2.resize(objects * np.uint8(220), half, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(near, (0, 0), RIM * style.sigma / 2)
    return cv2.resize(near, size) * (1 - objects)


def _coverage(mask: np.ndarray, style: Style) -> UInt8[np.ndarray, "h w"]:
    """How much of each pixel the object's colour covers."""
    blurred = cv2.GaussianBlur(mask * np.uint8(255), (0, 0), style.sigma)
    covered = cv2.LUT(blurred, _coverage_of_blurred(style))
    # Blurring loses what is thinner than it reaches; there the mask itself is filled.
    reach = np.ones((style.margin, style.margin), np.uint8)
    thick = cv2.dilate((blurred > 127).view(np.uint8), reach)
    thin = mask & (1 - thick)
    return np.maximum(covered, thin * np.uint8(255 * style.opacity))


@functools.cache
def _coverage_of_blurred(style: Style) -> UInt8[np.ndarray, "256"]:
    """An outline inside the border over a lighter fill, by value of the blurred mask.

    A straight border blurred by sigma has value Phi(d / sigma) at distance d.
    """
    blurred = np.clip(np.arange(256) / 255, 1e-6, 1 - 1e-6)
    inside = style.sigma * scipy.special.ndtri(blurred)
    object_ = np.clip(inside + 0.5, 0, 1)
    line = np.clip(style.line + 0.5 - inside, 0, 1)
    return np.rint(255 * object_ * np.maximum(style.opacity, line)).astype(np.uint8)
