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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco

from stemseg_jax.evaluation.scored import Figures, Progress, Scored
from stemseg_jax.outputs import ytvis_json
from stemseg_jax.outputs.ytvis_json import Entry, Masks

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
ALL_RANGES = slice(None)
REQUIRED = {
    "videos": ("id", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("video_id", "category_id", "segmentations", "areas"),
}
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
    objects: dict[int, list[Entry]]  # by video


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
    file = str(results)
    for number, entry in enumerate(ytvis_json.read_entries(results)):
        where = f"{file}: entry {number}"
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
    for part, keys in REQUIRED.items():
        if not isinstance(content.get(part), list):
            raise ValueError(f"{file}: no {part}; only annotated videos can be scored")
        for number, entry in enumerate(content[part]):
            for key in keys:
                if not isinstance(entry, dict) or key not in entry:
                    raise ValueError(f"{file}: {part}[{number}] has no {key!r}")
    sizes, names = {}, {}
    for video in content["videos"]:
        frames = video.get("file_names") or [""] * video.get("length", 0)
        sizes[video["id"]] = ytvis_json.VideoSize(
            video["height"], video["width"], len(frames)
        )
        folder = pathlib.PurePosixPath(frames[0] if frames else "").parent
        names[video["id"]] = folder.as_posix() if folder.name else str(video["id"])
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
        objects[annotation["video_id"]].append((where, annotation))
    return Annotations(sizes, names, categories, dict(objects))


def match_video(
    annotations: Annotations,
    video: int,
    entries: list[Entry],
    *,
    occlusion: bool = False,
) -> dict[int, Matches]:
    """The matches of one video, by category."""
    size = annotations.sizes[video]
    truth = annotations.objects.get(video, [])
    masks = ytvis_json.check_masks(entries, size, annotations=truth)
    objects = _by_category(truth, masks[: len(truth)])
    predictions = _by_category(entries, masks[len(truth) :])
    return {
        category: match(predictions[category], _objects(objects[category], occlusion))
        for category in sorted({*objects, *predictions} & {*annotations.categories})
    }


def match(predictions: Sequence[tuple[Entry, Masks]], objects: Objects) -> Matches:
    """Gives objects to predictions, best score first, the first 100.

    A prediction takes the object of highest IoU that is not yet taken, the last of
    equals; an ignored one only if no counted one reaches the threshold. Crowds can be
    taken again. Left out of the score are predictions that took an ignored object, and
    those without any whose own area is outside the range.
    """
    scores = np.array([entry["score"] for (_, entry), _ in predictions], float)
    order = np.argsort(-scores, kind="stable")[: MAX_PREDICTIONS[-1]]
    masks = [predictions[index][1] for index in order]
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
    for index, (low, high) in enumerate(AREAS.values()):
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


def figures(
    rankings: Mapping[int, Ranking], weights: Int[np.ndarray, "videos"] | None = None
) -> Figures:
    """The figures that papers print, means over categories; -1 without any object.

    Args:
        weights: How often each video counts; once, if not given.
    """
    sizes = slice(1)  # all
    areas = [
        average_precision(ranking, MAX_PREDICTIONS[-1], sizes, weights)[0]
        for ranking in rankings.values()
    ]
    recalls = {
        f"AR{most}": _mean(
            [
                final_recall(ranking, most, sizes, weights)
                for ranking in rankings.values()
            ]
        )
        for most in MAX_PREDICTIONS
    }
    return {
        "AP": _mean(areas),
        "AP50": _mean([area[0] for area in areas]),
        "AP75": _mean([area[5] for area in areas]),
        **recalls,
    }


def figures_by_range(rankings: Mapping[int, Ranking]) -> Figures:
    """AP and AR with 100 predictions, by size and, if scored, by occlusion."""
    most = MAX_PREDICTIONS[-1]
    areas = [average_precision(ranking, most) for ranking in rankings.values()]
    recalls = [final_recall(ranking, most) for ranking in rankings.values()]
    scored = {}
    for which, name in enumerate(_ranges(rankings)):
        if name != "all":
            scored[f"AP_{name}"] = _mean([area[which] for area in areas])
            scored[f"AR_{name}"] = _mean([recall[which] for recall in recalls])
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
    by_range = figures_by_range(rankings)
    whole = [
        ("all categories", figures(rankings)),
        *(
            (
                f"all, {name}",
                {kind: by_range[f"{kind}_{name}"] for kind in ("AP", "AR")},
            )
            for name in _ranges(rankings)
            if name != "all"
        ),
    ]
    return [*rows, *whole]


def report(
    videos: Mapping[int, Mapping[int, Matches]],
    rankings: Mapping[int, Ranking],
    categories: Mapping[int, str],
) -> dict:
    """All figures, and those of each category under its id.

    `precision` and `recall` are [threshold, category, range, number of predictions];
    `iou` holds a matrix [prediction, object] for "video/category".
    """
    nothing = np.full((len(_ranges(rankings)), len(THRESHOLDS)), -1.0)

    def curves(measure):
        return np.array(
            [
                [
                    measure(rankings[category], most)
                    if category in rankings
                    else nothing
                    for most in MAX_PREDICTIONS
                ]
                for category in sorted(categories)
            ]
        ).transpose(3, 0, 2, 1)  # [K M R T] -> [T K R M]

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
        "precision": curves(average_precision).tolist(),
        "recall": curves(final_recall).tolist(),
        "iou": {
            f"{video}/{category}": match.iou.tolist()
            for video, categories_of_it in videos.items()
            for category, match in categories_of_it.items()
        },
    }


def _counted(ranking: Ranking, most: int, ranges: slice, weights):
    """Objects [R 1], which predictions count, and how often these do."""
    if weights is None:
        weights = np.ones(len(ranking.counted), int)
    objects = (weights @ ranking.counted[:, ranges])[:, None]
    kept = ranking.place < most
    return objects, kept, weights[ranking.video[kept]]


def _ranges(rankings: Mapping[int, Ranking]) -> list[str]:
    scored = max((r.counted.shape[1] for r in rankings.values()), default=len(AREAS))
    return [*AREAS, *OCCLUSIONS][:scored]


def _by_category(entries: Sequence[Entry], masks: Sequence[Masks]):
    found = defaultdict(list)
    for (where, entry), own in zip(entries, masks, strict=True):
        found[entry["category_id"]].append(((where, entry), own))
    return found


def _objects(annotations: Sequence[tuple[Entry, Masks]], occlusion: bool) -> Objects:
    # The file's areas count, whatever its masks say.
    seen = [[a for a in entry["areas"] if a] for (_, entry), _ in annotations]
    areas = np.array([sum(own) / max(len(own), 1) for own in seen])
    occlusions = np.array(
        [_occlusion(entry, where) for (where, entry), _ in annotations if occlusion]
    )
    crowd = np.array([bool(e.get("iscrowd")) for (_, e), _ in annotations], bool)
    ignored = [crowd | (areas < low) | (areas > high) for low, high in AREAS.values()]
    if occlusion:
        ignored += [
            crowd | (occlusions < low) | (occlusions > high)
            for low, high in OCCLUSIONS.values()
        ]
    return Objects(
        masks=[masks for _, masks in annotations],
        crowd=crowd,
        # The official program takes an object with id 0, once found, for none.
        never_matches=np.array([e.get("id") == 0 for (_, e), _ in annotations], bool),
        ignored=np.array(ignored, bool).reshape(len(ignored), len(annotations)),
    )


def _occlusion(annotation: dict[str, Any], where: str) -> float:
    """The mean of the larger half of the degrees of its frames."""
    frames = annotation.get("occlusion")
    degrees = [OCCLUSION_OF_FRAME.get(frame) for frame in frames or () if frame]
    if not degrees or None in degrees:
        raise ValueError(
            f"{where}: its occlusion is {frames}; OVIS needs, for each frame, "
            f"null or one of {', '.join(OCCLUSION_OF_FRAME)}"
        )
    return float(np.mean(sorted(degrees)[-((len(degrees) + 1) // 2) :]))


def _mean(values) -> float:
    """Over what is not -1; -1 if that is nothing."""
    values = np.array(values)
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
