"""What a model says of a video, with and without rejoining. See README.md."""

import argparse
import itertools

import numpy as np

from stemseg_jax import models
from stemseg_jax.data import inputs
from stemseg_jax.outputs import collector, report
from stemseg_jax.tracking import continuity, rejoining
from stemseg_jax.tracks import Frame, LabelledFrames


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True, help="a video")
    parser.add_argument("--checkpoint", default="real")
    options = parser.parse_args()
    model = models.load(models.saved_config(options.checkpoint), options.checkpoint)
    (video,) = inputs.find(options.input)
    labels, tracks = model.track(frame.image for frame in video)

    def again(frames):
        """What the model said, a window's new frames at a time."""
        step = model.config.num_frames - model.config.tracking.overlap
        for first in range(0, len(labels), step):
            taken = itertools.islice(frames, step)
            part = np.stack([labels.labels(frame.index) for frame in taken])
            yield LabelledFrames(first, part, labels.geometry)
        return tracks

    for seconds in (0, 1, 2):
        settings = rejoining.Rejoining(max_absence=round(seconds * video.fps))
        frames = (Frame(frame.index, frame.image) for frame in video)
        _, found = collector.collect(
            continuity.labelled(again, frames, continuity.Continuity(absences=settings))
        )
        print(f"rejoined after up to {seconds} s")
        print(report.table([row(*item) for item in found.items()]))


def row(label, track):
    return {
        "track": label,
        "first": track.first,
        "last": track.last,
        "cells": track.pixels,
        "joined at": " ".join(map(str, track.joined)) or "-",
    }


if __name__ == "__main__":
    main()
