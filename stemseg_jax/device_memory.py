"""What to do when a device has no more memory, in place of what XLA says of it."""

import contextlib
import re
from collections.abc import Iterator

import jax

STATUS = "RESOURCE_EXHAUSTED"
MULTIPLE = 32  # sides of what a network sees


class OutOfDeviceMemoryError(MemoryError):
    """Says what was being done, how much was asked for, and what to lower."""


@contextlib.contextmanager
def explained(doing: str, *ways_out: str) -> Iterator[None]:
    """XLA's error says what to do about it.

    Devices work behind the host: it may only come where their results are fetched,
    which has to be inside.

    Args:
        doing: E.g. "labelling clip.mp4, which the network sees as 736 x 1248".
        ways_out: See `to_label` and `to_train`.

    Raises:
        OutOfDeviceMemoryError: In place of the `jax.errors.JaxRuntimeError` that is
            about memory; others stay as they are.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if STATUS not in str(error):
            raise
        raise OutOfDeviceMemoryError(
            f"The device ran out of memory while {doing}{_asked(str(error))}. It takes "
            f"less with, for example, {' or '.join(ways_out)}."
        ) from error


def to_label(*, resized: tuple[int, int], dtype: str) -> tuple[str, ...]:
    """Ways to need less for a video.

    Args:
        resized: Height and width of its frames as the network sees them.
    """
    half = max(max(resized) // 2 // MULTIPLE * MULTIPLE, MULTIPLE)
    return (*_narrower(dtype), f"--config.evaluation.max_dim={half}")


def to_train(*, clips_per_device: int, remat: bool, dtype: str) -> tuple[str, ...]:
    """Ways to need less for a training step; the first two change no result."""
    ways = []
    if clips_per_device > 1:
        ways.append(f"--config.optim.clips_per_device={clips_per_device // 2}")
    if not remat:
        ways.append("--config.model.remat=True")
    ways += _narrower(dtype)
    return (*ways, "smaller clips by --config.data.max_dim and --config.data.min_dim")


def _narrower(dtype: str) -> tuple[str, ...]:
    return () if dtype == "bfloat16" else ("--config.model.dtype=bfloat16",)


def _asked(message: str) -> str:
    """How much was asked for, and how much the device has, as far as that is known."""
    found = re.search(r"allocat\w*\s+([\d.]+)\s*(bytes|[KMGT]iB)", message)
    if not found:
        return ""
    amount = found[1] + found[2]
    if found[2] == "bytes":
        amount = f"{int(found[1]) / 2**30:.2f}GiB"
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    of = f", it has {limit / 2**30:.2f}GiB in all" if limit else ""
    return f" ({amount} more were needed{of})"
