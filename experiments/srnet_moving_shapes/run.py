"""SRNet beside STEm-Seg on moving_shapes, and its ablations. See README.md."""

import argparse
import collections
import json
import pathlib
import time
import types
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from configs import moving_shapes, srnet_moving_shapes
from stemseg_jax import choices, demo, evaluate, models, train
from stemseg_jax.data import datasets
from stemseg_jax.evaluation import clear
from stemseg_jax.formats import rle, whole
from stemseg_jax.outputs import report
from stemseg_jax.tracks import VideoTracks

JF = ("J&F-Mean", "J-Mean", "F-Mean")


class Row(NamedTuple):
    """A line of the table: a config with changes, and whose weights it takes."""

    config: types.ModuleType = srnet_moving_shapes
    changes: tuple[tuple[str, object], ...] = ()
    weights: str = ""  # of another row; its own if empty


ROWS = {
    "stemseg": Row(moving_shapes),
    "srnet": Row(),
    "dice": Row(changes=(("loss.overlap", "dice"),)),
    "no_extra_dimensions": Row(changes=(("model.mixing", "xy"),)),
    "no_heatmap": Row(changes=(("tracking.instance_heatmap", False),), weights="srnet"),
    "no_temporal_features": Row(
        changes=(("tracking.temporal_features", "current"),), weights="srnet"
    ),
    "full_size": Row(changes=(("tracking.upsample", True),), weights="srnet"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS), help="some of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", default="", help="smoke: seconds, to try it")
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [choices.known("--rows", row, ROWS) for row in options.rows.split(",")]
    lines = []
    for row in rows:
        found = [figures_of(row, seed, options) for seed in range(options.seeds)]
        line = {"": row}
        for figure in found[0]:
            values = [one[figure] for one in found]
            deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
            line[figure] = f"{np.mean(values):.3f} ± {deviation:.3f}"
        lines.append(line)
    for line, rate in zip(lines, rates(rows, options), strict=True):
        line["frames/s"] = f"{rate:.0f}"
    table = report.table(lines)
    whole.write_text(options.output / "table.txt", table + "\n")
    print(table)


def figures_of(row: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Trains where no finished run is there, and scores if that was not done yet."""
    folder = options.output / f"{row}_{seed}"
    config, workdir = recipe(row, seed, options)
    as_scored = json.loads(config.to_json_best_effort())
    written = folder / "figures.json"
    if written.exists():
        held = json.loads(written.read_text())
        if held["config"] == as_scored:
            return held["figures"]
    if workdir == folder:
        train.run(config, str(workdir))  # at once, if it has all its steps
    elif not (workdir / "figures.json").exists():
        raise ValueError(f"{row} takes its weights from {workdir}: train that first.")
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = models.load(config, str(workdir))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    figures = {figure: float(scores[figure]) for figure in JF}
    figures |= identities(benchmark.dataset.videos, tracks)
    demo.show(folder, benchmark.dataset, tracks, model.categories)
    held = {"config": as_scored, "figures": figures}
    whole.write_text(written, json.dumps(held))
    return figures


def identities(videos: Sequence, found: Sequence[VideoTracks]) -> dict[str, float]:
    """How often an object's track (IoU above 1/2) is another one than when it last had
    one, over all videos, and the share of objects in frames that have a track."""
    switches = covered = seen = 0
    for video, tracks in zip(videos, found, strict=True):
        partners = collections.defaultdict(list)
        for t in range(video.num_frames):
            clip = video.clip([t])
            masks = {
                track.id: rle.decode(track.segmentations[t])
                for track in tracks.tracks
                if track.segmentations[t] is not None
            }
            for number, mask in zip(clip.ids, clip.masks[:, 0], strict=True):
                over_half = (
                    id
                    for id, other in masks.items()
                    if 2 * (mask & other).sum() > (mask | other).sum()
                )
                partners[number].append(next(over_half, -1))
        each = [np.array(ids) for ids in partners.values()]
        switches += sum(map(clear.switches, each))
        covered += sum(int((ids >= 0).sum()) for ids in each)
        seen += sum(map(len, each))
    return {"id switches": float(switches), "covered": covered / seen}


def rates(
    rows: Sequence[str], options: argparse.Namespace, rounds: int = 9
) -> list[float]:
    """Frames per second of each row's `track`, from decoded frames to labels in memory:
    the median of rounds in which the rows take turns over the first unseen videos,
    compilation left out."""
    recipes = [recipe(row, 0, options) for row in rows]
    loaded = [models.load(config, str(workdir)) for config, workdir in recipes]
    videos = [
        [video.frame(t) for t in range(video.num_frames)]
        for video in unseen(recipes[0][0])[:3]
    ]
    seconds = np.zeros((1 + rounds, len(rows)))
    for index in np.ndindex(seconds.shape):
        begin = time.perf_counter()
        for frames in videos:
            loaded[index[1]].track(frames)
        seconds[index] = time.perf_counter() - begin
    return list(sum(map(len, videos)) / np.median(seconds[1:], axis=0))


def unseen(config: ConfigDict) -> Sequence:
    """The videos that a config is scored on."""
    evaluation = config.evaluation
    read = datasets.DATASETS[evaluation.dataset]
    return read(None, evaluation.split, **evaluation.options).videos


def recipe(
    row: str, seed: int, options: argparse.Namespace
) -> tuple[ConfigDict, pathlib.Path]:
    """The config of a row, and the folder of its weights."""
    module, changes, weights = ROWS[row]
    config = module.get_config(options.variant)
    config.update_from_flattened_dict({"seed": seed, **dict(changes)})
    return config, options.output / f"{weights or row}_{seed}"


if __name__ == "__main__":
    main()
