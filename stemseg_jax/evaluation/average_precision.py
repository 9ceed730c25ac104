"""AP and AR of tracks: who finds whom, and the area under precision over recall.

A prediction is compared with the objects of its video and category by the IoU of their
masks over all frames.

Source: youtubevos/cocoapi, `ytvoseval`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco

from stemseg_jax.formats.coco_json import Masks

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_PREDICTIONS = (1, 10, 100)  # best of a video and category
# Both ends belong to a range; 128^2 pixels are small and medium.
AREAS = {
    "all": (0, 1e10),
    "small": (0, 128**2),
    "medium": (128**2, 256**2),
    "large": (256**2, 1e10),
}
ALL_RANGES = slice(None)


class Objects(NamedTuple):
    """The annotated objects of one video and category, in file order."""

    masks: list[Masks]
    crowd: Bool[np.ndarray, "G"]
    never_matches: Bool[np.ndarray, "G"]
    ignored: Bool[np.ndarray, "R G"]  # crowd, or outside range r


class Matches(NamedTuple):
    """The predictions of one video and category by falling score, against each range r
    of size or occlusion and each threshold t.
    """

    scores: Float[np.ndarray, "D"]
    true: Bool[np.ndarray, "R T D"]
    false: Bool[np.ndarray, "R T D"]  # neither: left out
    counted: Int[np.ndarray, "R"]  # objects to be found
    iou: Float[np.ndarray, "D G"]


class Ranking(NamedTuple):
    """All predictions of one category by falling score."""

    video: Int[np.ndarray, "N"]
    place: Int[np.ndarray, "N"]  # within its video, from 0
    true: Bool[np.ndarray, "R T N"]
    false: Bool[np.ndarray, "R T N"]
    counted: Int[np.ndarray, "videos R"]


def match(
    scores: Float[np.ndarray, "P"],
    masks: Sequence[Masks],
    objects: Objects,
    *,
    areas: Mapping[str, tuple[int | float, int | float]] = AREAS,
) -> Matches:
    """Gives objects to predictions, best score first, the first 100.

    A prediction takes the object of highest IoU that is not yet taken, the last of
    equals; an ignored one only if no counted one reaches the threshold. Crowds can be
    taken again. Left out of the score are predictions that took an ignored object, and
    those without any whose own area is outside the range.

    Args:
        areas: The ranges of sizes that `objects.ignored` begins with.
    """
    order = np.argsort(-scores, kind="stable")[: MAX_PREDICTIONS[-1]]
    masks = [masks[index] for index in order]
    shared = overlaps(masks, objects.masks)
    own = np.array([track.areas.sum() for track in masks])[:, None]  # [D 1]
    theirs = np.array([track.areas.sum() for track in objects.masks])  # [G]
    iou = shared / np.maximum(own + theirs - shared, 1)

    ranges, count = len(objects.ignored), len(objects.masks)
    shape = (ranges, len(THRESHOLDS))
    free = np.ones((*shape, count), bool)
    matched = np.zeros((*shape, len(masks)), bool)
    left_out = np.zeros((*shape, len(masks)), bool)
    needed = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    # Counted objects come first: no IoU that fits is below 1/2 or, of an ignored one,
    # above 1/4. To divide by 4 costs no digit.
    preference = np.where(objects.ignored[:, None, :], 0.25, 1)
    each, every = np.arange(len(THRESHOLDS)), np.arange(ranges)[:, None]
    reaches, worth = iou[:, None, None] >= needed, iou[:, None, None] * preference
    for row in np.flatnonzero(reaches.any(axis=(1, 2, 3))).tolist():
        fits = free & reaches[row]  # [R T G]
        rank = np.where(fits, worth[row], -1)
        best = count - 1 - rank[..., ::-1].argmax(axis=-1)  # [R T], the last of equals
        found = fits.any(axis=-1)
        free[every, each, best] &= ~found | objects.crowd[best]
        matched[..., row] = found & ~objects.never_matches[best]
        left_out[..., row] = found & objects.ignored[every, best]
    outside = np.zeros((ranges, len(masks)), bool)
    present = np.array([(track.areas > 0).sum() for track in masks])[:, None]
    area = (own / np.maximum(present, 1))[:, 0]
    for index, (low, high) in enumerate(areas.values()):
        outside[index] = (area < low) | (area > high)
    left_out |= ~matched & outside[:, None, :]
    return Matches(
        scores=scores[order],
        true=matched & ~left_out,
        false=~matched & ~left_out,
        counted=(~objects.ignored).sum(axis=1),
        iou=iou,
    )


def overlaps(
    masks: Sequence[Masks], others: Sequence[Masks]
) -> Float[np.ndarray, "D G"]:
    """Pixels that two lists of tracks share, over all frames."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    areas = np.array([track.areas for track in masks]).T  # [T D]
    shares = np.zeros((*areas.shape, len(others)))
    for frame in range(len(areas)):
        rows = [k for k, track in enumerate(masks) if frame in track.by_frame]
        columns = [k for k, track in enumerate(others) if frame in track.by_frame]
        if rows and columns:
            # As crowds: the share of a prediction's own area.
            shares[frame, np.array(rows)[:, None], columns] = coco.iou(
                [masks[row].by_frame[frame] for row in rows],
                [others[column].by_frame[frame] for column in columns],
                [1] * len(columns),
            )
    return np.rint(shares * areas[..., None]).sum(axis=0)  # whole pixels again


def rank(videos: Iterable[dict[int, Matches]]) -> dict[int, Ranking]:
    """The predictions of each category, those of all videos sorted stably by score."""
    videos = list(videos)
    rankings = {}
    for category in sorted({category for video in videos for category in video}):
        found = [
            (index, video[category])
            for index, video in enumerate(videos)
            if category in video
        ]
        matches = [match for _, match in found]
        ranges = matches[0].counted.shape
        counted = np.zeros((len(videos), *ranges), int)
        counted[[index for index, _ in found]] = [match.counted for match in matches]
        lengths = [len(match.scores) for match in matches]
        scores = np.concatenate([match.scores for match in matches])
        order = np.argsort(-scores, kind="stable")
        rankings[category] = Ranking(
            video=np.repeat([index for index, _ in found], lengths)[order],
            place=np.concatenate([np.arange(length) for length in lengths])[order],
            true=np.concatenate([m.true for m in matches], axis=-1)[..., order],
            false=np.concatenate([m.false for m in matches], axis=-1)[..., order],
            counted=counted,
        )
    return rankings


def average_precision(
    ranking: Ranking,
    most: int,
    ranges: slice = ALL_RANGES,
    weights: Int[np.ndarray, "videos"] | None = None,
) -> Float[np.ndarray, "R T"]:
    """Area under precision over recall; -1 without an object to be found.

    Precision is made non-increasing from the right and read at 101 recalls, 0 beyond
    the last that is reached.

    Args:
        most: Predictions that count of each video.
        weights: How often each video counts; once, if not given.
    """
    objects, kept, times = _counted(ranking, most, ranges, weights)
    true = np.cumsum(ranking.true[ranges][..., kept] * times, axis=-1)  # [R T N]
    false = np.cumsum(ranking.false[ranges][..., kept] * times, axis=-1)
    recall = true / np.maximum(objects, 1)[..., None]
    precision = true / (true + false + np.spacing(1))
    precision = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    precision = np.pad(precision, ((0, 0), (0, 0), (0, 1)))
    area = np.empty(true.shape[:2])
    for index in np.ndindex(area.shape):
        area[index] = precision[index][np.searchsorted(recall[index], RECALLS)].mean()
    return np.where(objects > 0, area, -1.0)


def final_recall(
    ranking: Ranking,
    most: int,
    ranges: slice = ALL_RANGES,
    weights: Int[np.ndarray, "videos"] | None = None,
) -> Float[np.ndarray, "R T"]:
    """Share of the objects that are found; -1 without one. Arguments as above."""
    objects, kept, times = _counted(ranking, most, ranges, weights)
    found = (ranking.true[ranges][..., kept] * times).sum(axis=-1)
    return np.where(objects > 0, found / np.maximum(objects, 1), -1.0)


def _counted(ranking: Ranking, most: int, ranges: slice, weights):
    """Objects [R 1], which predictions count, and how often these do."""
    if weights is None:
        weights = np.ones(len(ranking.counted), int)
    objects = (weights @ ranking.counted[:, ranges])[:, None]
    kept = ranking.place < most
    return objects, kept, weights[ranking.video[kept]]
