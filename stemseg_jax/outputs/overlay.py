"""A frame with its objects drawn over it: colour, outline, and a label on each.

Everything is anti-aliased and grows with the frame, so that a thumbnail and a 4K frame
look alike.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from stemseg_jax.outputs import chips, colours, label_places, painting

# A label has its name while that is not wider than so many widths of the object. Once
# it has it, or has it not, that stays until the object's width has changed for good.
ROOM = {None: 1.6, True: 2.0, False: 1.3}


def draw(
    image: UInt8[np.ndarray, "h w 3"],
    labels: Integer[np.ndarray, "h w"],
    names: Mapping[int, str] | None = None,
    *,
    opacity: float = painting.OPACITY,
    scale: int = 1,
) -> UInt8[np.ndarray, "H W 3"]:
    """A frame on its own, as `Artist` draws the first of a video."""
    return Artist(names, opacity=opacity, scale=scale).draw(image, labels)


class Artist:
    """Draws the frames of a video, in order; labels keep their places.

    Args:
        names: Text beside the id, e.g. the category. None: no labels at all. An
            object too small for its text shows the id alone.
        opacity: Of the colour inside; outlines are opaque.
        scale: Enlarges small frames first; `enlargement` gives a good value.
    """

    def __init__(
        self,
        names: Mapping[int, str] | None = None,
        *,
        opacity: float = painting.OPACITY,
        scale: int = 1,
    ):
        self.names = names
        self.opacity = opacity
        self.scale = scale
        self._places = label_places.Places()
        self._named: dict[int, bool] = {}

    def draw(
        self, image: UInt8[np.ndarray, "h w 3"], labels: Integer[np.ndarray, "h w"]
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The frame, RGB, with every object in the colour of its id.

        Args:
            labels: Ids from 1; what is below belongs to no object.
        """
        if self.scale > 1:
            image = cv2.resize(
                *(image, None),
                fx=self.scale,
                fy=self.scale,
                interpolation=cv2.INTER_CUBIC,
            )
            labels = labels.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        unit = _unit(*labels.shape)
        style = painting.Style(unit, softness=self.scale, opacity=self.opacity)
        objects = painting.objects(labels)
        drawn = painting.paint(image, labels, objects, style)
        if self.names is not None:
            self._put_labels(drawn, labels, objects, text=round(max(12, 14 * unit)))
        return drawn

    def _put_labels(self, drawn, labels, objects: painting.Objects, text: int) -> None:
        things = self._places.things(labels, objects)
        put = {id: self._chip(id, thing.width, text) for id, thing in things.items()}
        sizes = {id: chip.shape[:2] for id, chip in put.items()}
        places = self._places.next(labels, things, sizes)
        for id, (top, left) in places.items():
            chips.put(drawn, put[id], top=top, left=left)

    def _chip(self, id: int, width: int, text: int) -> UInt8[np.ndarray, "h w 4"]:
        """The label of an object of this width."""
        words = f"{id}  {self.names.get(id, '')}".rstrip()
        chip = chips.of_text(words, colours.of_id(id), text)
        room = ROOM[self._named.get(id)]
        self._named[id] = chip.shape[1] <= room * width
        if self._named[id]:
            return chip
        return chips.of_text(str(id), colours.of_id(id), text)


def enlargement(height: int, width: int) -> int:
    """The whole factor that makes a small frame large enough for labels.

    The longer side stays below 1920: a frame of 4 x 4000 is not enlarged.
    """
    return max(1, min(math.ceil(240 / min(height, width)), 1920 // max(height, width)))


def _unit(height: int, width: int) -> float:
    """The length that is 1 in a frame of 480 x 854."""
    return math.sqrt(height * width / (480 * 854))
