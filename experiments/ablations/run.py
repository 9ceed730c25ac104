"""STEm-Seg on moving_shapes with one part changed at a time. See README.md."""

import functools

from ml_collections import ConfigDict

from configs import moving_shapes
from stemseg_jax import studies
from stemseg_jax.studies import Row

LONG = 40  # frames of the videos for clips of other lengths
SEEDINESS_ALONE = 0.25  # the threshold of the foreground, as on DAVIS


def rows(steps: int | None) -> dict[str, Row]:
    """All rows, the config as it is first.

    Args:
        steps: Updates of each; none: the config's own.
    """
    budget = {"optim.steps": steps} if steps else {}

    def row(weights: str = "", **changes) -> Row:
        named = {path.replace("__", "."): value for path, value in changes.items()}
        return Row(moving_shapes.get_config, budget | named, weights)

    def clips(num_frames: int, weights: str = "") -> Row:
        return Row(functools.partial(of_length, num_frames), budget, weights)

    return {
        "stemseg": row(),
        "identity": row(model__mixing="ff"),
        "xy": row(model__mixing="xy"),
        "xyt": row(model__mixing="xyt"),
        "xyf": row(model__mixing="xyf"),
        "xytf": row(model__mixing="xytf"),
        "xytff": row(model__mixing="xytff"),
        "xyfff": row(model__mixing="xyfff"),
        "frames_4": clips(4),
        "frames_8": clips(8, weights="stemseg"),
        "frames_16": clips(16),
        "frames_24": clips(24),
        "overlap_1": row("stemseg", tracking__overlap=1),
        "overlap_2": row("stemseg", tracking__overlap=2),
        "overlap_6": row("stemseg", tracking__overlap=6),
        "seediness_decoder": row(model__seediness_decoder=True),
        "random_seeds": row("stemseg", clustering__seeds="random"),
        "constant_bandwidths": row(model__bandwidth_std=0.3),
        "no_pooling": row(model__temporal_pooling=False),
        "no_foreground_channel": row(
            model__foreground=False, tracking__foreground_threshold=SEEDINESS_ALONE
        ),
        "no_semantic_decoder": row(
            model__num_classes=0,
            model__categories="",
            tracking__foreground_threshold=SEEDINESS_ALONE,
        ),
    }


def of_length(num_frames: int, variant: str) -> ConfigDict:
    """Clips of that length, at the config's speed, and windows that share one half."""
    config = moving_shapes.get_config(variant).unlock()
    config.num_frames = num_frames
    config.tracking.overlap = num_frames // 2
    least = num_frames - 1
    config.data.span.moving_shapes = (least, round(least * 11 / 7))
    config.data.options.moving_shapes.num_frames = LONG
    config.evaluation.options.num_frames = LONG
    return config.lock()


def main():
    parser = studies.arguments(__doc__, rows(None))
    parser.add_argument("--steps", type=int, help="updates of each row")
    options = parser.parse_args()
    table = studies.table(rows(options.steps), studies.masks_and_identities, options)
    studies.write(table, options.output)


if __name__ == "__main__":
    main()
