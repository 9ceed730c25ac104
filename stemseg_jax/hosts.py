"""Several hosts, one process each: how they find one another, and what they agree on.

All run the same command, on the same files. Of one process alone all this asks nothing.
"""

import contextlib
import os
import pickle
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

T = TypeVar("T")
PATIENCE = 50  # seconds until a host that does not come is given up,
HEARTBEAT = 20  # and one that was there
LOST = re.compile("gloo|nccl|peer|socket|connection|coordination|heartbeat", re.I)
AUTO = "auto"  # the cluster says it: SLURM, a TPU slice, Open MPI, Kubernetes


class OtherHost(OSError):
    """What ended the work of another host, and with it ours."""


def join(count: str = "", index: int | None = None, address: str = "") -> None:
    """Finds the other processes; to be called before any device is touched.

    Args:
        count: How many there are, or "auto". Empty: "auto" where the environment shows
            a step of SLURM or a TPU slice of several hosts, otherwise one.
        index: Of this one, from 0.
        address: HOST:PORT of number 0, which listens there.

    Raises:
        ValueError: The three contradict each other.
        OSError: The port is taken, or nobody answers at `address`.
    """
    patience = dict(
        initialization_timeout=PATIENCE,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
    )
    if not count and index is None and not address:
        count = AUTO * _several()
    if count == AUTO:
        jax.distributed.initialize(**patience)
    elif count or index is not None or address:
        total = int(count) if count.isdecimal() else 0
        port = address.rpartition(":")[2]
        if not (index is not None and 0 <= index < total and port.isdecimal()):
            raise ValueError(
                f"--hosts={count} --host={index} --coordinator={address}: expected how "
                "many there are, which of them this is, counted from 0, and HOST:PORT "
                "of number 0, the same for all; or --hosts=auto in a cluster."
            )
        if index:
            _await(address)
        else:
            _refuse_taken(int(port))
        jax.distributed.initialize(address, total, index, **patience)
    if jax.process_count() > 1:
        logging.info("Host %d of %d", jax.process_index(), jax.process_count())


def _several() -> bool:
    """Whether the environment is that of one process among several."""
    step = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1
    return step or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _await(address: str) -> None:
    """JAX would end the process without a word of ours."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            if time.monotonic() > end:
                raise OtherHost(
                    f"--coordinator={address}: nobody answered within {PATIENCE} s "
                    f"({error.strerror or error}). Is the process with --host=0 "
                    "running, and can this host reach that port?"
                ) from error
        time.sleep(0.5)


def _refuse_taken(port: int) -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", port))
        except OSError as error:
            raise OSError(
                f"--coordinator: port {port} of this host cannot be used "
                f"({error.strerror}). Choose another one, the same for all hosts."
            ) from error


def is_first() -> bool:
    """Whether this is the one that writes what all have in common."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What one host raises in this block, all raise at its end.

    Raises:
        OtherHost: It was another one.
    """
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    said = gathered(failure and f"{type(failure).__name__}: {failure}")
    if failure:
        raise failure
    for number, message in enumerate(said):
        if message:
            raise OtherHost(f"Host {number}: {message}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What devices say of a host that is gone, in plain words.

    Raises:
        OtherHost: In place of the `jax.errors.JaxRuntimeError` that is about one.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not LOST.search(str(error)):
            raise
        raise OtherHost(
            "Another host has ended, or cannot be reached any more; its own messages "
            "say why. The same command on all hosts goes on from the last checkpoint. "
            f"({str(error).splitlines()[0][:200]})"
        ) from error


def gathered(own: T) -> list[T]:
    """What each host gives, in their order, on all of them."""
    if jax.process_count() == 1:
        return [own]
    packed = np.frombuffer(pickle.dumps(own), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([len(packed)])).ravel()
    padded = np.pad(packed, (0, sizes.max() - len(packed)))
    every = multihost_utils.process_allgather(padded)
    pairs = zip(every, sizes, strict=True)
    return [pickle.loads(one[:size].tobytes()) for one, size in pairs]


class Largest:
    """The largest of numbers, of which each host has one, known one call late.

    So no device waits for it. One host alone knows it at once.
    """

    def __init__(self, mesh: jax.sharding.Mesh):
        self._split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        whole = NamedSharding(mesh, PartitionSpec())
        self._max = jax.jit(lambda x: x.max(), out_shardings=whole)
        self._pending: Any = 0

    def __call__(self, own: int) -> int:
        if jax.process_count() == 1:
            return own
        known = int(self._pending)
        local = np.full(jax.local_device_count(), own, np.int32)
        every = jax.make_array_from_process_local_data(self._split, local)
        self._pending = self._max(every)
        return known
