"""Measures moving_shapes on one core and draws its contact sheet; see README.md.

taskset -c 0 python experiments/moving_shapes/measure.py
"""

import pathlib
import time

import cv2
import numpy as np

from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.formats import images


def frames_per_second(height: int, width: int, *, num_videos: int) -> float:
    """With drawing the scenes, as in training, where every clip is another video."""
    data = moving_shapes.load(height=height, width=width, num_videos=num_videos + 1)
    data.videos[-1].clip(range(20))  # warm up
    start = time.process_time()
    for video in data.videos[:-1]:
        video.clip(range(20))
    return 20 * num_videos / (time.process_time() - start)


def milliseconds_per_clip(*, num_videos: int = 100) -> float:
    """One training clip of 8 frames of 96 x 160."""
    data = moving_shapes.load(num_videos=num_videos)
    start = time.process_time()
    for video in data.videos:
        video.clip(range(8))
    return 1000 * (time.process_time() - start) / num_videos


def statistics(*, num_videos: int) -> dict[str, float]:
    objects, visible, whole = [], [], []
    for video in moving_shapes.load(split="val", num_videos=num_videos).videos:
        clip = video.clip(range(video.num_frames))
        areas = np.zeros((len(video.categories), video.num_frames), int)
        areas[clip.ids - 1] = clip.masks.sum(axis=(2, 3))
        visible.append(areas)
        silhouettes = [video.silhouettes(t) for t in range(video.num_frames)]
        whole.append(np.stack(silhouettes, axis=1).sum(axis=(2, 3)))
        objects.append(len(clip.ids))
    absent = np.concatenate([(areas == 0).any(axis=1) for areas in whole])
    visible, whole = (
        np.concatenate([areas.ravel() for areas in part]) for part in (visible, whole)
    )
    hidden = 1 - visible[whole > 0] / whole[whole > 0]
    return {
        "objects per video": np.mean(objects),
        "visible pixels of an object": visible[visible > 0].mean(),
        "under 500 visible pixels, %": 100 * (visible[visible > 0] < 500).mean(),
        "a quarter hidden or more, %": 100 * (hidden >= 0.25).mean(),
        "half hidden or more, %": 100 * (hidden >= 0.5).mean(),
        "objects out of the frame at some time, %": 100 * absent.mean(),
    }


def contact_sheet(*, num_videos: int = 3, indices=(0, 6, 12, 18)) -> np.ndarray:
    """A row a video: its frames, and below them the masks."""
    rows = []
    for video in moving_shapes.load(split="val", num_videos=num_videos).videos:
        clip = video.clip(indices)
        labels = (clip.masks * clip.ids[:, None, None, None]).sum(axis=0)
        for pictures in (clip.frames, images.palette()[labels]):
            rows.append(np.concatenate(list(pictures), axis=1))
    return np.concatenate(rows)


def main():
    cv2.setNumThreads(1)
    for height, width, num_videos in ((96, 160, 50), (128, 224, 50), (480, 854, 5)):
        rate = frames_per_second(height, width, num_videos=num_videos)
        print(f"{height} x {width}: {rate:.0f} frames/s")
    print(f"8 frames of 96 x 160: {milliseconds_per_clip():.1f} ms")
    for num_videos in (20, 500):
        print(f"{num_videos} videos of val:")
        for name, value in statistics(num_videos=num_videos).items():
            print(f"  {name}: {value:.1f}")
    sheet = pathlib.Path(__file__).with_name("contact_sheet.png")
    cv2.imwrite(
        str(sheet), contact_sheet()[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )


if __name__ == "__main__":
    main()
