"""Data parallelism: one mesh axis, two shardings.

A step is written for the global batch and jitted with these shardings; XLA inserts the
sums over devices. Parameters live whole on every device. A batch has two leading axes,
[passes, clips]: one optimiser update adds up the gradients of `passes` forward passes,
and the clips of each pass are split over the devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


class Shardings(NamedTuple):
    """Where arrays live."""

    replicated: NamedSharding
    batch: NamedSharding  # [passes, clips, ...], split along the clips


class Split(NamedTuple):
    """How a batch of fixed size is worked off."""

    devices: tuple[jax.Device, ...]
    passes: int


def split(
    total: int, *, clips_per_device: int, devices: Sequence[jax.Device] | None = None
) -> Split:
    """Spreads `total` clips evenly over as many devices as they can fill.

    Raises:
        ValueError: If several processes are at work and some device would be left idle,
            or if `total` is not a multiple of `clips_per_device`.
    """
    devices = tuple(jax.devices() if devices is None else devices)
    if total % clips_per_device:
        raise ValueError(
            f"optim.batch_size={total} is not a multiple of "
            f"optim.clips_per_device={clips_per_device}."
        )
    shares = total // clips_per_device
    used = max(n for n in range(1, len(devices) + 1) if shares % n == 0)
    if used < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"optim.batch_size={total} cannot be split evenly over {len(devices)} "
            f"devices with optim.clips_per_device={clips_per_device}; choose a "
            f"multiple of {clips_per_device * len(devices)}."
        )
    return Split(devices[:used], shares // used)


def shardings(devices: Sequence[jax.Device]) -> Shardings:
    """Shardings over the given devices."""
    mesh = Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))
    return Shardings(
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec(None, "data")),
    )


def jit_step(step: Callable, where: Shardings) -> Callable:
    """Jits `step(state, batch) -> (state, metrics)`; the old state is given up."""
    return jax.jit(
        step,
        in_shardings=(where.replicated, where.batch),
        out_shardings=where.replicated,
        donate_argnums=0,
    )


def to_global(batch: Any, where: Shardings, *, passes: int) -> Any:
    """This process's [passes * clips, ...] -> global arrays [passes, clips, ...]."""

    def place(x):
        x = np.asarray(x)
        x = x.reshape(passes, -1, *x.shape[1:])
        return jax.make_array_from_process_local_data(where.batch, x)

    return jax.tree.map(place, batch)


def in_turns(rows: jax.Array, step: jax.Array) -> jax.Array:
    """What belongs to the clips of a batch [passes, clips, ...], as hosts take turns.

    In each update another host reads what comes first (`pipeline.training_batches`), so
    that none reads one dataset alone. What a clip draws goes with it.
    """
    hosts = jax.process_count()
    if hosts == 1:
        return rows
    blocks = rows.reshape(len(rows), hosts, -1, *rows.shape[2:])
    return jnp.roll(blocks, -step, axis=1).reshape(rows.shape)


class Largest:
    """The largest of numbers, of which each host has one, known one call late.

    So no device waits for it. One host alone knows it at once.
    """

    def __init__(self, where: Shardings):
        self._split = NamedSharding(where.batch.mesh, PartitionSpec("data"))
        self._max = jax.jit(lambda x: x.max(), out_shardings=where.replicated)
        self._pending: Any = 0

    def __call__(self, own: int) -> int:
        if jax.process_count() == 1:
            return own
        known = int(self._pending)
        local = np.full(jax.local_device_count(), own, np.int32)
        every = jax.make_array_from_process_local_data(self._split, local)
        self._pending = self._max(every)
        return known


def placed(abstract: Any, sharding: NamedSharding) -> Any:
    """The same shapes and types, living under `sharding`."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract
    )
