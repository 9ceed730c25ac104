"""Batches are spread evenly, and a step sees all of its batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import parallel


@pytest.mark.parametrize(
    ("total", "per_device", "devices", "used", "passes"),
    [
        (8, 1, 8, 8, 1),
        (2, 1, 8, 2, 1),
        (16, 1, 8, 8, 2),
        (16, 2, 4, 4, 2),
        (6, 1, 4, 3, 2),
        (1, 1, 8, 1, 1),
    ],
)
def test_clips_are_spread_over_as_many_devices_as_they_fill(
    total, per_device, devices, used, passes
):
    split = parallel.split(
        total, clips_per_device=per_device, devices=jax.devices()[:devices]
    )
    assert (len(split.devices), split.passes) == (used, passes)


def test_a_batch_that_clips_per_device_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size=3 is not a multiple of .*=2"):
        parallel.split(3, clips_per_device=2)


def test_a_step_sees_the_global_batch():
    where = parallel.shardings(jax.devices())
    batch = parallel.to_global({"x": np.arange(16.0)}, where, passes=2)
    assert batch["x"].shape == (2, 8)
    assert len(batch["x"].sharding.device_set) == 8

    def step(total, batch):
        return total + batch["x"].sum(), batch["x"].mean(axis=1)

    total, means = parallel.jit_step(step, where)(jnp.float32(1), batch)
    assert total == 1 + 120
    np.testing.assert_allclose(means, [3.5, 11.5])
