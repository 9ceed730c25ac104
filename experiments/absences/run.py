"""Which objects that were away are known again, and which are not. See README.md."""

import argparse
import functools
import itertools
import pathlib
from typing import NamedTuple

import cv2
import numpy as np
from absl import logging

from stemseg_jax.data.datasets import DATASETS, moving_shapes
from stemseg_jax.geometry import Geometry
from stemseg_jax.outputs import collector, report
from stemseg_jax.tracking import rejoining
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

SIDE = 256  # the longer one; images and labels are made so small
MAX_ABSENCE = 30
THRESHOLDS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


class Scenario(NamedTuple):
    """A video as a tracker labels it that is perfect while an object is seen, and gives
    it a new label after each absence."""

    images: np.ndarray  # [T H W 3]
    labels: np.ndarray  # [T H W]
    objects: dict[int, int]  # the true one of each label


class Count(NamedTuple):
    """Summed over scenarios."""

    returns: int = 0  # labels of objects that had one before
    right: int = 0  # returns that have the label they had before
    wrong: int = 0  # labels that go by that of another object

    def __add__(self, other):
        return Count(*map(sum, zip(self, other, strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="see README.md")
    parser.add_argument("--rows", default="", help="names with ; between; none: all")
    parser.add_argument("--part", type=int, default=6, help="frames that come at once")
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    wanted = set(options.rows.split(";")) if options.rows else set(ROWS)
    rows = []
    for name in [name for name in ROWS if name in wanted]:
        scenarios = list(ROWS[name](pathlib.Path(options.data)))
        for threshold in THRESHOLDS:
            settings = rejoining.Rejoining(
                max_absence=MAX_ABSENCE, min_similarity=threshold
            )
            count = sum(
                (counted(scenario, settings, options.part) for scenario in scenarios),
                start=Count(),
            )
            rows.append(
                {
                    "videos": name,
                    "min_similarity": threshold,
                    "id switches without": count.returns,
                    "with": count.returns - count.right,
                    "joined wrongly": count.wrong,
                }
            )
        print(report.table(rows[-len(THRESHOLDS) :]), flush=True)


def counted(scenario: Scenario, settings, part) -> Count:
    """What `rejoined` makes of a scenario that comes so many frames at a time."""
    labels = scenario.labels
    size = labels.shape[1:]
    geometry = Geometry(original=size, resized=size, labels=size, stride=1)

    def track(frames):
        for first in range(0, len(labels), part):
            for _ in itertools.islice(frames, len(labels[first : first + part])):
                pass
            yield LabelledFrames(first, labels[first : first + part], geometry)
        return dict.fromkeys(scenario.objects, TrackStatistics(1, 0, 0))

    frames = (Frame(k, image) for k, image in enumerate(scenario.images))
    given, _ = collector.collect(rejoining.rejoined(track, frames, settings))
    names = {}
    for index, before in enumerate(labels):
        after = given.labels(index)
        for label in np.unique(before[before > 0]).tolist():
            names.setdefault(label, int(after[before == label][0]))
    count, latest = Count(), {}
    for label, name in names.items():  # in the order of their first appearance
        owner = scenario.objects[label]
        returned = owner in latest
        count += Count(
            returns=returned,
            right=returned and name == latest[owner],
            wrong=scenario.objects[name] != owner,
        )
        latest[owner] = name
    return count


# ------------------------------------------------------------------------------ videos


def shapes(data, *, hidden: bool):
    """Of absences as they occur: behind others, or outside the frame."""
    dataset = moving_shapes.load(
        split="val", num_videos=24, num_frames=120, objects=(5, 8), radius=(0.12, 0.4)
    )
    for video in dataset.videos:
        images, labels = read(video, range(video.num_frames))
        whole = np.stack([video.silhouettes(k) for k in range(video.num_frames)])
        inside = whole.any(axis=(2, 3))  # [T N]
        yield relabelled(images, labels, functools.partial(_counts, inside, hidden))


def _counts(inside, hidden, owner, gap):
    return inside[gap, owner - 1].all() == hidden


def composed(data, *, together: bool):
    dataset = DATASETS["composed"](
        data / "DAVIS16_train",
        "val",
        sources={"davis16": {"split": "train"}},
        num_videos=12,
        num_frames=60,
        objects=(2, 4),
    )
    yield from away(dataset.videos, together=together)


def real(data, *, together: bool):
    videos = []
    for folder, split in (
        ("DAVIS", "train"),
        ("DAVIS", "val"),
        ("DAVIS_composite", "val"),
    ):
        videos += DATASETS["davis19"](data / folder, split).videos
    videos += DATASETS["davis16"](data / "DAVIS16_train", "train").videos
    yield from away(videos, together=together)


def cars(data):
    """All have a new label in each frame; frames are half a second apart."""
    (video,) = DATASETS["kitti_mots"](data, "train", sequences=["0001"]).videos
    images, labels = read(video, range(video.num_frames))
    for scenario in [relabelled(images, labels)]:
        objects, apart = {}, np.zeros_like(labels)
        for index, frame in enumerate(scenario.labels):
            for label in np.unique(frame[frame > 0]).tolist():
                new = len(objects) + 1
                objects[new] = scenario.objects[label]
                apart[index][frame == label] = new
        yield Scenario(images, apart, objects)


def strangers(data):
    """The object of one video ends, and that of another one begins after 5 frames."""
    videos = DATASETS["davis16"](data / "DAVIS16_train", "train").videos
    ends = [read(v, range(v.num_frames - 20, v.num_frames - 5)) for v in videos]
    gaps = [read(v, range(v.num_frames - 5, v.num_frames))[0] for v in videos]
    starts = [read(v, range(6)) for v in videos]
    for a, b in list(itertools.permutations(range(len(videos)), 2))[::3]:
        images = np.concatenate([ends[a][0], gaps[a], starts[b][0]])
        none = np.zeros_like(ends[a][1][:5])
        labels = [(ends[a][1] > 0) * 1, none, (starts[b][1] > 0) * 2]
        yield Scenario(images, np.concatenate(labels).astype(np.int32), {1: 1, 2: 2})


def away(videos, *, together):
    """Objects are there for 8 frames and away for 1, 5, 15, 25, and so on; all at the
    same time, or one after the other."""
    for video in videos:
        images, labels = read(video, range(video.num_frames))
        present = labels.copy()
        for n, owner in enumerate(np.unique(labels[labels > 0])):
            start = 0 if together else 4 * n
            for gap in itertools.cycle((1, 5, 15, 25)):
                start += 8
                part = present[start : start + gap]
                part[part == owner] = 0
                start += gap
                if start >= len(labels):
                    break
        yield relabelled(images, present)


def relabelled(images, labels, counts=lambda owner, gap: True) -> Scenario:
    """A new label after each absence that counts; in the others it stays."""
    given, objects = np.zeros_like(labels), {}
    current, last = {}, {}
    for index, frame in enumerate(labels):
        for owner in np.unique(frame[frame > 0]).tolist():
            gap = slice(last.get(owner, index) + 1, index)
            returned = gap.stop > gap.start and owner in last
            if owner not in last or (returned and counts(owner, gap)):
                current[owner] = len(objects) + 1
                objects[current[owner]] = owner
            last[owner] = index
            given[index][frame == owner] = current[owner]
    return Scenario(images, given, objects)


def read(video, indices):
    images, labels = [], []
    for index in indices:
        clip = video.clip([index])
        frame = np.zeros(clip.frames.shape[1:3], np.float32)
        for number, mask in zip(clip.ids, clip.masks[:, 0], strict=True):
            frame[mask] = number
        height, width = frame.shape
        scale = SIDE / max(height, width)
        size = round(width * scale), round(height * scale)
        images.append(cv2.resize(clip.frames[0], size, interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST))
    return np.stack(images), np.stack(labels).astype(np.int32)


ROWS = {
    "moving_shapes, hidden": lambda data: shapes(data, hidden=True),
    "moving_shapes, left": lambda data: shapes(data, hidden=False),
    "composed": lambda data: composed(data, together=False),
    "composed, all at once": lambda data: composed(data, together=True),
    "real": lambda data: real(data, together=False),
    "real, all at once": lambda data: real(data, together=True),
    "strangers": strangers,
    "cars": cars,
}

if __name__ == "__main__":
    main()
