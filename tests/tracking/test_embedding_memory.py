"""The memory of the last frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.tracking import embedding_memory

push = jax.jit(embedding_memory.push)


def frame(number):
    embeddings = jnp.full((2, 3, 4), float(number))
    return embeddings, jnp.arange(6).reshape(2, 3) < number


def test_the_oldest_frame_goes():
    memory = embedding_memory.none(3, (2, 3), 4)
    assert not memory.counted.any()
    wanted = [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    for number, frames in enumerate(wanted, start=1):
        memory = push(memory, *frame(number))
        assert memory.embeddings[:, 0, 0, 0].tolist() == frames
        assert memory.counted.sum(axis=(1, 2)).tolist() == frames
        np.testing.assert_array_equal(memory.counted[-1], frame(number)[1])


@pytest.mark.parametrize("num_frames", [0, 1])
def test_short_memories(num_frames):
    memory = embedding_memory.none(num_frames, (2, 3), 4)
    for number in (1, 2):
        memory = push(memory, *frame(number))
        assert memory.embeddings.shape == (num_frames, 2, 3, 4)
        assert (memory.embeddings == number).all()
        assert memory.counted.sum() == num_frames * number


def test_vmap_keeps_videos_apart():
    memory = embedding_memory.none(2, (2, 3), 4)
    together = jax.vmap(lambda e, c: embedding_memory.push(memory, e, c))(
        *(jnp.stack(values) for values in zip(frame(1), frame(4), strict=True))
    )
    for k, number in enumerate((1, 4)):
        alone = push(memory, *frame(number))
        np.testing.assert_array_equal(together.embeddings[k], alone.embeddings)
        np.testing.assert_array_equal(together.counted[k], alone.counted)
