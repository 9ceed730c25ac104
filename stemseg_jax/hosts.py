"""Several hosts, one process each: how they find one another, and what they agree on.

All run the same command, on the same files. Of one process alone all this asks nothing.
"""

import contextlib
import os
import pathlib
import pickle
import re
import socket
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from stemseg_jax.formats import whole

T = TypeVar("T")
PATIENCE = 50  # seconds until a host that does not come is given up,
HEARTBEAT = 20  # and one that was there,
SIGHT = 10  # and until all see a file that one wrote
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
    given = index is not None or bool(address)
    if not count and not given:
        if not _several():
            return
        count = AUTO
    # Its handler takes SIGTERM for itself, and only a training loop would hear of it.
    jax.config.update("jax_enable_preemption_service", False)
    patience = dict(
        heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=HEARTBEAT
    )
    if count == AUTO and not given:
        logging.info("Waiting up to %d s for the others of this cluster", PATIENCE)
        jax.distributed.initialize(initialization_timeout=PATIENCE, **patience)
    else:
        total = int(count) if count.isdecimal() else 0
        host, port = _parts(address)
        if not (index is not None and 0 <= index < total and host and port):
            raise ValueError(
                f"--hosts={count} --host={index} --coordinator={address}: expected how "
                "many there are, which of them this is, counted from 0, and HOST:PORT "
                "of number 0, the same for all; or --hosts=auto alone, in a cluster."
            )
        logging.info(
            "Host %d of %d waits up to %d s for the others at %s",
            *(index, total, PATIENCE, address),
        )
        began = time.monotonic()
        if index:
            _await(address)
        else:
            _refuse_taken(port)
        jax.distributed.initialize(
            *(address, total, index),
            **patience,
            initialization_timeout=PATIENCE - int(time.monotonic() - began) + 1,
            cluster_detection_method="deactivate",  # it would take one GPU in SLURM
        )
    logging.info("Host %d of %d", jax.process_index(), jax.process_count())


def _parts(address: str) -> tuple[str, int]:
    """Host and port; "" and 0 for what is none."""
    host, _, port = address.rpartition(":")
    valid = port.isdecimal() and 0 < int(port) < 2**16
    return host.strip("[]"), int(port) if valid else 0


def _several() -> bool:
    """Whether the environment is that of one process among several."""
    step = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1
    return step or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _await(address: str) -> None:
    """JAX would end the process without a word of ours."""
    place = _parts(address)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(place, timeout=5).close()
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
def lock(
    folder: pathlib.Path, work: str, *, writes: Collection[str] = ()
) -> Iterator[None]:
    """`whole.lock` of a folder that all hosts work in, by the first of them.

    Raises:
        ValueError: See there; or it is not one folder, but another one for each host.
    """
    with contextlib.ExitStack() as held:
        with together():
            if is_first():
                held.enter_context(whole.lock(folder, work, writes=writes))
        if jax.process_count() > 1:
            with together():
                _refuse_unshared(folder / f".{work}.lock")
        yield


def _refuse_unshared(file: pathlib.Path) -> None:
    """All have to read what the first one wrote; a network may take its time."""
    (written, *_) = gathered(file.read_text() if is_first() else "")
    end = time.monotonic() + SIGHT
    while not file.exists() or file.read_text() != written:
        if time.monotonic() > end:
            raise ValueError(
                f"{file.parent} is not the same folder here as on the first host: "
                f"{file.name} of there is not seen. --workdir has to lie on a file "
                "system that all hosts share."
            )
        time.sleep(0.2)


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
