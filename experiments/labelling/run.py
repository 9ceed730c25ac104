"""What labelling one window costs at real size. See README.md."""

import argparse
import importlib
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax import models
from stemseg_jax.ops import mixing
from stemseg_jax.systems import stemseg

ROUNDS = 5
# Centre (share of height and width), radius (share of height) of each object.
OBJECTS = [(0.25, 0.2, 0.16), (0.62, 0.26, 0.19), (0.38, 0.6, 0.18), (0.7, 0.8, 0.22),
           (0.82, 0.5, 0.11)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="ytvis", help="of configs/")
    parser.add_argument("--parity", default="paper", choices=("paper", "released"))
    parser.add_argument("--size", type=int, nargs=2, default=(640, 1216))
    options = parser.parse_args()
    config = importlib.import_module(f"configs.{options.config}").get_config().unlock()
    config.init_from = ""
    config.parity = options.parity
    system = models.build(config)
    maps = said(config, options.size)
    T, known = config.num_frames, np.int32(config.tracking.overlap)
    blank, next_id = system._blank(maps)
    memory = tuple(stemseg._add_up((blank,) * T, maps, np.int32(0)))
    arguments = (maps, memory, np.int32(0), known, next_id)
    compiled = type(system)._label.lower(system, *arguments).compile()
    seconds = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        found = jax.block_until_ready(system._label(*arguments))
        seconds.append(time.perf_counter() - begin)
    cells = found.sums.cells.sum(axis=0)
    print(
        json.dumps(
            {
                "seconds": round(statistics.median(seconds[1:]), 3),
                "MB": round(compiled.memory_analysis().temp_size_in_bytes / 1e6),
                "cells of new frames": [n for n in cells.tolist() if n],
                "rule": system.clustering.rule,
                "jax": jax.__version__,
            }
        )
    )


def said(config, size: tuple[int, int]) -> stemseg.Maps:
    """Maps of a window in which five discs move to the right."""
    T, (h, w) = config.num_frames, (side // 4 for side in size)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:h, 0:w]
    kind = mixing.get(config.model.mixing)
    E, V = len(config.model.mixing), len(config.model.mixing) - kind.free
    embeddings = np.zeros((T, h, w, E), np.float32)
    embeddings[..., 0], embeddings[..., 1] = 2 * y / h - 1, (2 * x / w - 1) * w / h
    objects = np.zeros((T, h, w), int)
    for number, (row, column, radius) in enumerate(OBJECTS, start=1):
        for t in range(T):
            inside = np.hypot(y - row * h, x - column * w - 2 * t) < radius * h
            embeddings[t][inside] = rng.uniform(-0.8, 0.8, E)
            embeddings[t][inside, 0] = 2 * row - 1
            embeddings[t][inside, 1] = (2 * column - 1) * w / h
            objects[t][inside] = number
    for number in range(1, len(OBJECTS) + 1):  # one place for all frames
        embeddings[objects == number] = embeddings[objects == number][0]
    embeddings += rng.normal(scale=0.01, size=embeddings.shape)
    seediness = np.where(objects > 0, 0.95, 0.1) + rng.uniform(0, 0.04, objects.shape)
    classes = config.model.num_classes
    logits = jnp.asarray(rng.normal(size=(T, h, w, classes)), jnp.float32)
    foreground = jnp.asarray(np.where(objects > 0, 4.0, -4.0), jnp.float32)
    return stemseg.Maps(
        jnp.asarray(embeddings),
        jnp.ones((T, h, w, V)),
        jnp.asarray(seediness, jnp.float32),
        logits if classes else None,
        foreground if classes and config.model.foreground else None,
    )


if __name__ == "__main__":
    main()
