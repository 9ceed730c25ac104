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
    table = report.table(lines)
    (options.output / "table.txt").write_text(table + "\n")
    print(table)


def figures_of(name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Trains where no finished run is there, and scores."""
    row, folder = ROWS[name], options.output / f"{name}_{seed}"
    written = folder / "figures.json"
    if written.exists():
        return json.loads(written.read_text())
    config = row.config.get_config(options.variant).unlock()
    config.seed = seed
    config.update_from_flattened_dict(dict(row.changes))
    workdir = options.output / f"{row.weights or name}_{seed}"
    if row.weights and not workdir.exists():
        raise ValueError(f"{name} takes the weights of {row.weights}: name it first.")
    if not row.weights:
        train.run(config, str(workdir))
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = models.load(config, str(workdir))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    figures = {figure: float(scores[figure]) for figure in JF}
    videos = benchmark.dataset.videos
    pairs = zip(videos, tracks, strict=True)
    figures["id switches"] = float(sum(switches(*pair) for pair in pairs))
    figures["frames/s"] = rate(model, videos[0])
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


def rate(model: models.Model, video) -> float:
    """Frames per second of `track`, compilation left out."""
    frames = [video.frame(t) for t in range(video.num_frames)]
    model.track(frames)
    begin = time.perf_counter()
    model.track(frames)
    return len(frames) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
