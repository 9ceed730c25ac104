"""DAVIS results: a folder a sequence, a palette PNG a frame, labels in its pixels."""

import math
import pathlib

import numpy as np
from jaxtyping import UInt

from stemseg_jax.formats import davis_png, images, rle, whole
from stemseg_jax.tracks import Track, VideoTracks


def write(
    folder: pathlib.Path,
    video: VideoTracks,
    *,
    max_objects: int = davis_png.MAX_OBJECTS,
) -> pathlib.Path:
    """Writes `folder/<video>/00000.png` and on, and gives that folder.

    A pixel holds the id of its track; of several, the last painted. Without tracks all
    frames are background. The folder appears once it is complete and checked, and
    replaces an older one in a `folder` of ours (see `whole.folder`).

    Raises:
        ValueError: Ids that are not unique or not in 1..max_objects, or masks of
            another size or number than the frames.
    """
    for number, track in enumerate(video.tracks):
        if not 1 <= track.id <= max_objects:
            raise ValueError(
                f"video {video.name}: track id {track.id} is not in 1..{max_objects}; "
                "keep the best tracks and number them from 1"
            )
        if track.id in [other.id for other in video.tracks[:number]]:
            raise ValueError(f"video {video.name}: two tracks have the id {track.id}")
        if len(track.segmentations) != video.num_frames:
            raise ValueError(
                f"video {video.name}, track {track.id}: {len(track.segmentations)} "
                f"masks for {video.num_frames} frames"
            )
    final = whole.inside(folder, video.name)
    with whole.folder(final, "davis_results", marked=False) as partial:
        for frame in range(video.num_frames):
            images.write_labels(
                partial / davis_png.frame_name(frame), paint(video, frame)
            )
        davis_png.check(
            partial,
            height=video.height,
            width=video.width,
            num_frames=video.num_frames,
            max_objects=max_objects,
        )
    return final


def read(folder: pathlib.Path) -> VideoTracks:
    """The tracks of such a folder, whose labels are ids; void is none of them.

    They have no category (0), and their score is not known (NaN).

    Raises:
        ValueError: There is no PNG, or one that holds no labels, or of another size.
    """
    folder = pathlib.Path(folder)
    names = [path.name for path in images.natural(folder.glob("*.png"))]
    if not names:
        raise ValueError(f"{folder}: no PNG in it; expected the labels of each frame.")
    masks: dict[int, list[rle.Rle | None]] = {}
    for frame, labels in enumerate(davis_png.read_frames(folder, names)):
        for id in np.setdiff1d(labels, (0, davis_png.VOID)).tolist():
            own = masks.setdefault(id, [None] * len(names))
            own[frame] = rle.encode(labels == id)
    tracks = (Track(id, 0, math.nan, tuple(own)) for id, own in sorted(masks.items()))
    return VideoTracks(folder.name, *labels.shape, len(names), tuple(tracks))


def paint(video: VideoTracks, frame: int) -> UInt[np.ndarray, "H W"]:
    """The label map of one frame, in as many bits as the ids need; later tracks lie
    over earlier ones."""
    bits = np.min_scalar_type(max((track.id for track in video.tracks), default=0))
    labels = np.zeros((video.width, video.height), bits).T
    for track in video.tracks:
        mask = track.segmentations[frame]
        if mask is None:
            continue
        where = f"video {video.name}, frame {frame}, track {track.id}: a mask"
        images.check_size(mask["size"], labels.shape, where, "the video is")
        rle.fill(labels, mask, track.id)
    return np.ascontiguousarray(labels)
