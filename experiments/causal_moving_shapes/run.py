"""The causal embedding on a layered world, and what its parts bring. See README.md."""

import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from configs import causal_moving_shapes
from stemseg_jax import evaluate, models, studies, train
from stemseg_jax.data.datasets import layered_world
from stemseg_jax.evaluation import depth
from stemseg_jax.geometry import Geometry
from stemseg_jax.ops import warp
from stemseg_jax.outputs import panels, report
from stemseg_jax.studies import Row

FOREGROUND = "foreground"  # the folder of the network that all rows and seeds share
TRACKING = ("MOTSA", "IDS", "IDS rate", "AP50", "recall", "precision")
SHOWN = 6  # frames of a video on the sheet of depth


def rows(folder: pathlib.Path, steps: int) -> dict[str, Row]:
    shared = {
        "optim.steps": steps,
        "init_from": causal_moving_shapes.starts(str(folder / FOREGROUND)),
    }

    def row(variant: str = "", *, weights: str = "", **changes) -> Row:
        config = functools.partial(config_of, variant)
        return Row(config, {**shared, **changes}, weights)

    return {
        "full": row(),
        "no_depth": row("no_depth"),
        "no_temporal": row("no_temporal"),
        "single_frame": row("single_frame"),
        "true_masks": row(weights="full", **{"tracking.true_masks": True}),
        "true_means": row(weights="full", **{"tracking.true_means": True}),
    }


def config_of(own: str, variant: str):
    """The config's own variant; of another one, such as "smoke", that."""
    return causal_moving_shapes.get_config(variant or own)


def main():
    parser = studies.arguments(__doc__, rows(pathlib.Path(), 1))
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    folder = options.output / FOREGROUND
    config = config_of("foreground", options.variant)
    config.loss.parts = ("foreground",)  # of another variant, too
    config.optim.steps = options.steps
    train.run(config, str(folder))
    lines = studies.table(rows(options.output, options.steps), figures, options)
    studies.write(lines, options.output)


def figures(result: studies.Result) -> studies.Figures:
    own = {name: float(result.scores["car"][name]) for name in TRACKING}
    own["kept"] = studies.kept(result.benchmark.dataset.videos, result.tracks)
    evaluation = result.model.config.evaluation
    world = layered_world.load(None, evaluation.split, **evaluation.options).videos
    if not result.model.config.model.depth:
        return own | dict.fromkeys(("abs_rel", "delta<1.25", "turn", "heading"), np.nan)
    return own | depths(result, world) | motions(result.model, world)


def depths(result: studies.Result, world: Sequence) -> studies.Figures:
    """Errors of depth up to the scale of each frame; a sheet of the first video."""
    errors = []
    for number, video in enumerate(world):
        images = map(video.frame, range(video.num_frames))
        labels, _ = result.model.track(images, truth=evaluate.truth(video))
        found = [labels.depth(t) for t in range(video.num_frames)]
        errors += [depth.errors(one, video.depth(t)) for t, one in enumerate(found)]
        if number == 0:
            sheet(result.folder / "depth.png", video, found)
    return {
        name: float(np.mean([one[name] for one in errors]))
        for name in ("abs_rel", "delta<1.25")
    }


def sheet(path: pathlib.Path, video, found: Sequence[np.ndarray]) -> None:
    """Frames beside true depth, and beside what is said of it."""
    size = video.height, video.width
    geometry = Geometry(size, size, size, 1)

    def pictures(values: Callable[[int], np.ndarray]) -> list[np.ndarray]:
        drawn = panels.Panels(["depth"])
        frames = range(0, video.num_frames, video.num_frames // SHOWN)
        return [
            drawn.draw(video.frame(t), {"depth": values(t)[..., None]}, geometry)
            for t in frames
        ]

    both = [pictures(video.depth), pictures(found.__getitem__)]
    captions = ["true depth", "learnt"]
    report.write_sheet(path, report.contact_sheet(both, captions, title="Depth"))


def motions(model: models.Model, world: Sequence) -> studies.Figures:
    """Medians of how far the camera's turn and heading are off, in degrees."""
    turns, headings = [], []
    for video in world:
        frames = np.stack([video.frame(t) for t in range(video.num_frames)]) / 255
        found = model.system.network.apply(
            model.variables, frames[None].astype(np.float32), method="motion"
        )[0]
        poses = np.asarray(warp.pose_matrix(found[:, :3], found[:, 3:]))
        truth = np.stack([video.motion(t) for t in range(video.num_frames - 1)])
        turns.append(depth.rotation_error(poses, truth))
        headings.append(depth.direction_error(poses, truth))
    return {
        "turn": float(np.nanmedian(np.concatenate(turns))),
        "heading": float(np.nanmedian(np.concatenate(headings))),
    }


if __name__ == "__main__":
    main()
