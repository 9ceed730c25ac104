"""SRNet beside STEm-Seg on moving_shapes, and its ablations. See README.md."""

import argparse
import json
import pathlib
import time
import types
from typing import NamedTuple

import numpy as np
from absl import logging

from configs import moving_shapes, srnet_moving_shapes
from stemseg_jax import demo, evaluate, models, predict, train
from stemseg_jax.formats import rle
from stemseg_jax.outputs import report

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
    "paper_threshold": Row(
        changes=(("clustering.primary_threshold", 0.5),), weights="srnet"
    ),
    "small_clusters": Row(
        changes=(("clustering.primary_threshold", 0.5), ("clustering.min_cells", 6)),
        weights="srnet",
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", default="", help="smoke: seconds, to try it")
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    lines = []
    for name in options.rows.split(","):
        found = [figures_of(name, seed, options) for seed in range(options.seeds)]
        line = {"": name}
        for figure in found[0]:
            values = [one[figure] for one in found]
            line[figure] = f"{np.mean(values):.3f} ± {np.std(values):.3f}"
        lines.append(line)
    for line, rate in zip(lines, rates(options), strict=True):
        line["frames/s"] = f"{rate:.0f}"
    table = report.table(lines)
    (options.output / "table.txt").write_text(table + "\n")
    print(table)


def figures_of(name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Trains where no finished run is there, and scores."""
    folder = options.output / f"{name}_{seed}"
    written = folder / "figures.json"
    if written.exists():
        return json.loads(written.read_text())
    config, workdir = recipe(name, seed, options)
    if not ROWS[name].weights:
        train.run(config, str(workdir))
    elif not workdir.exists():
        raise ValueError(f"{name} takes its weights from {workdir}: train that first.")
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = models.load(config, str(workdir))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    figures = {figure: float(scores[figure]) for figure in JF}
    videos = benchmark.dataset.videos
    pairs = zip(videos, tracks, strict=True)
    figures["id switches"] = float(sum(switches(*pair) for pair in pairs))
    names = predict.category_names(config)
    demo.show(folder, benchmark.dataset, tracks, names)
    written.write_text(json.dumps(figures))
    return figures


def switches(truth, found) -> int:
    """How often the track that covers an object (IoU above 1/2) is another one than
    when the object was last covered."""
    partner, count = {}, 0
    for t in range(truth.num_frames):
        clip = truth.clip([t])
        here = [
            (track.id, rle.decode(track.segmentations[t]))
            for track in found.tracks
            if track.segmentations[t] is not None
        ]
        for number, mask in zip(clip.ids, clip.masks[:, 0], strict=True):
            for track, other in here:
                if 2 * (mask & other).sum() > (mask | other).sum():
                    count += partner.get(number, track) != track
                    partner[number] = track
    return count


def rates(options: argparse.Namespace, rounds: int = 9) -> list[float]:
    """Frames per second of each row's `track`: the median of rounds in which the rows
    take turns, compilation left out."""
    rows = [recipe(name, 0, options) for name in options.rows.split(",")]
    benchmark = evaluate.prepare(rows[0][0], options.output / "ground_truth")
    video = benchmark.dataset.videos[0]
    frames = [video.frame(t) for t in range(video.num_frames)]
    loaded = [models.load(config, str(workdir)) for config, workdir in rows]
    seconds = np.zeros((1 + rounds, len(rows)))
    for index in np.ndindex(seconds.shape):
        begin = time.perf_counter()
        loaded[index[1]].track(frames)
        seconds[index] = time.perf_counter() - begin
    return list(len(frames) / np.median(seconds[1:], axis=0))


def recipe(name: str, seed: int, options: argparse.Namespace):
    """The config of a row, and the folder of its weights."""
    row = ROWS[name]
    config = row.config.get_config(options.variant).unlock()
    config.seed = seed
    config.update_from_flattened_dict(dict(row.changes))
    return config, options.output / f"{row.weights or name}_{seed}"


if __name__ == "__main__":
    main()
