"""What some updates of a run spend their time on, as a trace for TensorBoard."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging

from stemseg_jax import hosts

FOLDER = "profile"  # in that of the run


class Trace:
    """Records the updates from `first` to `last`, both counted from 1, of one host.

    It lies in `folder/profile`, a new part of it each time. A run that is resumed
    between them records the rest. An update that compiles is better left out: the
    first, and the first of each canvas.

    Args:
        steps: First and last, or none.
    """

    def __init__(self, folder: pathlib.Path, steps: Sequence[int]):
        self._folder = folder / FOLDER
        self._first, self._last = steps or (0, 0)
        self._running = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Where the update of that number is about to begin."""
        due = self._first <= step <= self._last and not self._running
        if due and hosts.is_first():
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, metrics: Any) -> None:
        """Where that update is under way, and gives `metrics`."""
        if self._running and step >= self._last:
            jax.block_until_ready(metrics)
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            logging.info(
                "Profile in %s: tensorboard --logdir=%s (pip install xprof)",
                *(self._folder, self._folder.parent),
            )
