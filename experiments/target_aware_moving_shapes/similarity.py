"""Thresholds of what an embedding of crops says, on training videos. See README.md."""

import argparse
import pathlib

from configs import target_aware_moving_shapes
from stemseg_jax import evaluate, models, studies
from stemseg_jax.outputs import report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="run.py's")
    parser.add_argument("--rows", default="all_0,learnt_embedding_0")
    parser.add_argument("--thresholds", default="0.6,1.2,1.5,1.8")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    lines = [
        {"": row, "least similarity": threshold}
        | figures(options.runs / row, float(threshold), options.output)
        for row in options.rows.split(",")
        for threshold in options.thresholds.split(",")
    ]
    print(report.table(lines))


def figures(run: pathlib.Path, threshold: float, output: pathlib.Path):
    config = target_aware_moving_shapes.get_config("refiner").unlock()
    config.tracking.min_similarity = threshold
    config.evaluation.split = "train"
    benchmark = evaluate.prepare(config, output / "ground_truth")
    model = models.load(config, str(run))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, output / "predictions")
    result = studies.Result(model, benchmark, tracks, scores, output)
    return studies.masks_and_identities(result)


if __name__ == "__main__":
    main()
