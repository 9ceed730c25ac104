"""A second instance for clips that hold only one: a shifted copy of the first."""

import dataclasses
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from stemseg_jax.data import readers


@runtime_checkable
class Uniform(Protocol):
    """`numpy.random.Generator`, or Python's `random.Random` for comparisons."""

    def random(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class Box:
    """A tight box; bottom and right are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "H W"]) -> "Box | None":
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        if not len(rows):
            return None
        return cls(
            int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
        )


@dataclasses.dataclass(frozen=True)
class Duplicate:
    """The transform: `duplicate` wherever there is only one instance."""

    def __call__(
        self, rng: np.random.Generator, clip: readers.RawClip
    ) -> readers.RawClip:
        return duplicate(rng, clip) if len(clip.ids) == 1 else clip


def duplicate(rng: Uniform, clip: readers.RawClip) -> readers.RawClip:
    """Pastes a copy of the only instance beside it, over whatever is there.

    The copy has a side of its own (where there is more room, else drawn) and a new
    shift in every frame: 0.75 to 1 times its width, 0 to 0.25 times its height. It is
    mirrored half of the time if the instance nowhere touches the left or right border.
    An instance that touches both is left alone.

    Source: the authors' code; the paper does not mention it.
    """
    assert len(clip.ids) == 1, "only clips of one instance are duplicated"
    height, width = clip.ignore.shape[1:]
    boxes = [Box.of(mask) for mask in clip.masks[0]]
    spans_x = [(box.left, box.right) for box in boxes if box]
    spans_y = [(box.top, box.bottom) for box in boxes if box]
    left, right = _touched(spans_x, width)
    top, bottom = _touched(spans_y, height)
    if (left and right) or not spans_x:
        return clip
    side_x = _side(spans_x, width) or _draw_side(rng)
    side_y = 0 if top and bottom else _side(spans_y, height) or _draw_side(rng)
    mirrored = not (left or right) and rng.random() < 0.5

    frames, original = clip.frames.copy(), clip.masks[0].copy()
    copy = np.zeros_like(original)
    for t, box in enumerate(boxes):
        if box is None:
            continue
        image, mask = clip.frames[t], original[t].astype(np.uint8)
        if mirrored:
            image, mask = _mirror_inside(image, box), _mirror_inside(mask, box)
        x = side_x * (box.right - box.left) * (0.75 + 0.25 * rng.random())
        y = side_y * (box.bottom - box.top) * 0.25 * rng.random()
        # Only shifts to the right and down are limited, as in the authors' code.
        shift = np.array([[1, 0, min(x, 0.3 * width)], [0, 1, min(y, 0.3 * height)]])
        copy[t] = cv2.warpAffine(mask, shift, (width, height)) > 0
        frames[t][copy[t]] = cv2.warpAffine(image, shift, (width, height))[copy[t]]
        original[t] &= ~copy[t]
    return clip._replace(
        frames=frames,
        ids=np.append(clip.ids, clip.ids + 1),
        categories=np.repeat(clip.categories, 2),
        masks=np.stack([original, copy]),
    )


def _touched(spans: list[tuple[int, int]], length: int) -> tuple[bool, bool]:
    """Whether any span begins at 0, and whether any ends at the far border."""
    return any(a == 0 for a, _ in spans), any(b == length for _, b in spans)


def _side(spans: list[tuple[int, int]], length: int) -> int:
    """-1 or 1 where the instance leaves room there, 0 without preference."""
    side = 0
    for start, end in spans:  # later frames overrule earlier ones
        if end - start > 0.4 * length:
            side = -1 if start == 0 else 1 if end == length else side
        elif end - start < 0.2 * length:
            centre = (start + end) / 2
            side = (
                1 if centre < 0.25 * length else -1 if centre > 0.75 * length else side
            )
    return side


def _draw_side(rng: Uniform) -> int:
    return -1 if rng.random() < 0.5 else 1


def _mirror_inside(
    image: UInt8[np.ndarray, "H W *C"], box: Box
) -> UInt8[np.ndarray, "H W *C"]:
    image = image.copy()
    inside = np.s_[box.top : box.bottom, box.left : box.right]
    image[inside] = image[inside][:, ::-1]
    return image
