"""SRNet beside STEm-Seg on moving_shapes, and its ablations. See README.md."""

import argparse
import json
import pathlib
import time
from typing import NamedTuple

import numpy as np

from configs import moving_shapes, srnet_moving_shapes
from stemseg_jax import demo, evaluate, models, predict, train
from stemseg_jax.evaluation import identity
from stemseg_jax.formats import rle
from stemseg_jax.outputs import report

FIGURES = ("J&F-Mean", "J-Mean", "F-Mean")


class Row(NamedTuple):
    """A line of the table: a config with changes, and whose weights it takes."""

    config: object = srnet_moving_shapes
    changes: dict = {}
    weights: str = ""  # of another row; its own if empty


ROWS = {
    "stemseg": Row(moving_shapes),
    "srnet": Row(),
    "dice": Row(changes={"loss.overlap": "dice"}),
    "no_extra_dimensions": Row(changes={"model.mixing": "xy"}),
    "no_heatmap": Row(
        changes={"tracking.instance_heatmap": False}, weights="srnet"
    ),
    "no_temporal_features": Row(
        changes={"tracking.temporal_features": "current"}, weights="srnet"
    ),
}
