"""Where the labels of objects stand, steady from frame to frame.

A label moves with its object. It stays as it stands to it while that is a good place:
free of other labels and objects, and close to one of the spots around the object where
labels look best. Otherwise it glides to the best spot, a few pixels a frame.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Integer

CELLS = 96  # per side of an object, in which its parts are told apart
NEAR = 1.25  # heights of a label from a spot, at most, while it is good
ARRIVED = 0.25  # heights of a label from a spot, when it stops gliding
GLIDE = 1 / 4  # heights of a label, per frame
LOST = 3  # heights of a label from any spot, from which on it hurries
HURRY = 1 / 8  # of what is beyond, per frame
TOLERATED = 0.08  # of a label, that covers more than it would elsewhere
LABEL = 4  # times as bad to cover as other objects

Size = tuple[int, int]


class Thing(NamedTuple):
    """The part of an object that carries its label, in pixels of the frame."""

    top: int
    left: int
    bottom: int  # like `right` just outside
    right: int
    crown: int  # the middle column of the highest row
    foot: int  # and of the lowest
    whole: tuple[int, int, int, int]  # the same sides of all the object

    @property
    def width(self) -> int:
        return self.right - self.left


class _Place(NamedTuple):
    """Where a label stood last."""

    frame: int
    thing: Thing
    corner: Float[np.ndarray, "2"]  # top, left
    spot: int
    gliding: bool


class Places:
    """The labels of a video, from its first frame on."""

    def __init__(self):
        self._frame = -1
        self._last: dict[int, _Place] = {}

    def next(
        self,
        labels: Integer[np.ndarray, "H W"],
        things: Mapping[int, Thing],
        sizes: Mapping[int, Size],
    ) -> dict[int, Size]:
        """The corner (top, left) of the label of each thing in the next frame.

        Labels make room for those of lower ids, as far as there is room.

        Args:
            labels: The ids of the frame.
            things: As `things` finds them in it.
            sizes: (height, width) of their labels.
        """
        self._frame += 1
        view = _View(labels)
        for id, thing in things.items():
            self._last[id] = place = self._place(view, id, thing, sizes[id])
            view.take(np.rint(place.corner), sizes[id])
        return {
            id: tuple(int(side) for side in np.rint(self._last[id].corner))
            for id in things
        }

    def things(
        self,
        labels: Integer[np.ndarray, "H W"],
        objects: Sequence[tuple[int, tuple[slice, slice]]],
    ) -> dict[int, Thing]:
        """What carries the labels of the next frame.

        Of an object in several parts it is the largest, or the one that carried it in
        the frame before while that is at least half as large.

        Args:
            objects: Ids, with the box around each.
        """
        return {id: self._thing(labels[box] == id, id, box) for id, box in objects}

    def _place(self, view: "_View", id: int, thing: Thing, size: Size) -> _Place:
        spots = _inside(_spots(thing, size), size, view.shape)
        costs = view.costs(spots, size, id)
        best = int(costs.argmin())
        fresh = _Place(self._frame, thing, spots[best], best, gliding=False)
        if (last := self._last.get(id)) is None:
            return fresh
        corner = last.corner + _motion(last.thing.whole, thing.whole)
        corner = _inside(corner, size, view.shape)
        (cost,) = view.costs(corner[None], size, id)
        worst = costs[best] + TOLERATED * size[0] * size[1]
        away = np.linalg.norm(spots[last.spot] - corner)
        near = size[0] * (ARRIVED if last.gliding else NEAR)
        if cost <= worst and away <= near:
            return fresh._replace(corner=corner, spot=last.spot)
        if last.frame < self._frame - 1:  # it was out of sight
            return fresh
        spot = last.spot if costs[last.spot] <= worst else best
        corner = _glide(corner, spots, spot, height=size[0])
        return _Place(self._frame, thing, corner, spot, gliding=True)

    def _thing(self, mask: np.ndarray, id: int, box: tuple[slice, slice]) -> Thing:
        rows, columns = box
        before = self._last[id].thing if id in self._last else None
        part = _main_part(mask.view(np.uint8), rows.start, columns.start, before)
        x, y, width, height = cv2.boundingRect(part)
        top, left = rows.start + y, columns.start + x
        crown, foot = (
            columns.start + int(np.median(np.flatnonzero(part[row])))
            for row in (y, y + height - 1)
        )
        whole = (rows.start, columns.start, rows.stop, columns.stop)
        return Thing(top, left, top + height, left + width, crown, foot, whole)


class _View:
    """A frame, and the labels that have a place in it."""

    def __init__(self, labels: Integer[np.ndarray, "H W"]):
        self.shape = labels.shape
        self._labels = labels
        self._taken = np.zeros((0, 4))

    def take(self, corner: Float[np.ndarray, "2"], size: Size) -> None:
        self._taken = np.vstack([self._taken, [*corner, *(corner + size)]])

    def costs(
        self, corners: Float[np.ndarray, "n 2"], size: Size, id: int
    ) -> Float[np.ndarray, "n"]:
        """How many pixels of others a label of this size would cover at each corner."""
        start = np.maximum(corners[:, None], self._taken[:, :2])
        stop = np.minimum(corners[:, None] + size, self._taken[:, 2:])
        covered = np.maximum(stop - start, 0).prod(axis=-1).sum(axis=1)
        return LABEL * covered + [self._others(corner, size, id) for corner in corners]

    def _others(self, corner: Float[np.ndarray, "2"], size: Size, id: int) -> int:
        top, left = (int(side) for side in corner)
        # Every second pixel of each row is enough.
        below = self._labels[top : top + size[0], left : left + size[1] : 2]
        return 2 * int(np.count_nonzero((below > 0) & (below != id)))


def _main_part(
    mask: np.ndarray, top: int, left: int, before: Thing | None
) -> np.ndarray:
    """The connected part of a mask that carries the label; both of one size."""
    height, width = mask.shape
    cell = max(1.0, max(mask.shape) / CELLS)
    size = math.ceil(width / cell), math.ceil(height / cell)
    # A cell that is covered in part counts, but for less than a five-hundredth.
    cells = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(cells)
    if count <= 2:
        return mask
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    chosen = int(areas.argmax())
    if before is not None:
        ys = slice(*_scaled(before.top - top, before.bottom - top, size[1] / height))
        xs = slice(*_scaled(before.left - left, before.right - left, size[0] / width))
        shared = np.bincount(parts[ys, xs].ravel(), minlength=count)
        shared[2 * areas < areas[chosen]] = 0
        chosen = int(shared.argmax()) if shared.any() else chosen
    part = (parts == chosen).view(np.uint8)
    return mask & cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST)


def _scaled(start: int, stop: int, factor: float) -> Iterator[int]:
    return (max(round(side * factor), 0) for side in (start, stop))


def _spots(thing: Thing, size: Size) -> Float[np.ndarray, "8 2"]:
    """Corners of a label, the best first: above the object, on it, below, beside it."""
    height, width = size
    gap = height // 4
    above = thing.top - gap - height
    middle = (thing.top + thing.bottom - height) // 2
    spots = [
        (above, thing.crown - width // 2),
        (above, thing.crown - width - gap),
        (above, thing.crown + gap),
        (thing.top + gap, thing.crown - width // 2),
        (thing.bottom + gap, thing.foot - width // 2),
        (middle, thing.right + gap),
        (middle, thing.left - gap - width),
        (middle, (thing.left + thing.right - width) // 2),
    ]
    return np.array(spots, float)


def _inside(
    corners: Float[np.ndarray, "*n 2"], size: Size, frame: Size
) -> Float[np.ndarray, "*n 2"]:
    """Labels that would leave the frame are pushed in, to its front if they must."""
    return np.maximum(np.minimum(corners, np.subtract(frame, size)), 0)


def _motion(
    before: tuple[int, int, int, int], after: tuple[int, int, int, int]
) -> Float[np.ndarray, "2"]:
    """How an object moved: as far as opposite sides of its box move together.

    One that grows or shrinks, or is covered from one side, does not move.
    """
    sides = np.subtract(after, before).reshape(2, 2)
    together = np.sign(sides[0]) == np.sign(sides[1])
    return np.where(together, np.sign(sides[0]) * np.abs(sides).min(axis=0), 0.0)


def _glide(
    corner: Float[np.ndarray, "2"],
    spots: Float[np.ndarray, "8 2"],
    goal: int,
    *,
    height: int,
) -> Float[np.ndarray, "2"]:
    """Where a label is a frame later on its way to a spot."""
    away = np.linalg.norm(spots - corner, axis=1)
    step = max(1.0, GLIDE * height) + HURRY * max(0.0, away.min() - LOST * height)
    return corner + (spots[goal] - corner) * min(1.0, step / max(away[goal], 1e-9))
