"""What a run says and hears: its log, its progress bar, and the wish to stop."""

import collections
import contextlib
import json
import math
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tqdm import tqdm

from stemseg_jax import hosts
from stemseg_jax.formats import metrics_jsonl, whole

WRITES = ("config.json", "metrics.jsonl")
PEAK = "peak_bytes_in_use"  # of a device, where it tells
WAITED = "seconds_waited"  # for the clips of an update
NOT_FINITE = "not_finite"  # updates, the same ones on all hosts
VALIDATION = "validation"  # before the names of its figures


class Log:
    """metrics.jsonl, TensorBoard and the progress bar of a run.

    Metrics are read one update late, so that the device never waits for the log. Those
    of an update that was not finite, and so was not made, are told and left out. What
    is told of clips (the loss of each dataset, what was left out) is of those of all
    hosts, and the time waited for them that of the slowest.
    """

    def __init__(self, folder: pathlib.Path, config: ConfigDict, start: int):
        self._folder = folder
        self._config = config
        self._start = start
        self._pending: tuple[int, Any, Any] | None = None
        self._in_a_row = 0  # updates up to now that were not finite
        self._compiled = False
        self._begin_line()

    def _begin_line(self) -> None:
        """What is gathered for a line of the log, from the line before on."""
        self._values = collections.defaultdict(list)  # each is told by its mean,
        self._counts = collections.Counter()  # if there are any, each by its sum
        self._updates = 0
        self._since = time.perf_counter()

    def __enter__(self) -> "Log":
        self._main = hosts.is_first()
        self._stack = contextlib.ExitStack()
        self._bar = self._stack.enter_context(
            tqdm(
                total=self._config.optim.steps,
                initial=self._start,
                unit="step",
                desc="train",
                disable=not self._main,
                mininterval=1.0,
            )
        )
        with hosts.together():
            if self._main:
                whole.claim(self._folder, *WRITES, resumed=self._start > 0)
                self._lines = self._stack.enter_context(self._open_lines())
                board = SummaryWriter(str(self._folder))
                self._board = self._stack.enter_context(board)
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.check()
        self._stack.close()

    def write_config(self, config: ConfigDict) -> None:
        text = config.to_json_best_effort(indent=2)
        with hosts.together():
            if self._main:
                whole.write_text(self._folder / "config.json", text + "\n")

    @contextlib.contextmanager
    def compilation(self, size: Sequence[int]) -> Iterator[None]:
        """Says how long compiling took and keeps it out of the rate.

        Args:
            size: Height and width of the clips for which the update is compiled.
        """
        self.check()  # what runs meanwhile is no part of it
        self._bar.set_postfix_str("compiling")
        begin = time.perf_counter()
        yield
        took = time.perf_counter() - begin
        logging.info("Compiled the update for %d x %d in %.1f s", *size, took)
        self._bar.set_postfix_str("")
        if not self._compiled:  # nor is the wait for the first clips
            self._compiled = True
            self._bar.unpause()
            self._begin_line()
        else:
            self._since += took

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for clips."""
        begin = time.perf_counter()
        yield
        self._values[WAITED].append(time.perf_counter() - begin)

    def step(
        self, step: int, metrics: Any, batch: Mapping[str, Any], *, rate: Any
    ) -> None:
        """Takes the metrics of an update that may still be running."""
        self.check()
        self._pending = step, metrics, list(batch["names"])
        self._counts["dropped_instances"] += batch["dropped"]
        self._counts["left_out_samples"] += len(batch["skipped"])
        if step % self._config.log_every == 0:
            self._write(step, float(rate(step - 1)))

    def validated(self, step: int, figures: Mapping[str, float], picture: Any) -> None:
        """Takes what was found since `check`, and leaves that time out of the rate."""
        self._since += time.perf_counter() - self._checked
        if not self._main:
            return
        # What no video can show, such as a class that is in none, is NaN.
        record = {
            f"{VALIDATION}/{name}": float(value)
            for name, value in figures.items()
            if math.isfinite(value)
        }
        self._append(step, record)
        self._board.add_image(VALIDATION, picture, step, dataformats="HWC")

    def check(self) -> None:
        """Reads the update before; raises FloatingPointError if it was not finite and
        too many before it were not."""
        if self._pending is None:
            return
        step, metrics, names = self._pending
        self._pending = None
        each = metrics.pop("clips")
        metrics = {name: float(value) for name, value in metrics.items()}
        self._bar.update()
        self._checked = time.perf_counter()  # by now the device has ended the update
        self._updates += 1
        if metrics.pop("not_finite"):
            self._skipped(step, metrics, names)
            return
        self._in_a_row = 0
        for name, value in (metrics | _by_dataset(each, names)).items():
            self._values[name].append(value)
        self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", refresh=False)

    def _skipped(self, step: int, metrics: dict[str, float], names: list) -> None:
        self._counts[NOT_FINITE] += 1
        self._in_a_row += 1
        wrong = {k: v for k, v in metrics.items() if not math.isfinite(v)}
        said = f"step {step}: {wrong or 'the update is not finite'} on clips {names}"
        most = self._config.optim.max_skipped
        if self._in_a_row <= most:
            logging.warning("%s; it is skipped, the weights stay.", said)
            return
        before = f"So were the {most} updates before it. " if most else ""
        raise FloatingPointError(
            f"{said}; all terms: {metrics}. {before}(optim.max_skipped={most}) The "
            "last checkpoint is from before this step. Look at these clips "
            "(--mode=show_data), or try a smaller optim.learning_rate or "
            "optim.clip_norm=1.0. What needs a camera is NaN where none is known: "
            "data.assumed_camera stands for it."
        )

    def _write(self, step: int, learning_rate: float) -> None:
        self.check()
        record = self._of_all_hosts()
        record["learning_rate"] = learning_rate
        rate = self._updates / (time.perf_counter() - self._since)
        record["steps_per_second"] = rate
        record["clips_per_second"] = rate * self._config.optim.batch_size
        if peak := (jax.local_devices()[0].memory_stats() or {}).get(PEAK):
            record["device_gigabytes"] = peak / 1e9
        self._begin_line()
        if not self._main:
            return
        self._append(step, record)

    def _of_all_hosts(self) -> dict[str, int | float]:
        """What was gathered for this line: means of values, and sums of counts."""
        own = {name: float(np.mean(each)) for name, each in self._values.items()}
        every = hosts.gathered((own, self._counts))
        record = {}
        for name in dict.fromkeys(name for values, _ in every for name in values):
            told = [values[name] for values, _ in every if name in values]
            record[name] = max(told) if name == WAITED else float(np.mean(told))
        for name in dict.fromkeys(name for _, counts in every for name in counts):
            told = [counts[name] for _, counts in every]
            record[name] = max(told) if name == NOT_FINITE else sum(told)
        return {name: value for name, value in record.items() if value or name in own}

    def _append(self, step: int, record: Mapping[str, int | float]) -> None:
        with whole.named(self._folder / "metrics.jsonl"):
            self._lines.write(json.dumps({"step": step, **record}) + "\n")
            self._lines.flush()
        for name, value in record.items():
            place = name if name.startswith(VALIDATION) else f"train/{name}"
            self._board.add_scalar(place, value, step)

    def _open_lines(self) -> Any:
        """metrics.jsonl without what lies beyond the step that the run resumes at."""
        path = self._folder / "metrics.jsonl"
        lines = metrics_jsonl.read(path)
        kept = [f"{line}\n" for line, own in lines if own["step"] <= self._start]
        return whole.write_text(path, "".join(kept)).open("a")


def _by_dataset(each: Any, names: Sequence[str]) -> dict[str, float]:
    """The mean loss of each dataset's clips in this update.

    Args:
        each: [passes, clips of all hosts], or None.
        names: "dataset/video:frames" of this host's, pass by pass.
    """
    if each is None:
        return {}
    each = np.asarray(each)
    share = len(names) // len(each)
    first = share * jax.process_index()
    own = each[:, first : first + share].ravel()
    losses = collections.defaultdict(list)
    for name, loss in zip(names, own, strict=True):
        losses[name.partition("/")[0]].append(loss)
    return {f"loss/{name}": float(np.mean(found)) for name, found in losses.items()}
