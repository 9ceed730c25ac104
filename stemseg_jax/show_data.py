"""Draws what the network is fed: `--mode=show_data --config=... --output=DIR`."""

import itertools
import pathlib

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from stemseg_jax.data import pipeline
from stemseg_jax.outputs import annotations, report

CLIPS = 8
FRAMES = 8  # of a clip, at most, on the sheet


def run(config: ConfigDict, output_folder: str) -> int:
    """Writes the first clips of the training stream, one sheet for all.

    Instances are coloured and named by category, ignored regions hatched; padding and
    everything else is as the network gets it.
    """
    path = pathlib.Path(output_folder) / "clips.png"
    report.refuse_foreign(path)
    batches = pipeline.training_batches(config, batch_size=1)
    categories = {
        name: pipeline.load(config, name).categories for name in config.data.mixture
    }
    rows, captions = [], []
    for batch in itertools.islice(batches, CLIPS):
        valid = batch["valid"][0]
        masks, ignore = (
            np.unpackbits(batch[name][0], axis=-1).astype(bool)
            for name in ("masks", "ignore")
        )
        dataset = batch["names"][0].partition("/")[0]
        numbers = [n + 1 for n in valid.nonzero()[0].tolist()]
        names = {
            number: categories[dataset].get(int(category), "?")
            for number, category in zip(
                numbers, batch["categories"][0, valid], strict=True
            )
        }
        step = -(-config.num_frames // FRAMES)
        rows.append(
            [
                annotations.draw(
                    batch["frames"][0, t],
                    masks[valid, t],
                    ignore[t],
                    numbers=numbers,
                    names=names,
                )
                for t in range(0, config.num_frames, step)
            ]
        )
        captions.append(batch["names"][0].partition(":")[0])
        dropped = f", {batch['dropped']} instances dropped" * bool(batch["dropped"])
        print(f"{batch['names'][0]}: {valid.sum()} instances{dropped}")
    sheet = report.contact_sheet(_of_one_size(rows), captions, width=320)
    print(f"first clips of the training stream: {report.write_sheet(path, sheet)}")
    return 0


def _of_one_size(
    rows: list[list[UInt8[np.ndarray, "_ _ 3"]]],
) -> list[list[UInt8[np.ndarray, "H W 3"]]]:
    """Canvases of several forms, each in the upper left corner of what holds all."""
    shapes = [row[0].shape[:2] for row in rows]
    height, width = np.max(shapes, axis=0)

    def placed(image):
        beyond = [(0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)]
        return np.pad(image, beyond, constant_values=255)

    return [[placed(image) for image in row] for row in rows]
