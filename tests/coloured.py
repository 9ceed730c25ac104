"""A video whose objects are known by their colours, and a system that knows them."""

import pathlib
from fractions import Fraction

import numpy as np

from configs import ytvis
from stemseg_jax import models
from stemseg_jax.outputs import video
from stemseg_jax.tracks import Geometry, LabelledFrames, TrackStatistics

SIZE = (64, 96)


class ByColour:
    """Calls red pixels track 7 and green ones track 3; two frames at a time."""

    def from_config(config): ...
    def init(self, key, batch): ...
    def loss(self, variables, batch, key): ...
    def frozen_modules(self): ...

    def track(self, variables, frames, *, maps=False):
        geometry = None
        seen = {7: [], 3: []}
        held = []
        for frame in frames:
            size = frame.image.shape[:2]
            geometry = geometry or Geometry(size, size, size, 1)
            labels = np.zeros(size, np.int32)
            for id, channel in ((7, 0), (3, 1)):
                bright = frame.image[..., channel] > 150
                labels[bright & (frame.image.sum(axis=-1) < 300)] = id
                if (labels == id).any():
                    seen[id].append(frame.index)
            held.append(labels)
            if len(held) == 2:
                yield LabelledFrames(frame.index - 1, np.stack(held), geometry)
                held = []
        if held:
            yield LabelledFrames(frame.index, np.stack(held), geometry)
        return {
            id: TrackStatistics(
                9 * id, times[0], times[-1], np.eye(3)[id % 3 + 1], None
            )
            for id, times in seen.items()
            if times
        }


def images(count: int) -> list[np.ndarray]:
    """A red bar that leaves after half of the frames, and a green one that stays."""
    frames = np.full((count, *SIZE, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[40:56, index : index + 40] = (30, 220, 30)
        if index < (count + 1) // 2:
            frame[8:24, 30:62] = (220, 30, 30)
    return list(frames)


def write(path: pathlib.Path, count: int) -> pathlib.Path:
    with video.Writer(path, fps=Fraction(30000, 1001), quality=4) as writer:
        for image in images(count):
            writer.write(image)
    return path


def model_of(system, **selection):
    config = ytvis.get_config().unlock()
    config.selection.limit = 20
    config.selection.update(selection)
    return models.Model(config, system, {})
