"""The weights of the package on official validation sequences: once. See README.md."""

import argparse
import pathlib

import run
from absl import logging

from stemseg_jax import models, studies
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import davis
from stemseg_jax.outputs import collector, report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=pathlib.Path, required=True, help="with a split val of DAVIS"
    )
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    model = models.load(models.saved_config("real"), "real")
    selection = model.config.selection.to_dict()
    every = selection | dict(min_score=0.0)
    lines = []
    for video in DATASETS["davis19"](options.data, "val").videos:
        labels, statistics = model.track(map(video.frame, range(video.num_frames)))
        line = {"": video.name, "frames": video.num_frames}
        for name, chosen in (("J", selection), ("J, all tracks", every)):
            tracks = labels.tracks(video.name, collector.select(statistics, **chosen))
            scored = davis.score_single_object(run.unions(video, tracks))
            line[name] = float(scored.objects[0].j.mean())
        found = studies.identities([video], [tracks])
        lines.append(line | {"id switches": int(found["id switches"])})
    means = {
        name: sum(line[name] for line in lines) / len(lines)
        for name in ("J", "J, all tracks")
    }
    print(report.table([*lines, {"": "mean", "frames": "", **means}]))


if __name__ == "__main__":
    main()
