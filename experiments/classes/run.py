"""How many objects it takes to learn four classes from nothing. See README.md."""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from configs import moving_shapes as config_file
from stemseg_jax import studies
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.losses import segmentation
from stemseg_jax.modules.encoder import Encoder
from stemseg_jax.ops import masks as masks_ops

FRAMES, HEIGHT, WIDTH, OBJECTS = 8, 96, 160, 4
EVERY = 150  # updates in a mean


class Setting(NamedTuple):
    marked: bool  # see `scenes.SceneSettings`
    videos: int  # of which the eight frames of an update are
    of: str  # what is classified: "cells" or "instances"
    rate: float = 2e-3


SETTINGS = {
    "plain_one_video_cells": Setting(False, 1, "cells"),
    "plain_one_video": Setting(False, 1, "instances"),
    "plain_eight_videos": Setting(False, 8, "instances"),
    "marked_one_video_cells": Setting(True, 1, "cells"),
    "marked_one_video": Setting(True, 1, "instances"),
    "marked_one_video_slowly": Setting(True, 1, "instances", 7e-4),
}


class Classifier(nn.Module):
    """The demo's backbone and pyramid, and two layers on its map of stride 8."""

    encoder: Encoder
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "T H W 3"]) -> Float[Array, "T h w C"]:
        x = self.encoder(self.encoder.convention.normalise(images))[1]
        x = nn.relu(nn.GroupNorm(6)(nn.Conv(48, (3, 3))(x)))
        return nn.Dense(self.num_classes)(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(SETTINGS))
    parser.add_argument("--steps", type=int, default=900)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in options.rows.split(","):
        right = learn(SETTINGS[row], options.steps)
        line = {"": row, "objects an update": round(float(right[:, 1].mean()), 1)}
        for end in range(EVERY, options.steps + 1, EVERY):
            hits, objects = right[end - EVERY : end].sum(axis=0)
            line[f"to {end}"] = f"{hits / objects:.2f}"
        lines.append(line)
        studies.write(lines, options.output)


def learn(setting: Setting, steps: int) -> np.ndarray:
    """Of each update how many objects were told rightly before it, and how many there
    were: all videos are new."""
    model = config_file.get_config().model
    network = Classifier(Encoder.from_config(model), model.num_classes)
    schedule = optax.warmup_cosine_decay_schedule(0, setting.rate, 100, steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    videos = moving_shapes.load(
        num_videos=200_000, height=HEIGHT, width=WIDTH, marked=setting.marked
    ).videos
    clip = sample(videos, setting.videos, 0)
    variables = network.init(jax.random.key(0), clip["images"])
    optimizer = tx.init(variables)

    def loss(variables, images, masks, categories):
        logits = network.apply(variables, images)
        small = masks_ops.majority(masks, 8)
        seen = small.any(axis=(1, 2, 3))
        means = jnp.einsum("nthw,thwc->nc", small.astype(jnp.float32), logits)
        right = (means[:, 1:].argmax(axis=1) + 1 == categories) & seen
        counts = jnp.stack([right.sum(), seen.sum()])
        if setting.of == "instances":
            return segmentation.of_instances(logits, small, categories, seen), counts
        labels = segmentation.labels(small, categories, seen)
        return segmentation.semantic(
            logits, labels, jnp.zeros(labels.shape, bool)
        ), counts

    @jax.jit
    def update(variables, optimizer, clip):
        gradient, counts = jax.grad(loss, has_aux=True)(variables, **clip)
        updates, optimizer = tx.update(gradient, optimizer, variables)
        return optax.apply_updates(variables, updates), optimizer, counts

    found = []
    for step in range(steps):
        clip = sample(videos, setting.videos, step)
        variables, optimizer, counts = update(variables, optimizer, clip)
        found.append(np.asarray(counts))
    return np.array(found)


def sample(videos: Sequence, count: int, step: int) -> Mapping[str, Any]:
    """Eight frames, of one video or of eight, with the objects of each video."""
    rng = np.random.default_rng(step)
    masks = np.zeros((count * OBJECTS, FRAMES, HEIGHT, WIDTH), bool)
    categories = np.zeros(count * OBJECTS, np.int32)
    images, length = [], FRAMES // count
    for k, number in enumerate(rng.integers(len(videos), size=count)):
        start = rng.integers(20 - length + 1)
        clip = videos[number].clip(range(start, start + length))
        images.append(clip.frames)
        slots = k * OBJECTS + np.arange(len(clip.ids))
        masks[slots, k * length : (k + 1) * length] = clip.masks
        categories[slots] = clip.categories
    images = np.concatenate(images)
    return {"images": images, "masks": masks, "categories": categories}


if __name__ == "__main__":
    main()
