"""DAVIS results: a folder a sequence, a palette PNG a frame, labels in its pixels."""

import pathlib

import numpy as np
from jaxtyping import UInt8

from stemseg_jax.formats import davis_png, images, rle, whole
from stemseg_jax.tracks import VideoTracks


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


def paint(video: VideoTracks, frame: int) -> UInt8[np.ndarray, "H W"]:
    """The label map of one frame; later tracks lie over earlier ones."""
    labels = np.zeros((video.width, video.height), np.uint8).T
    for track in video.tracks:
        mask = track.segmentations[frame]
        if mask is None:
            continue
        where = f"video {video.name}, frame {frame}, track {track.id}: a mask"
        images.check_size(mask["size"], labels.shape, where, "the video is")
        rle.fill(labels, mask, track.id)
    return np.ascontiguousarray(labels)
