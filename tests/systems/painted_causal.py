"""Frames whose colours say what the causal embedding's network is to say of them.

Red and green are the embedding, blue the foreground. The network adds a share of what
it saw in the frame before, so that a state that is lost is noticed.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.systems import causal_embedding
from stemseg_jax.tracks import Frame

SCALE = 16  # grey levels of one unit of the embedding
SHARE = 1 / 64  # of the frame before


def embeddings(images, before):
    """[H W 2] of frames of 0 to 255, of NumPy or of JAX."""
    return images[..., :2] / SCALE + before[..., :2] / SCALE * SHARE


def foreground(images):
    """Logits [H W]."""
    return (images[..., 2] - 127.5) / 32


def disparity(images):
    return images[..., 0] / 64 - 2


class PaintedNetwork(causal_embedding.Network):
    """Reads its maps off the frames; it has no parameters."""

    def look(
        self, images: Float[Array, "B T H W 3"], past: tuple[Array, ...] | None = None
    ) -> tuple[causal_embedding.Maps, tuple[Array, ...]]:
        before = past[0] if past else jnp.zeros_like(images[:, :1])
        earlier = jnp.concatenate([before, images], axis=1)[:, :-1]
        maps = causal_embedding.Maps(embeddings(images, earlier), disparity(images))
        return maps, (images[:, -1:],)

    def foreground(self, images: Float[Array, "*B H W 3"]) -> Float[Array, "*B H W"]:
        return foreground(images)


def system(config: ConfigDict) -> causal_embedding.CausalEmbedding:
    """The system of a config, with such a network in place of its own."""
    made = causal_embedding.CausalEmbedding.from_config(config)
    fields = {
        field.name: getattr(made.network, field.name)
        for field in dataclasses.fields(made.network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(made, network=PaintedNetwork(**fields))


def frames(images: np.ndarray, truth: np.ndarray | None = None) -> list[Frame]:
    """[L H W 3] of whole numbers, and perhaps the numbers [L H W] of instances."""
    return [
        Frame(
            index,
            image.astype(np.uint8),
            None if truth is None else lambda index=index: truth[index],
        )
        for index, image in enumerate(images)
    ]


def logistic(x):
    return np.asarray(jax.nn.sigmoid(jnp.asarray(x, jnp.float32)))
