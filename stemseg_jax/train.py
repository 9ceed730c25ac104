"""Training, read from top to bottom."""

import contextlib
import json
import math
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tqdm import tqdm

from stemseg_jax import checkpoints, models, optimization, parallel
from stemseg_jax.data import pipeline
from stemseg_jax.formats import whole
from stemseg_jax.structures import ClipBatch


class TrainState(NamedTuple):
    """All that a resumed run needs."""

    step: jax.Array  # updates done
    params: Any
    constants: Any  # the network's other collections, which are not trained
    average: Any  # exponential average of the parameters, or {}
    optimizer: optax.OptState


def run(config: ConfigDict, workdir: str) -> None:
    """Trains until `optim.steps`, going on where `workdir` stopped.

    SIGTERM and Ctrl-C end the current update, save and stop.

    Raises:
        FloatingPointError: If a loss is not finite, naming step, terms and clips.
        ValueError: If the checkpoint in `workdir` belongs to another model.
    """
    optim = config.optim
    folder = pathlib.Path(workdir)

    # ------------------------------------------------------------------- devices
    devices, passes = parallel.split(
        optim.batch_size, clips_per_device=optim.clips_per_device
    )
    where = parallel.shardings(devices)
    logging.info(
        "%d clips per update on %d %s device(s) in %d forward pass(es)",
        *(optim.batch_size, len(devices), devices[0].platform, passes),
    )

    # --------------------------------------------------------------------- state
    saved = checkpoints.Checkpoints(
        folder / "checkpoints", keep=config.keep_checkpoints
    )
    start = saved.latest() or 0
    if start:
        config = models.with_saved_conventions(config, saved.config())
        system, variables = models.abstract(config)
    else:
        config, system, variables = models.initial(config)
    tx = optimization.optimizer(
        optim, variables["params"], frozen=system.frozen_modules()
    )

    def new_state(variables) -> TrainState:
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            constants={k: v for k, v in variables.items() if k != "params"},
            average=params if optim.average_decay else {},
            optimizer=tx.init(params),
        )

    if start:
        state = saved.restore(
            parallel.placed(jax.eval_shape(new_state, variables), where.replicated)
        )
        logging.info("Resumed at step %d of %s", start, saved.folder)
    else:
        state = jax.jit(new_state, out_shardings=where.replicated)(variables)
    logging.info("%.2f M parameters", models.size(state.params) / 1e6)
    del variables

    # -------------------------------------------------------------------- update
    def update(state: TrainState, batch: ClipBatch) -> tuple[TrainState, dict]:
        """One optimiser step on a batch [passes, clips, ...]."""

        def one_pass(clips, key):
            def loss(params):
                return system.loss({"params": params, **state.constants}, clips, key)

            (value, report), gradient = jax.value_and_grad(loss, has_aux=True)(
                state.params
            )
            return gradient, {"loss": value, **report.terms}

        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradient, metrics = mean_over_passes(
            one_pass, batch, jax.random.split(key, passes)
        )
        updates, opt_state = tx.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average = moving_average(
            state.average, params, state.step, decay=optim.average_decay
        )
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        return (
            TrainState(state.step + 1, params, state.constants, average, opt_state),
            metrics,
        )

    # ---------------------------------------------------------------------- loop
    batches = pipeline.training_batches(
        config,
        batch_size=optim.batch_size,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    rate = optimization.schedule(optim)
    with saved, Log(folder, config, start) as log, Interruption() as interruption:
        log.write_config(config)
        step_fn = None
        for step in range(start, optim.steps):
            batch = next(batches)
            clips = parallel.to_global(models.clips(batch), where, passes=passes)
            if step_fn is None:
                with log.compilation():
                    step_fn = parallel.jit_step(update, where).lower(state, clips)
                    step_fn = step_fn.compile()
            state, metrics = step_fn(state, clips)
            log.step(step + 1, metrics, names=batch["names"], rate=rate)
            done = step + 1 == optim.steps or interruption.requested
            if done or (step + 1) % config.checkpoint_every == 0:
                log.check()
                saved.save(step + 1, state, config)
            if interruption.requested:
                raise SystemExit(interruption.exit_code)


def mean_over_passes(one_pass, batch: ClipBatch, keys: jax.Array) -> Any:
    """`one_pass(clips, key)` averaged over the leading axis of `batch` and `keys`."""
    if keys.shape[0] == 1:  # no loop: XLA does not see through one of length 1
        return one_pass(jax.tree.map(lambda x: x[0], batch), keys[0])

    def add(total, clips_and_key):
        return jax.tree.map(jnp.add, total, one_pass(*clips_and_key)), None

    shapes = jax.eval_shape(one_pass, jax.tree.map(lambda x: x[0], batch), keys[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, (batch, keys))
    return jax.tree.map(lambda x: x / keys.shape[0], total)


def moving_average(average: Any, params: Any, step: jax.Array, *, decay: float) -> Any:
    """Exponential moving average; young averages forget faster, as (1 + t)/(10 + t)."""
    if not decay:
        return {}
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)


class Interruption:
    """Turns SIGTERM and the first Ctrl-C into a wish to stop after this update."""

    requested = False
    exit_code = 0

    def __enter__(self) -> "Interruption":
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number, _) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self.exit_code = 128 + number
        logging.info("Stopping after this update; the run can be resumed.")


class Log:
    """metrics.jsonl, TensorBoard and the progress bar of a run.

    Metrics are read one update late, so that the device never waits for the log; each
    is checked to be finite.
    """

    def __init__(self, folder: pathlib.Path, config: ConfigDict, start: int):
        self._folder = folder
        self._config = config
        self._start = start
        self._pending: tuple[int, Any, Any] | None = None
        self._sums: dict[str, float] = {}
        self._count = 0

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
            self._folder.mkdir(parents=True, exist_ok=True)
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
        """Reads the update before; raises FloatingPointError if it went wrong."""
        if self._pending is None:
            return
        step, metrics, names = self._pending
        self._pending = None
        metrics = {name: float(value) for name, value in metrics.items()}
        wrong = {k: v for k, v in metrics.items() if not math.isfinite(v)}
        if wrong:
            raise FloatingPointError(
                f"step {step}: {wrong} on clips {list(names)}; all terms: {metrics}. "
                "The last checkpoint is from before this step. Look at these clips "
                "(--mode=show_data), or try a smaller optim.learning_rate or "
                "optim.clip_norm=1.0."
            )
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._bar.update()
        self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", refresh=False)

    def _write(self, step: int, learning_rate: float) -> None:
        self.check()
        now = time.perf_counter()
        record = {name: total / self._count for name, total in self._sums.items()}
        record["learning_rate"] = learning_rate
        record["steps_per_second"] = self._count / (now - self._since)
        self._sums, self._count, self._since = {}, 0, now
        if not self._main:
            return
        self._lines.write(json.dumps({"step": step, **record}) + "\n")
        self._lines.flush()
        for name, value in record.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def _open_lines(self) -> Any:
        """metrics.jsonl without what lies beyond the step that the run resumes at."""
        path = self._folder / "metrics.jsonl"
        text = path.read_text().rpartition("\n")[0] if path.exists() else ""
        kept = [
            line
            for line in text.splitlines()
            if json.loads(line)["step"] <= self._start
        ]
        return whole.write_text(path, "".join(line + "\n" for line in kept)).open("a")
