"""Target-aware discovery on moving_shapes: its phases and its ablations. README.md."""

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from configs import target_aware_moving_shapes
from stemseg_jax import choices, demo, evaluate, models, studies, train
from stemseg_jax.formats import whole

# Row -> (variant, whose weights it takes, changes). The first two are trained for it.
ROWS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "proposals": ("proposals", "refiner", {}),
    "proposals, no guidance": ("proposals", "refiner_without_guidance", {}),
    "all": ("", "refiner", {}),
    "no verification": ("", "refiner", {"tracking.verification": False}),
    "no memory": ("", "refiner", {"tracking.memory_update": False}),
    "no refiner": ("", "refiner", {"tracking.refiner": False}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS), help="some of them")
    parser.add_argument("--steps", type=int, nargs=2, default=(4_000, 1_000))
    parser.add_argument("--videos", type=int, default=20)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    names = [choices.known("--rows", row, ROWS) for row in options.rows.split(",")]
    studies.write([{"": row} | of_row(row, options) for row in names], options.output)


def of_row(row: str, options: argparse.Namespace) -> dict[str, str]:
    variant, weights, changes = ROWS[row]
    trained(weights, options)
    config = target_aware_moving_shapes.get_config(variant)
    changes = {**changes, **_guidance(weights)}
    changes["evaluation.options.num_videos"] = options.videos
    config = models.changed(config, changes)
    folder = options.output / row.replace(",", "").replace(" ", "_")
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = models.load(config, str(options.output / weights))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    if variant:
        return {name: f"{scores[name]:.3f}" for name in ("AP", "AP50", "AP75")}
    demo.show(folder, benchmark.dataset, tracks, model.categories)
    found = {name: float(scores[name]) for name in ("J&F-Mean", "J-Mean", "F-Mean")}
    found |= studies.identities(benchmark.dataset.videos, tracks)
    whole.write_text(folder / "figures.json", json.dumps(found))
    return {name: f"{value:.3f}" for name, value in found.items()}


def trained(weights: str, options: argparse.Namespace) -> None:
    """Both phases: what finds objects, then what makes masks of scores.

    Targets are looked for, and crops compared, in the features that the first phase
    has learnt: nothing else here is trained on any images.
    """
    changes = _guidance(weights)
    first = options.output / weights.replace("refiner", "discovery")
    config = target_aware_moving_shapes.get_config().unlock()
    config.update_from_flattened_dict({**changes, "optim.steps": options.steps[0]})
    train.run(config, str(first))  # at once, if it has all its steps
    config = target_aware_moving_shapes.get_config("refiner").unlock()
    config.update_from_flattened_dict({**changes, "optim.steps": options.steps[1]})
    body = dict(file=str(first), module="discovery/body")
    config.init_from = {
        "discovery": str(first),
        "targets/body": body,
        "embedding/body": body,
    }
    train.run(config, str(options.output / weights))


def _guidance(weights: str) -> dict[str, Any]:
    return {"model.guidance": not weights.endswith("without_guidance")}


if __name__ == "__main__":
    main()
