"""Identities for masks that were found frame by frame: what papers compare with.

Nothing here has learnt from videos: which object a mask is says its overlap with where
objects were, its overlap with where the optical flow has carried them, or its looks.

Source: the OF-Tracker and the RI-Tracker beside which STEm-Seg stands on DAVIS (Athar
    et al., ECCV 2020), one by flow, the other by re-identification; all numbers here
    are ours.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import optimize

from stemseg_jax import choices, ranges

CUES = ("overlap", "flow", "looks")
FADING = 0.9  # a view counts so much less with each one after it
LEAST_SIDE = 16  # pixels; flow is not estimated in smaller frames, nothing moves there

Look = Callable[
    [UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "N H W"]], Float[np.ndarray, "N E"]
]


class Found(NamedTuple):
    """What was found in one frame."""

    masks: Bool[np.ndarray, "N H W"]
    image: UInt8[np.ndarray, "H W 3"] | None = None  # RGB; "overlap" does without


class Known(NamedTuple):
    """The K objects that may be seen again."""

    ids: Int[np.ndarray, "K"]
    masks: Bool[np.ndarray, "K H W"]  # where each is thought to be
    looks: Float[np.ndarray, "K E"]  # mean of its views, of length 1
    absent: Int[np.ndarray, "K"]  # frames since it was seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linking:
    """How masks become tracks.

    Args:
        by: "overlap": IoU with the object's last mask. "flow": IoU with that mask,
            moved by the optical flow of every frame since. "looks": the cosine of a
            crop's embedding and the mean of the object's.
        min_similarity: A mask that is less like each object is a new one.
        patience: Frames for which an object that has no mask is waited for.
    """

    by: str
    min_similarity: float
    patience: int

    def __post_init__(self):
        choices.known("linking.by", self.by, CUES)
        for name, allowed in {
            "min_similarity": ranges.Real(least=0, most=1),
            "patience": ranges.Whole(),
        }.items():
            if not allowed.holds(value := getattr(self, name)):
                raise ValueError(f"linking.{name}={value!r}: expected {allowed}.")


def linked(
    frames: Iterable[Found], settings: Linking, *, look: Look | None = None
) -> Iterator[Int[np.ndarray, "N"]]:
    """The ids of each frame's masks, from 1 in the order in which objects appear.

    Masks go to objects so that the sum of their similarities is largest.

    Args:
        look: Of an image, what each mask in it looks like; needed by "looks".

    Raises:
        ValueError: "flow" or "looks", and there is no image.
    """
    known, next_id, before = None, 1, None
    for index, (masks, image) in enumerate(frames):
        if image is None and settings.by != "overlap":
            raise ValueError(
                f"frame {index}: linking by {settings.by!r} needs the frame's image."
            )
        looks = np.zeros((len(masks), 0))
        if settings.by == "looks":
            assert look is not None
            looks = _unit(look(image, masks))
        if known is None:
            known = Known(np.zeros(0, int), masks[:0], looks[:0], np.zeros(0, int))
        elif settings.by == "flow":
            known = known._replace(masks=moved(known.masks, before, image))
        similarity = (
            known.looks @ looks.T
            if settings.by == "looks"
            else overlaps(known.masks, masks)
        )
        rows = pairs(similarity, settings.min_similarity)
        is_new = rows < 0
        ids = np.append(known.ids, 0)[rows]
        ids[is_new] = next_id + np.arange(is_new.sum())
        next_id += int(is_new.sum())
        yield ids
        known, before = _after(known, rows, Known(ids, masks, looks, 0 * ids)), image
        waits = known.absent <= settings.patience
        known = Known(*(values[waits] for values in known))


def overlaps(
    first: Bool[np.ndarray, "A H W"], second: Bool[np.ndarray, "B H W"]
) -> Float[np.ndarray, "A B"]:
    """IoU of each pair; 0 of two empty masks."""
    size = np.prod(first.shape[1:])
    a, b = (x.reshape(len(x), size).astype(np.float32) for x in (first, second))
    both = a @ b.T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    return both / np.maximum(union, 1)


def moved(
    masks: Bool[np.ndarray, "K H W"],
    before: UInt8[np.ndarray, "H W 3"],
    now: UInt8[np.ndarray, "H W 3"],
) -> Bool[np.ndarray, "K H W"]:
    """Masks of one frame where the optical flow has carried them in the next.

    Each pixel of the next frame asks the flow where it was (dense inverse search:
    Kroeger et al., ECCV 2016); what comes from outside is no object.
    """
    if not len(masks) or min(now.shape[:2]) < LEAST_SIDE:
        return masks
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (now, before)]
    preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    flow = cv2.DISOpticalFlow_create(preset).calc(*grey, None)  # (x, y)
    height, width = grey[0].shape
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (width, height)))
    was = x + flow[..., 0], y + flow[..., 1]
    carried = [
        cv2.remap(mask.astype(np.float32), *was, cv2.INTER_LINEAR) for mask in masks
    ]
    return np.stack(carried) > 0.5


def pairs(similarity: Float[np.ndarray, "K N"], least: float) -> Int[np.ndarray, "N"]:
    """The row of each column so that the sum of similarities is largest; -1: none.

    What is not more similar than `least` is no pair. On the host, where each frame may
    have another number of masks: `matching.best_rows` is compiled for each.
    """
    possible = np.where(similarity > least, similarity, 0)
    rows, columns = optimize.linear_sum_assignment(possible, maximize=True)
    of_column = np.full(similarity.shape[1], -1)
    taken = possible[rows, columns] > 0
    of_column[columns[taken]] = rows[taken]
    return of_column


def _after(known: Known, rows: Int[np.ndarray, "N"], seen: Known) -> Known:
    """Those that were seen, and those that were not, each a frame longer."""
    old = rows >= 0
    mean = seen.looks.copy()
    mean[old] = _unit(FADING * known.looks[rows[old]] + (1 - FADING) * seen.looks[old])
    lost = ~np.isin(np.arange(len(known.ids)), rows)
    away = Known(*(values[lost] for values in known))
    away = away._replace(absent=away.absent + 1)
    return Known(
        *(
            np.concatenate(both)
            for both in zip(seen._replace(looks=mean), away, strict=True)
        )
    )


def _unit(vectors: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
    """0 of a vector without length."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-8)
