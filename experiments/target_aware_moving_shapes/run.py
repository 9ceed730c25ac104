"""Target-aware discovery on moving_shapes: its phases and its ablations. README.md."""

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from configs import target_aware_moving_shapes
from stemseg_jax import choices, demo, evaluate, models, studies, train
from stemseg_jax.formats import whole

# Row -> (variant, whose weights it takes, changes). The first two are trained for it.
ROWS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "proposals": ("proposals", "refiner", {}),
    "proposals_no_guidance": ("proposals", "refiner_without_guidance", {}),
    "all": ("", "refiner", {}),
    "no_verification": ("", "refiner", {"tracking.verification": False}),
    "no_memory": ("", "refiner", {"tracking.memory_update": False}),
    "no_refiner": ("", "refiner", {"tracking.refiner": False}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS), help="some of them")
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        default=(4_000, 1_000),
        help="of discovery and refiner; 0: there is no refiner",
    )
    parser.add_argument("--videos", type=int, default=20)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    names = [choices.known("--rows", row, ROWS) for row in options.rows.split(",")]
    studies.write([{"": row} | of_row(row, options) for row in names], options.output)


def of_row(row: str, options: argparse.Namespace) -> dict[str, str]:
    variant, weights, changes = ROWS[row]
    config = _config(weights, variant, changes)
    config.evaluation.options.num_videos = options.videos
    folder = options.output / row
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = trained(weights, config, options)
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    if variant:
        return {name: f"{scores[name]:.3f}" for name in ("AP", "AP50", "AP75")}
    demo.show(folder, benchmark.dataset, tracks, model.categories)
    found = {name: float(scores[name]) for name in ("J&F-Mean", "J-Mean", "F-Mean")}
    found |= studies.identities(benchmark.dataset.videos, tracks)
    whole.write_text(folder / "figures.json", json.dumps(found))
    return {name: f"{value:.3f}" for name, value in found.items()}


def trained(
    weights: str, config: ConfigDict, options: argparse.Namespace
) -> models.Model:
    """The model of a config after both phases: what finds objects, then what makes
    masks of scores.

    Targets are looked for, and crops compared, in the features that the first phase
    has learnt: nothing else here is trained on any images.
    """
    first = options.output / weights.replace("refiner", "discovery")
    phase = _config(weights, "", {"optim.steps": options.steps[0]})
    train.run(phase, str(first))  # at once, if it has all its steps
    body = dict(file=str(first), module="discovery/body")
    start = {"discovery": str(first), "targets/body": body, "embedding/body": body}
    if not options.steps[1]:
        config.tracking.refiner = False
        config.init_from = start
        return models.initial(config)
    phase = _config(weights, "refiner", {"optim.steps": options.steps[1]})
    phase.init_from = start
    train.run(phase, str(options.output / weights))
    return models.load(config, str(options.output / weights))


def _config(weights: str, variant: str, changes: Mapping[str, Any]) -> ConfigDict:
    config = target_aware_moving_shapes.get_config(variant).unlock()
    guidance = not weights.endswith("without_guidance")
    config.update_from_flattened_dict({**changes, "model.guidance": guidance})
    return config


if __name__ == "__main__":
    main()
