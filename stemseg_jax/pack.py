"""Packs the datasets of a config: `--mode=pack --config=... --output=DIR`."""

import pathlib

from ml_collections import ConfigDict

from stemseg_jax.data import pipeline
from stemseg_jax.data.packed import tfds_builder
from stemseg_jax.formats import whole


def run(config: ConfigDict, output_folder: str) -> int:
    """Writes each dataset of the mixture; train with `--config.data.packed=DIR`.

    Raises:
        ValueError: A sample cannot be read, and nothing of its dataset is left behind;
            or a dataset is packed there already.
    """
    if config.data.packed:
        raise ValueError(
            "config.data.packed is set: these datasets are packed already."
        )
    folder = pathlib.Path(output_folder).resolve()
    sets = {}
    for name in config.data.mixture:
        split, options = pipeline.reader_options(config, name)
        sets[name] = whole.inside(folder, f"{name}_{split}").name, options
        tfds_builder.refuse_packed(folder, sets[name][0])
    for name, (packed, options) in sets.items():
        dataset = pipeline.load(config, name)
        with whole.named(folder):
            path = tfds_builder.pack(dataset, folder, name=packed, options=options)
        frames = sum(video.num_frames for video in dataset.videos)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        print(f"{path}: {len(dataset.videos)} videos, {frames} frames, {size:.1f} MB")
    print(f"train with --config.data.packed={folder}")
    return 0
