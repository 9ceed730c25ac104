"""Readers of official dataset folders, by name."""

import functools
from collections.abc import Callable
from typing import Any

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import (
    coco,
    composed,
    davis,
    folders,
    layered_world,
    mapillary,
    mots,
    moving_shapes,
    pascal_voc,
    youtube_vis,
)


def _drawn(
    root: folders.Root,
    split: str,
    *,
    load: Callable[..., readers.Dataset],
    report: readers.Report = readers.refuse,
    **options: Any,
) -> readers.Dataset:
    """Drawn and not read: there is no fault to report."""
    return load(root, split, **options)


# name -> load(root, split, *, report, **options) -> readers.Dataset
DATASETS = {
    "moving_shapes": functools.partial(_drawn, load=moving_shapes.load),
    "layered_world": functools.partial(_drawn, load=layered_world.load),
    "davis16": functools.partial(davis.load, year=2016),
    "davis17": functools.partial(davis.load, year=2017),
    "davis19": functools.partial(davis.load, year=2019),
    "ytvis": functools.partial(youtube_vis.load, name="ytvis"),
    "ytvis21": functools.partial(youtube_vis.load, name="ytvis21"),
    "ovis": functools.partial(youtube_vis.load, name="ovis"),
    "own": functools.partial(youtube_vis.load, name="own"),
    "kitti_mots": mots.load_kitti,
    "mots_challenge": mots.load_mots_challenge,
    # Still images: clips are made of them by clips/stills.py.
    "coco": coco.load,
    "pascal_voc": pascal_voc.load,
    "mapillary": mapillary.load,
}
DATASETS["composed"] = functools.partial(composed.load, readers_by_name=DATASETS)
