"""What a run says and hears: its log, its progress bar, and the wish to stop."""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tqdm import tqdm

from stemseg_jax.formats import whole

WRITES = ("config.json", "metrics.jsonl")


class Log:
    """metrics.jsonl, TensorBoard and the progress bar of a run.

    Metrics are read one update late, so that the device never waits for the log. Those
    of an update that was not finite, and so was not made, are told and left out.
    """

    def __init__(self, folder: pathlib.Path, config: ConfigDict, start: int):
        self._folder = folder
        self._config = config
        self._start = start
        self._pending: tuple[int, Any, Any] | None = None
        self._sums: dict[str, float] = {}
        self._count = 0
        self._not_finite = 0  # updates since the last line of the log,
        self._in_a_row = 0  # and up to now

    def __enter__(self) -> "Log":
        self._main = jax.process_index() == 0
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
        if self._main:
            whole.claim(self._folder, *WRITES, resumed=self._start > 0)
            self._lines = self._stack.enter_context(self._open_lines())
            self._board = self._stack.enter_context(SummaryWriter(str(self._folder)))
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.check()
        self._stack.close()

    def write_config(self, config: ConfigDict) -> None:
        if self._main:
            text = config.to_json_best_effort(indent=2)
            whole.write_text(self._folder / "config.json", text + "\n")

    @contextlib.contextmanager
    def compilation(self) -> Iterator[None]:
        """Says how long compiling took and keeps it out of the rate."""
        self._bar.set_postfix_str("compiling")
        begin = time.perf_counter()
        yield
        logging.info("Compiled the update in %.1f s", time.perf_counter() - begin)
        self._bar.set_postfix_str("")
        self._bar.unpause()
        self._since = time.perf_counter()

    def step(self, step: int, metrics: Any, *, names: Any, rate: Any) -> None:
        """Takes the metrics of an update that may still be running."""
        self.check()
        self._pending = step, metrics, names
        if step % self._config.log_every == 0:
            self._write(step, float(rate(step - 1)))

    def check(self) -> None:
        """Reads the update before; raises FloatingPointError if it was not finite and
        too many before it were not."""
        if self._pending is None:
            return
        step, metrics, names = self._pending
        self._pending = None
        metrics = {name: float(value) for name, value in metrics.items()}
        self._bar.update()
        if metrics.pop("not_finite"):
            self._skipped(step, metrics, list(names))
            return
        self._in_a_row = 0
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", refresh=False)

    def _skipped(self, step: int, metrics: dict[str, float], names: list) -> None:
        self._not_finite += 1
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
        now = time.perf_counter()
        record = {name: total / self._count for name, total in self._sums.items()}
        record["learning_rate"] = learning_rate
        taken = self._count + self._not_finite
        record["steps_per_second"] = taken / (now - self._since)
        if self._not_finite:
            record["not_finite"] = self._not_finite
        self._sums, self._count, self._not_finite, self._since = {}, 0, 0, now
        if not self._main:
            return
        with whole.named(self._folder / "metrics.jsonl"):
            self._lines.write(json.dumps({"step": step, **record}) + "\n")
            self._lines.flush()
        for name, value in record.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def _open_lines(self) -> Any:
        """metrics.jsonl without what lies beyond the step that the run resumes at."""
        path = self._folder / "metrics.jsonl"
        text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        kept = []
        for number, line in enumerate(text.rpartition("\n")[0].splitlines(), start=1):
            try:
                before = json.loads(line)["step"] <= self._start
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number} is damaged: {line[:80]!r}, expected the "
                    "figures of a step. Take this line out, or move the file away."
                ) from error
            if before:
                kept.append(line)
        return whole.write_text(path, "".join(line + "\n" for line in kept)).open("a")
