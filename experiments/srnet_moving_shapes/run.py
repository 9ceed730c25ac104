"""SRNet beside STEm-Seg on moving_shapes, and its ablations. See README.md."""

from configs import moving_shapes, srnet_moving_shapes
from stemseg_jax import studies
from stemseg_jax.studies import Row

SRNET = srnet_moving_shapes.get_config
# On SRNet's videos; what `make demo` has to learn classes by is left out.
PLAIN = {
    "data.options.moving_shapes.marked": False,
    "evaluation.options.marked": False,
    "loss.classes_of": "cells",
}
ROWS = {
    "stemseg": Row(moving_shapes.get_config, PLAIN),
    "srnet": Row(SRNET),
    "dice": Row(SRNET, {"loss.overlap": "dice"}),
    "no_extra_dimensions": Row(SRNET, {"model.mixing": "xy"}),
    "no_heatmap": Row(SRNET, {"tracking.instance_heatmap": False}, weights="srnet"),
    "no_temporal_features": Row(
        SRNET, {"tracking.temporal_features": "current"}, weights="srnet"
    ),
    "full_size": Row(SRNET, {"tracking.upsample": True}, weights="srnet"),
}


def main():
    options = studies.arguments(__doc__, ROWS).parse_args()
    lines = studies.table(ROWS, studies.masks_and_identities, options)
    for line, rate in zip(lines, studies.rates(ROWS, options), strict=True):
        line["frames/s"] = f"{rate:.0f}"
    studies.write(lines, options.output)


if __name__ == "__main__":
    main()
