"""Batches are spread evenly, and a step sees all of its batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import models, parallel
from stemseg_jax.structures import PackedClips


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


def test_what_belongs_to_clips_goes_with_them_as_hosts_take_turns(monkeypatch):
    rows = jnp.arange(12).reshape(2, 6)
    assert parallel.in_turns(rows, jnp.int32(1)) is rows
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    for step in range(4):
        turned = parallel.in_turns(rows, jnp.int32(step)).reshape(2, 3, 2)
        for host in range(3):
            own = rows.reshape(2, 3, 2)[:, (host + step) % 3]
            np.testing.assert_array_equal(turned[:, host], own)


@pytest.mark.parametrize("clean", [True, False])
def test_clean_frames_go_along_if_there_are_any(clean):
    blank = models.blank_batch(moving_shapes.get_config("smoke"))
    bits = {k: jnp.packbits(getattr(blank, k), axis=-1) for k in ("masks", "ignore")}
    batch = {**blank._asdict(), **bits, "names": ["not an array"]}
    batch = {key: value for key, value in batch.items() if value is not None}
    if clean:
        batch["clean"] = batch["frames"] + 7
    clips = models.clips(batch)
    where = parallel.shardings(jax.devices()[:1])
    clips = parallel.to_global(clips, where, passes=1)

    def step(state, clips: PackedClips):
        assert clips.unpacked().masks.shape[-1] == 8 * clips.masks.shape[-1]
        one = jax.tree.map(lambda x: x[0], clips)
        shown = one.frames if one.clean is None else one.clean
        return state + jax.vmap(lambda clip: clip.frames.mean())(one).sum(), shown

    _, shown = parallel.jit_step(step, where)(jnp.float32(0), clips)
    assert (shown == 7 * clean).all()
    assert jnp.isnan(clips.intrinsics).all()
