"""Each stage of a config timed on its own: `--mode=benchmark --config=...`."""

import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from stemseg_jax import models
from stemseg_jax.data import pipeline
from stemseg_jax.outputs import collector, report

REPEATS = 5
VIDEO_FRAMES = 40


def run(config: ConfigDict) -> None:
    """Prints a table: stage, time of the first call, median of the others.

    Training runs on the config's own clips; tracking and mask restoration on frames of
    noise, so that no dataset has to be evaluated. `config.benchmark.changes` gives an
    untrained network something to track.
    """
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), {config.model.dtype}")
    batches = pipeline.training_batches(
        config, batch_size=config.optim.clips_per_device
    )
    rows = [_row("read a batch", lambda: next(batches))]
    batch = models.clips(next(batches))
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update(config.benchmark.changes)
    model = models.initial(config)
    config, system, variables = model
    keys = jax.random.split(jax.random.key(0), len(batch.valid))

    @jax.jit
    def forward(variables, batch):
        return system.loss(variables, batch.unpacked(), keys)[0]

    @jax.jit
    def gradient(variables, batch):
        def loss(params):
            return forward({**variables, "params": params}, batch)

        return jax.grad(loss)(variables["params"])

    rows.append(_row("loss", lambda: forward(variables, batch)))
    rows.append(_row("loss and gradient", lambda: gradient(variables, batch)))

    size = batch.frames.shape[2:4]
    frames = np.random.default_rng(0).integers(
        0, 256, (config.num_frames, *size, 3), np.uint8
    )

    video = [frames[index % len(frames)] for index in range(VIDEO_FRAMES)]
    tracked = []
    rows.append(
        _row(
            f"track {VIDEO_FRAMES} frames",
            lambda: tracked.append(model.track(video)),
        )
    )
    labels, statistics = tracked[-1]
    chosen = collector.select(statistics, **config.selection)
    rows.append(
        _row(f"restore {len(chosen)} tracks", lambda: labels.tracks("noise", chosen))
    )
    print(report.table(rows))
    memory = device.memory_stats() or {}
    if "peak_bytes_in_use" in memory:
        print(f"peak device memory {memory['peak_bytes_in_use'] / 2**30:.2f} GiB")


def _row(stage: str, work: Callable) -> dict[str, str | float]:
    seconds = []
    for _ in range(1 + REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - begin)
    return {
        "stage": stage,
        "first (s)": seconds[0],
        "then (s)": float(np.median(seconds[1:])),
    }
