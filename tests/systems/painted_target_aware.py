"""Frames whose colours say what the networks of target-aware discovery are to say.

Red is the foreground, green and blue the way to the centre of the object; peaks are
where a colour is marked. Features in which targets are looked for, and what a crop
looks like, are colours, too.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.systems import target_aware
from stemseg_jax.tracks import Frame

STRIDE = 4  # of the features
SHARE = 0.02  # of the foreground of the frame before


def paint(
    boxes: list[dict[int, tuple[int, int, int, int]]], size=(32, 64)
) -> np.ndarray:
    """Frames [L H W 3] that show boxes (top, left, height, width) by their names, the
    later ones in front."""
    rng = np.random.default_rng(len(boxes))
    frames = rng.integers(0, 90, (len(boxes), *size, 3))
    frames[..., 1:] = 128
    for frame, things in zip(frames, boxes, strict=True):
        for name, (top, left, height, width) in things.items():
            rows = slice(max(top, 0), max(top + height, 0))
            columns = slice(max(left, 0), max(left + width, 0))
            y, x = np.mgrid[: size[0], : size[1]]
            centre = top + height // 2, left + width // 2
            part = np.stack(
                [
                    np.full(size, 150 + 20 * name),
                    128 + centre[0] - y,
                    128 + centre[1] - x,
                ],
                axis=-1,
            )
            frame[rows, columns] = part[rows, columns]
    return frames.clip(0, 255)


def maps(images, before):
    """Foreground logits, heat map and offsets of frames [... H W 3] of 0 to 255, those
    before them with their foreground [... H W 4]; of NumPy or of JAX."""
    logits = (images[..., 0] - 120.0) / 32 + SHARE * before[..., 3]
    offsets = images[..., 1:] - 128
    near = abs(offsets).max(axis=-1)
    heat = (images[..., 0] / 256) * (near == 0) * (images[..., 0] > 120)
    return logits[..., None], heat, offsets


def features(images):
    """[... h w 5] of views [... S S 3]."""
    *batch, H, W, _ = images.shape
    cells = images.reshape(*batch, H // STRIDE, STRIDE, W // STRIDE, STRIDE, 3)
    cells = cells.mean(axis=(-4, -2)) / 128 - 1
    red, green, blue = (cells[..., k : k + 1] for k in range(3))
    parts = [red, green, blue, red * red, 0 * red + 1]
    numpy = np if isinstance(images, np.ndarray) else jnp
    return numpy.concatenate(parts, axis=-1)


def embedding(crops):
    """[... 4] of crops [... S S 3]: red tells things apart."""
    red = crops[..., 0].mean(axis=(-2, -1)) / 64 - 2
    numpy = np if isinstance(crops, np.ndarray) else jnp
    return numpy.stack([red, red**2, 0 * red + 1, red**3], axis=-1)


class PaintedNetwork(target_aware.Network):
    """Reads what it says off the frames; it has no parameters."""

    def discover(self, images, before, keys=None) -> target_aware.Maps:
        return target_aware.Maps(*maps(images, before))

    def look(self, views: Float[Array, "B S S 3"]) -> tuple[Array, ...]:
        return (views, views, features(views), views)

    def refine(self, maps, scores, size) -> Float[Array, "B K H W"]:
        raise AssertionError("these videos are followed without a refiner")

    def embed(self, crops: Float[Array, "K S S 3"]) -> Float[Array, "K E"]:
        return embedding(crops)


def system(
    config: ConfigDict, network: type[target_aware.Network] = PaintedNetwork
) -> target_aware.TargetAware:
    """The system of a config, with such a network in place of its own."""
    made = target_aware.TargetAware.from_config(config)
    fields = {
        field.name: getattr(made.network, field.name)
        for field in dataclasses.fields(made.network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(made, network=network(**fields))


def frames(images: np.ndarray) -> list[Frame]:
    return [Frame(k, image.astype(np.uint8)) for k, image in enumerate(images)]
