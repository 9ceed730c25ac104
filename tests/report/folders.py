"""Folders as runs and --mode=predict leave them, without a model."""

import json
import pathlib

import numpy as np

from configs import moving_shapes
from stemseg_jax import score, tasks
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import rle, whole
from stemseg_jax.outputs import tracks_json, video
from stemseg_jax.report import films
from stemseg_jax.tracks import Track, VideoTracks

FRAMES = 5
LOG = [
    {"step": 1, "loss": 3.0, "lovasz": 2.0, "learning_rate": 0.1},
    {"step": 2, "loss": float("nan"), "lovasz": 1.5, "learning_rate": 0.1},
    {"step": 2, "validation/J&F-Mean": 0.5},
    {"step": 3, "loss": 1.0, "lovasz": 1.0, "learning_rate": 0.05},
]


def config_of(task: str = "davis19"):
    config = moving_shapes.get_config("smoke").unlock()
    config.evaluation.task = task
    config.evaluation.options.update(num_videos=3, num_frames=FRAMES)
    return config


def write_run(folder: pathlib.Path, *, task: str = "davis19") -> pathlib.Path:
    """A run whose results are perfect in val_000000, lack an object in val_000001, and
    are empty in val_000002."""
    folder.mkdir(parents=True)
    config = config_of(task)
    for name in ("config.json", tasks.EVALUATED):
        (folder / name).write_text(config.to_json_best_effort())
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in LOG))
    evaluation = config.evaluation
    options = evaluation.options.to_dict()
    dataset = DATASETS[evaluation.dataset](None, evaluation.split, **options)
    form = tasks.FORMS[task]
    truth = form.export(dataset, folder / "ground_truth")
    with whole.folder(folder / "predictions", "--mode=evaluate") as partial:
        found = map(_found, enumerate(form.load(folder / "ground_truth").videos))
        results = form.write(partial, found, truth)
    score.figures(
        task=task,
        ground_truth=truth,
        results=folder / "predictions" / results.relative_to(partial),
        json_file=folder / "scores.json",
    )
    return folder


def _found(numbered) -> VideoTracks:
    index, video = numbered
    truth = films.true_tracks(video)
    kept = truth.tracks[index : len(truth.tracks) * (index < 2)]
    return truth._replace(tracks=tuple(one._replace(score=0.5) for one in kept))


def write_predicted(
    folder: pathlib.Path, *, score: float = 0.9, overlay: bool = True, **made
) -> pathlib.Path:
    """One video of six frames, in which an object is seen in all but the third."""
    folder.mkdir(parents=True)
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:50] = True
    masks = [None if t == 2 else rle.encode(mask) for t in range(6)]
    tracks = (Track(1, 1, score, tuple(masks)),)
    tracks_json.write(
        folder / "tracks.json",
        VideoTracks(folder.name, 48, 64, 6, tracks),
        fps=3,
        categories={1: "person & dog"},
    )
    if overlay:
        with video.Writer(folder / "overlay.mp4", fps=3) as writer:
            for t in range(6):
                writer.write(np.full((48, 64, 3), 40 * t, np.uint8))
    record = {"num_frames": 6, "num_tracks": 1, "made_of": {"program": "0"}, **made}
    (folder / "made_of.json").write_text(json.dumps(record))
    (folder / whole.MARKER).write_text("--mode=predict\n")
    return folder
