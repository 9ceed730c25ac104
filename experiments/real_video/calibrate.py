"""From which confidence on is a track an object? See README.md."""

import argparse
import pathlib

import numpy as np
import run
from absl import logging

from configs import real_video
from stemseg_jax import evaluate, models
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import davis
from stemseg_jax.formats import rle
from stemseg_jax.outputs import report
from stemseg_jax.tracks import Track, VideoTracks

SCORES = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
FRAMES = (1, 4, 8, 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    config = models.saved_config(options.checkpoint)
    with config.unlocked():
        config.selection.update(dict(min_score=0.0, min_frames=1, limit=254))
    model = models.load(config, options.checkpoint)
    sequences = DATASETS["davis16"](
        options.data, "train", sequences=real_video.HELD_BACK
    )
    found = list(evaluate.track(model, sequences))
    told = [
        (track.score, share_on_truth(video, track), pixels(track))
        for video, tracks in zip(sequences.videos, found, strict=True)
        for track in tracks.tracks
    ]
    print(report.table(list(by_score(np.array(told)))))
    print()
    print(report.table(list(by_threshold(sequences, found))))


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
    for low, high in zip(SCORES, SCORES[1:], strict=False):
        score, share, size = told[(low <= told[:, 0]) & (told[:, 0] < high)].T
        if len(score):
            yield {
                "score": f"{low:.2f} to {high:.2f}",
                "tracks": len(score),
                "of them objects": float((share >= 0.5).mean()),
                "pixels on objects": float(np.average(share, weights=size + 1e-9)),
            }


def by_threshold(sequences, found: list[VideoTracks]):
    """What is left above each threshold: how many tracks, and how good."""
    for least in SCORES[:-1]:
        for frames in FRAMES:
            kept = [chosen(tracks, least, frames) for tracks in found]
            scores = [
                davis.score_single_object(run.unions(video, tracks)).objects[0].j.mean()
                for video, tracks in zip(sequences.videos, kept, strict=True)
            ]
            yield {
                "min_score": least,
                "min_frames": frames,
                "tracks": sum(len(tracks.tracks) for tracks in kept),
                "J": float(np.mean(scores)),
            }


def chosen(tracks: VideoTracks, least: float, frames: int) -> VideoTracks:
    def lasts(track):
        shown = [t for t, code in enumerate(track.segmentations) if code is not None]
        return bool(shown) and shown[-1] - shown[0] + 1 >= frames

    kept = (t for t in tracks.tracks if t.score >= least and lasts(t))
    return tracks._replace(tracks=tuple(kept))


if __name__ == "__main__":
    main()
