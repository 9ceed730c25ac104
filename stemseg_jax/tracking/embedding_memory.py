"""The embeddings of the last frames, which those of the present one are clustered with.

Source: Hu, Kendall, Cipolla (arXiv 1912.08969), inference: embeddings are accumulated,
    and live as long as a training clip.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Memory(NamedTuple):
    """M frames, the oldest first; one less than a clip has, and so perhaps none."""

    embeddings: Float[Array, "M h w E"]
    counted: Bool[Array, "M h w"]  # nothing, in frames that there were not


def none(num_frames: int, size: tuple[int, int], dims: int) -> Memory:
    """Before the first frame."""
    shape = (num_frames, *size)
    return Memory(jnp.zeros((*shape, dims)), jnp.zeros(shape, bool))


def push(
    memory: Memory, embeddings: Float[Array, "h w E"], counted: Bool[Array, "h w"]
) -> Memory:
    """The newest frame comes in, the oldest goes."""
    together = Memory(
        jnp.concatenate([memory.embeddings, embeddings[None]]),
        jnp.concatenate([memory.counted, counted[None]]),
    )
    return Memory(*(values[1:] for values in together))
