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
from collections.abc import Sequence

import numpy as np

from stemseg_jax.evaluation import average_precision as ap
from stemseg_jax.evaluation import ytvis_tables
from stemseg_jax.evaluation.scored import Progress, Scored
from stemseg_jax.formats import coco_json
from stemseg_jax.formats.coco_json import Entry, Masks

OCCLUSION_OF_FRAME = {
    "no_occlusion": 0.0,
    "slight_occlusion": 0.25,
    "severe_occlusion": 0.75,
}


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
        ValueError: What `coco_json.check` refuses, save for scores outside [0, 1] and
            unlisted categories; annotations that cannot be scored.
    """
    annotations = coco_json.read_annotations(ground_truth)
    entries = defaultdict(list)
    file = str(results)
    for number, entry in enumerate(coco_json.read_results(results)):
        where = f"{file}: entry {number}"
        coco_json.check_head(entry, annotations.sizes, where)
        entries[entry.video_id].append((where, entry))
    videos = {}
    for video in progress(sorted(annotations.sizes)):
        # A video's masks are let go of once it is scored.
        videos[video] = match_video(
            annotations, video, entries.pop(video, []), occlusion=occlusion
        )
    rankings = ap.rank(videos.values())
    return Scored(
        videos=tuple(annotations.names[video] for video in videos),
        figures=functools.partial(ytvis_tables.figures, rankings),
        table=functools.partial(ytvis_tables.table, rankings, annotations.categories),
        report=functools.partial(
            *(ytvis_tables.report, videos, rankings),
            *(annotations.categories, annotations.names),
        ),
    )


def match_video(
    annotations: coco_json.Annotations,
    video: int,
    entries: list[Entry],
    *,
    occlusion: bool = False,
) -> dict[int, ap.Matches]:
    """The matches of one video, by category."""
    size = annotations.sizes[video]
    truth = annotations.objects.get(video, [])
    masks = coco_json.check_masks(entries, size, annotations=truth)
    objects = _by_category(truth, masks[: len(truth)])
    predictions = _by_category(entries, masks[len(truth) :])
    return {
        category: ap.match(
            np.array([e.score for (_, e), _ in predictions[category]], float),
            [masks for _, masks in predictions[category]],
            _objects(objects[category], occlusion),
        )
        for category in sorted({*objects, *predictions} & {*annotations.categories})
    }


def _by_category(entries: Sequence[Entry], masks: Sequence[Masks]):
    found = defaultdict(list)
    for (where, entry), own in zip(entries, masks, strict=True):
        found[entry.category_id].append(((where, entry), own))
    return found


def _objects(annotations: Sequence[tuple[Entry, Masks]], occlusion: bool) -> ap.Objects:
    # The file's areas count, whatever its masks say.
    seen = [[a for a in entry.areas if a] for (_, entry), _ in annotations]
    areas = np.array([sum(own) / max(len(own), 1) for own in seen])
    occlusions = np.array(
        [_occlusion(entry, where) for (where, entry), _ in annotations if occlusion]
    )
    crowd = np.array([bool(e.iscrowd) for (_, e), _ in annotations], bool)
    ignored = [
        crowd | (areas < low) | (areas > high) for low, high in ap.AREAS.values()
    ]
    if occlusion:
        ignored += [
            crowd | (occlusions < low) | (occlusions > high)
            for low, high in ytvis_tables.OCCLUSIONS.values()
        ]
    return ap.Objects(
        masks=[masks for _, masks in annotations],
        crowd=crowd,
        # The official program takes an object with id 0, once found, for none.
        never_matches=np.array([e.id == 0 for (_, e), _ in annotations], bool),
        ignored=np.array(ignored, bool).reshape(len(ignored), len(annotations)),
    )


def _occlusion(annotation: coco_json.VideoObject, where: str) -> float:
    """The mean of the larger half of the degrees of its frames."""
    frames = annotation.occlusion
    degrees = [OCCLUSION_OF_FRAME.get(frame) for frame in frames or () if frame]
    if not degrees or None in degrees:
        raise ValueError(
            f"{where}: its occlusion is {frames}; OVIS needs, for each frame, "
            f"null or one of {', '.join(OCCLUSION_OF_FRAME)}"
        )
    return float(np.mean(sorted(degrees)[-((len(degrees) + 1) // 2) :]))
