"""From which confidence on is a track an object? See README.md."""

import argparse
import itertools
import pathlib
from collections.abc import Callable

import numpy as np
import run
from absl import logging

from configs import real_video
from stemseg_jax import models
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import davis
from stemseg_jax.formats import rle
from stemseg_jax.outputs import collector, report
from stemseg_jax.tracks import Track, VideoTracks

SCORES = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
FRAMES = (1, 4, 8, 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    model = models.load(models.saved_config(options.checkpoint), options.checkpoint)
    sequences = DATASETS["davis16"](
        options.data, "train", sequences=real_video.HELD_BACK
    )
    found = [model.track(map(v.frame, range(v.num_frames))) for v in sequences.videos]
    selection = model.config.selection.to_dict()

    def tracks(min_score: float, min_frames: int) -> list[VideoTracks]:
        least = dict(min_score=min_score, min_frames=min_frames)
        return [
            labels.tracks(video.name, collector.select(statistics, **selection | least))
            for video, (labels, statistics) in zip(sequences.videos, found, strict=True)
        ]

    told = [
        (track.score, share_on_truth(video, track), pixels(track))
        for video, all_tracks in zip(sequences.videos, tracks(0.0, 1), strict=True)
        for track in all_tracks.tracks
    ]
    print(report.table(list(by_score(np.array(told).reshape(-1, 3)))))
    print()
    print(report.table(list(by_threshold(sequences, tracks))))


def share_on_truth(video, track: Track) -> float:
    """How much of a track lies on the true objects."""
    inside = 0
    for t, code in enumerate(track.segmentations):
        if code is not None:
            truth = video.clip([t]).masks.any(axis=(0, 1))
            inside += (rle.decode(code).astype(bool) & truth).sum()
    return inside / max(pixels(track), 1)


def pixels(track: Track) -> int:
    return sum(int(rle.decode(c).sum()) for c in track.segmentations if c is not None)


def by_score(told: np.ndarray):
    """Tracks [score, share on truth, pixels] in bins of the score."""
    for low, high in itertools.pairwise((*SCORES, 1.01)):
        score, share, size = told[(low <= told[:, 0]) & (told[:, 0] < high)].T
        if len(score):
            yield {
                "score from": f"{low:.2f}",
                "tracks": len(score),
                "of them objects": float((share >= 0.5).mean()),
                "pixels on objects": float(np.average(share, weights=size + 1e-9)),
            }


def by_threshold(sequences, tracks: Callable[[float, int], list[VideoTracks]]):
    """What is left above each threshold: how many tracks, and how good."""
    for least in SCORES:
        for frames in FRAMES:
            kept = tracks(least, frames)
            scores = [
                davis.score_single_object(run.unions(video, found)).objects[0].j.mean()
                for video, found in zip(sequences.videos, kept, strict=True)
            ]
            yield {
                "min_score": least,
                "min_frames": frames,
                "tracks": sum(len(found.tracks) for found in kept),
                "J": float(np.mean(scores)),
            }


if __name__ == "__main__":
    main()
