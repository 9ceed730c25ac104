"""AP and AR of the masks of single frames, as COCO measures them, of one class.

Reads what YouTube-VIS is scored from. Each frame is an image, each mask of a track in
it a prediction with the track's score; neither identity nor category counts.

Source: Zhou et al. (CVPR 2021), Table 3; cocodataset/cocoapi, `COCOeval`, for masks.
"""

import functools
import pathlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from stemseg_jax.evaluation import average_precision as ap
from stemseg_jax.evaluation import ytvis_tables
from stemseg_jax.evaluation.scored import Figures, Progress, Scored
from stemseg_jax.formats import coco_json
from stemseg_jax.formats.coco_json import Entry, Masks

# Both ends belong to a range; pixels.
AREAS = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
ONE = 0  # the only category


def score(
    ground_truth: pathlib.Path, results: pathlib.Path, *, progress: Progress = iter
) -> Scored:
    """Scores a result file against an annotation file, one video after the other.

    Args:
        ground_truth: Like `results` a .json, .json.gz, or .zip with a results.json.

    Raises:
        ValueError: What `coco_json.check` refuses, save for scores outside [0, 1] and
            unlisted categories.
    """
    annotations = coco_json.read_annotations(ground_truth)
    entries = defaultdict(list)
    for number, entry in enumerate(coco_json.read_results(results)):
        where = f"{results}: entry {number}"
        coco_json.check_head(entry, annotations.sizes, where)
        entries[entry.video_id].append((where, entry))
    videos = sorted(annotations.sizes)
    frames, video_of_frame = [], []
    for place, video in enumerate(progress(videos)):
        truth = annotations.objects.get(video, [])
        size = annotations.sizes[video]
        own = entries.pop(video, [])
        masks = coco_json.check_masks(own, size, annotations=truth)
        for frame in range(size.num_frames):
            found = _match_frame(frame, [*truth, *own], masks, len(truth))
            frames.append({ONE: found})
            video_of_frame.append(place)
    rankings = ap.rank(frames)
    names = tuple(annotations.names[video] for video in videos)
    return Scored(
        videos=names,
        figures=functools.partial(_figures, rankings, np.array(video_of_frame)),
        table=lambda: ytvis_tables.table(rankings, {ONE: "proposals"}),
        report=lambda: {
            **ytvis_tables.figures(rankings),
            **ytvis_tables.figures_by_range(rankings),
            "per_video": _per_video(videos, names, frames, video_of_frame),
        },
    )


def _figures(rankings, video_of_frame, weights=None) -> Figures:
    """Args:
    weights: How often each video counts, all its frames with it.
    """
    each = None if weights is None else np.asarray(weights)[video_of_frame]
    return ytvis_tables.figures(rankings, each)


def _per_video(
    videos: Sequence[int],
    names: Sequence[str],
    frames: Sequence[dict[int, ap.Matches]],
    video_of_frame: Sequence[int],
) -> dict[str, Figures]:
    own = [[] for _ in names]
    for place, frame in zip(video_of_frame, frames, strict=True):
        own[place].append(frame)
    return {
        name: {"video_id": video, **ytvis_tables.figures(ap.rank(its))}
        for video, name, its in zip(videos, names, own, strict=True)
    }


def _match_frame(
    frame: int,
    entries: Sequence[Entry],
    masks: Sequence[Masks],
    num_objects: int,
) -> ap.Matches:
    """Of one frame; the first entries are the objects."""
    seen = [k for k, own in enumerate(masks) if own.areas[frame]]
    objects = [k for k in seen if k < num_objects]
    found = [k for k in seen if k >= num_objects]

    def of_frame(indices):
        return [
            Masks({0: masks[k].by_frame[frame]}, masks[k].areas[frame : frame + 1])
            for k in indices
        ]

    crowd = np.array([bool(entries[k][1].iscrowd) for k in objects], bool)
    areas = np.array([masks[k].areas[frame] for k in objects], float)
    ignored = [crowd | (areas < low) | (areas > high) for low, high in AREAS.values()]
    return ap.match(
        np.array([entries[k][1].score for k in found], float),
        of_frame(found),
        ap.Objects(
            masks=of_frame(objects),
            crowd=crowd,
            never_matches=np.zeros(len(objects), bool),
            ignored=np.array(ignored, bool).reshape(len(AREAS), len(objects)),
        ),
        areas=AREAS,
    )
