"""AP and AR of tracks, as YouTube-VIS and OVIS measure them.

A prediction is compared with the objects of its video and category by the IoU of their
masks over all frames. Masks are read and compared one video at a time.

Source: youtubevos/cocoapi, `ytvoseval`; qjy981010/cocoapi, `oviseval`, for occlusion.
Differs from them in: masks for fewer frames than the video has are refused, where
ytvoseval leaves the remaining frames out of the union.
"""

import functools
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco

from stemseg_jax.evaluation.scored import Figures, Progress, Scored
from stemseg_jax.outputs import rle, ytvis_json

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
OCCLUSIONS = {"light_occ": (0, 0.25), "medium_occ": (0.25, 0.5), "heavy_occ": (0.5, 1)}
OCCLUSION_OF_FRAME = {
    "no_occlusion": 0.0,
    "slight_occlusion": 0.25,
    "severe_occlusion": 0.75,
}


class Annotations(NamedTuple):
    """An annotation file; masks stay as the file writes them."""

    sizes: dict[int, ytvis_json.VideoSize]
    names: dict[int, str]  # of videos
    categories: dict[int, str]
    objects: dict[int, list[dict[str, Any]]]  # by video


class Objects(NamedTuple):
    """The annotated objects of one video and category, in file order."""

    masks: list[list[rle.Rle | None]]
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


def score(
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    *,
    occlusion: bool = False,
    progress: Progress = iter,
) -> Scored:
    """Scores a result file against an annotation file, one video after the other.

    Predictions of a category that the annotations do not list count for nothing.

    Args:
        ground_truth: Like `results` a .json, .json.gz, or .zip with a results.json.
        occlusion: Whether to score by degree of occlusion as well, as OVIS does.

    Raises:
        ValueError: What `ytvis_json.check` refuses, save for scores outside [0, 1] and
            unlisted categories; annotations that cannot be scored.
    """
    annotations = read_annotations(ground_truth)
    entries = defaultdict(list)
    for number, entry in enumerate(ytvis_json.read_entries(results)):
        where = f"{results}: entry {number}"
        ytvis_json.check_head(entry, annotations.sizes, where)
        entries[entry["video_id"]].append((where, entry))
    videos = {}
    for video in progress(sorted(annotations.sizes)):
        # A video's masks are let go of once it is scored.
        videos[video] = match_video(
            annotations, video, entries.pop(video, []), occlusion=occlusion
        )
    rankings = rank(videos.values())
    return Scored(
        videos=tuple(annotations.names[video] for video in videos),
        figures=functools.partial(figures, rankings),
        table=functools.partial(table, rankings, annotations.categories),
        report=functools.partial(report, videos, rankings, annotations.categories),
    )


def read_annotations(file: pathlib.Path) -> Annotations:
    """Reads an annotation file (.json or .json.gz).

    Raises:
        ValueError: It is not one, holds no annotations, or an object of a video or
            category that the file does not list.
    """
    content = ytvis_json.read(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: not an annotation file; give the result file apart")
    for key in ("videos", "categories", "annotations"):
        if not isinstance(content.get(key), list):
            raise ValueError(f"{file}: no {key}; only annotated videos can be scored")
    sizes, names = {}, {}
    for video in content["videos"]:
        length = len(video.get("file_names") or range(video["length"]))
        sizes[video["id"]] = ytvis_json.VideoSize(
            video["height"], video["width"], length
        )
        frames = video.get("file_names") or [f"video {video['id']}/"]
        names[video["id"]] = str(pathlib.PurePosixPath(frames[0]).parent)
    categories = {
        category["id"]: category["name"] for category in content["categories"]
    }
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        where = f"{file}: annotation {annotation.get('id')}"
        if annotation["video_id"] not in sizes:
            raise ValueError(f"{where}: video {annotation['video_id']} is not listed")
        if annotation["category_id"] not in categories:
            raise ValueError(
                f"{where}: category {annotation['category_id']} is not listed"
            )
        objects[annotation["video_id"]].append(annotation)
    return Annotations(sizes, names, categories, dict(objects))


def match_video(
    annotations: Annotations,
    video: int,
    entries: list[tuple[str, dict[str, Any]]],
    *,
    occlusion: bool = False,
) -> dict[int, Matches]:
    """The matches of one video, by category.

    Args:
        entries: Of a result file, each with where it stands, for messages.
    """
    size = annotations.sizes[video]
    objects, predictions = defaultdict(list), defaultdict(list)
    for annotation in annotations.objects.get(video, ()):
        objects[annotation["category_id"]].append(annotation)
    for where, entry in entries:
        masks = ytvis_json.check_masks(entry, size, f"{where}, video {video}")
        predictions[entry["category_id"]].append((entry["score"], masks))
    return {
        category: match(
            [score for score, _ in predictions[category]],
            [masks for _, masks in predictions[category]],
            _objects(objects[category], size, occlusion),
        )
        for category in sorted({*objects, *predictions} & {*annotations.categories})
    }


def match(
    scores: list[float], masks: list[list[rle.Rle | None]], objects: Objects
) -> Matches:
    """Gives objects to predictions, best score first, the first 100.

    A prediction takes the object of highest IoU that is not yet taken, the last of
    equals; an ignored one only if no counted one reaches the threshold. Crowds can be
    taken again. Left out of the score are predictions that took an ignored object, and
    those without any whose own area is outside the range.
    """
    order = np.argsort(-np.array(scores, float), kind="stable")[: MAX_PREDICTIONS[-1]]
    masks = [masks[index] for index in order]
    intersection, own, theirs = overlaps(masks, objects.masks)
    union = own.sum(axis=1)[:, None] + theirs.sum(axis=1)[None, :] - intersection
    iou = intersection / np.maximum(union, 1)

    ranges, predictions, count = len(objects.ignored), len(masks), len(objects.masks)
    shape = (ranges, len(THRESHOLDS))
    taken = np.zeros((*shape, count), bool)
    matched = np.zeros((*shape, predictions), bool)
    left_out = np.zeros((*shape, predictions), bool)
    needed = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    for row in np.flatnonzero((iou >= THRESHOLDS[0]).any(axis=1)):
        fits = (iou[row] >= needed) & ~(taken & ~objects.crowd)  # [R T G]
        counted = fits & ~objects.ignored[:, None, :]
        fits = np.where(counted.any(axis=-1, keepdims=True), counted, fits)
        best = count - 1 - np.argmax(np.where(fits, iou[row], -1)[..., ::-1], axis=-1)
        found = fits.any(axis=-1)
        taken |= found[..., None] & (np.arange(count) == best[..., None])
        matched[..., row] = found & ~objects.never_matches[best]
        left_out[..., row] = found & objects.ignored[np.arange(ranges)[:, None], best]
    outside = np.zeros((ranges, predictions), bool)
    area = _mean_area(own)
    for index, (low, high) in enumerate(AREAS.values()):
        outside[index] = (area < low) | (area > high)
    left_out |= ~matched & outside[:, None, :]
    return Matches(
        scores=np.array(scores, float)[order],
        true=matched & ~left_out,
        false=~matched & ~left_out,
        counted=(~objects.ignored).sum(axis=1),
        iou=iou,
    )


def overlaps(
    masks: list[list[rle.Rle | None]], others: list[list[rle.Rle | None]]
) -> tuple[
    Float[np.ndarray, "D G"], Float[np.ndarray, "D T"], Float[np.ndarray, "G T"]
]:
    """Pixels that two lists of tracks share, over all frames, and areas per frame."""
    frames = len((masks or others)[0])
    own, theirs = _areas(masks, frames), _areas(others, frames)
    shared = np.zeros((len(masks), len(others)))
    for frame in np.flatnonzero(own.any(axis=0) & theirs.any(axis=0)):
        rows, columns = np.flatnonzero(own[:, frame]), np.flatnonzero(theirs[:, frame])
        # As crowds: the share of a prediction's own area, exact once multiplied.
        covered = coco.iou(
            [masks[row][frame] for row in rows],
            [others[column][frame] for column in columns],
            [1] * len(columns),
        )
        shared[np.ix_(rows, columns)] += np.rint(covered * own[rows, frame, None])
    return shared, own, theirs


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


def precision_and_recall(
    ranking: Ranking,
    which: int,
    max_predictions: int,
    weights: Int[np.ndarray, "videos"] | None = None,
) -> tuple[Float[np.ndarray, "T"], Float[np.ndarray, "T"]]:
    """Average precision and final recall at each threshold; -1 without an object.

    Precision is made non-increasing from the right and read at 101 recalls, 0 beyond
    the last that is reached.

    Args:
        which: The index of the range of size or occlusion.
        weights: How often each video counts; once, if not given.
    """
    if weights is None:
        weights = np.ones(len(ranking.counted), int)
    objects = weights @ ranking.counted[:, which]
    if objects == 0:
        return np.full(len(THRESHOLDS), -1.0), np.full(len(THRESHOLDS), -1.0)
    kept = ranking.place < max_predictions
    if not kept.any():
        return np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    times = weights[ranking.video[kept]]
    true = np.cumsum(ranking.true[which][:, kept] * times, axis=1)  # [T N]
    false = np.cumsum(ranking.false[which][:, kept] * times, axis=1)
    recall = true / objects
    precision = true / (true + false + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))
    average = [
        p[np.searchsorted(r, RECALLS)].mean()
        for p, r in zip(precision, recall, strict=True)
    ]
    return np.array(average), recall[:, -1]


def figures(
    rankings: Mapping[int, Ranking], weights: Int[np.ndarray, "videos"] | None = None
) -> Figures:
    """The figures that papers print, means over categories; -1 without any object.

    Args:
        weights: How often each video counts; once, if not given.
    """
    curves = {
        most: [precision_and_recall(r, 0, most, weights) for r in rankings.values()]
        for most in MAX_PREDICTIONS
    }
    best = [precision for precision, _ in curves[MAX_PREDICTIONS[-1]]]
    return {
        "AP": _mean(best),
        "AP50": _mean([precision[0] for precision in best]),
        "AP75": _mean([precision[5] for precision in best]),
        **{f"AR{n}": _mean([recall for _, recall in curves[n]]) for n in curves},
    }


def figures_by_range(rankings: Mapping[int, Ranking]) -> Figures:
    """AP and AR with 100 predictions, by size and, if scored, by occlusion."""
    names = [*AREAS, *OCCLUSIONS]
    ranges = {ranking.counted.shape[1] for ranking in rankings.values()}
    scored = {}
    for which, name in enumerate(names[: max(ranges, default=len(AREAS))]):
        if which == 0:  # all sizes
            continue
        curves = [
            precision_and_recall(ranking, which, MAX_PREDICTIONS[-1])
            for ranking in rankings.values()
        ]
        scored[f"AP_{name}"] = _mean([precision for precision, _ in curves])
        scored[f"AR_{name}"] = _mean([recall for _, recall in curves])
    return scored


def table(
    rankings: Mapping[int, Ranking], categories: Mapping[int, str]
) -> list[tuple[str, Figures]]:
    """The figures of each category that has objects, then of all."""
    rows = [
        (categories[category], figures({category: ranking}))
        for category, ranking in rankings.items()
        if ranking.counted[:, 0].any()
    ]
    whole = figures(rankings) | figures_by_range(rankings)
    return [*rows, ("all categories", whole)]


def report(
    videos: Mapping[int, Mapping[int, Matches]],
    rankings: Mapping[int, Ranking],
    categories: Mapping[int, str],
) -> dict:
    """All figures, and those of each category under its id.

    `precision` and `recall` are [threshold, category, range, number of predictions];
    `iou` holds a matrix [prediction, object] for "video/category".
    """
    ranges = [ranking.counted.shape[1] for ranking in rankings.values()]
    nothing = np.full(len(THRESHOLDS), -1.0)
    curves = [
        [
            [
                precision_and_recall(rankings[category], which, most)
                if category in rankings
                else (nothing, nothing)
                for most in MAX_PREDICTIONS
            ]
            for which in range(max(ranges, default=len(AREAS)))
        ]
        for category in sorted(categories)
    ]  # [K R M 2 T]
    precision, recall = np.moveaxis(np.array(curves), (3, 4), (0, 1))
    per_category = {
        str(category): {
            "name": name,
            **figures({category: rankings[category]} if category in rankings else {}),
        }
        for category, name in sorted(categories.items())
    }
    return {
        **figures(rankings),
        **figures_by_range(rankings),
        "per_category": per_category,
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "iou": {
            f"{video}/{category}": match.iou.tolist()
            for video, categories_of_it in videos.items()
            for category, match in categories_of_it.items()
        },
    }


def _objects(
    annotations: list[dict[str, Any]], size: ytvis_json.VideoSize, occlusion: bool
) -> Objects:
    masks, areas, occlusions = [], [], []
    for annotation in annotations:
        where = f"annotation {annotation.get('id')}"
        segmentations = annotation["segmentations"]
        if len(segmentations) != size.num_frames:
            raise ValueError(
                f"{where}: {len(segmentations)} segmentations for {size.num_frames} "
                "frames"
            )
        try:
            masks.append(
                [
                    rle.from_json(s, size.height, size.width) if s else None
                    for s in segmentations
                ]
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        # The file's areas count, whatever its masks say.
        present = [area for area in annotation["areas"] if area]
        areas.append(np.mean(present) if present else 0.0)
        occlusions.append(_occlusion(annotation) if occlusion else 0.0)
    areas, occlusions = np.array(areas), np.array(occlusions)
    crowd = np.array([bool(a.get("iscrowd")) for a in annotations], bool)
    ignored = [crowd | (areas < low) | (areas > high) for low, high in AREAS.values()]
    if occlusion:
        ignored += [
            crowd | (occlusions < low) | (occlusions > high)
            for low, high in OCCLUSIONS.values()
        ]
    return Objects(
        masks=masks,
        crowd=crowd,
        # The official program takes an object with id 0, once found, for none.
        never_matches=np.array([a.get("id") == 0 for a in annotations], bool),
        ignored=np.array(ignored, bool).reshape(len(ignored), len(annotations)),
    )


def _occlusion(annotation: dict[str, Any]) -> float:
    """The mean of the larger half of the degrees of its frames."""
    frames = annotation.get("occlusion")
    degrees = [OCCLUSION_OF_FRAME.get(frame) for frame in frames or () if frame]
    if not degrees or None in degrees:
        raise ValueError(
            f"annotation {annotation.get('id')}: its occlusion is {frames}; OVIS "
            f"needs, for each frame, null or one of {', '.join(OCCLUSION_OF_FRAME)}"
        )
    return float(np.mean(sorted(degrees)[-((len(degrees) + 1) // 2) :]))


def _areas(tracks, num_frames: int) -> Float[np.ndarray, "N T"]:
    areas = np.zeros((len(tracks), num_frames))
    for row, track in enumerate(tracks):
        present = [frame for frame, mask in enumerate(track) if mask is not None]
        areas[row, present] = rle.areas([track[frame] for frame in present])
    return areas


def _mean_area(areas: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N"]:
    return areas.sum(axis=1) / np.maximum((areas > 0).sum(axis=1), 1)


def _mean(values) -> float:
    """Over what is not -1; -1 if that is nothing."""
    values = np.array(values)
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
