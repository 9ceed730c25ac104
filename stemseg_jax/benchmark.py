"""Each stage of a config timed on its own: `--mode=benchmark --config=...`."""

import contextlib
import functools
import json
import pathlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import models, optimization, parallel, train
from stemseg_jax.data import pipeline
from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import collector, davis_results, report
from stemseg_jax.tracks import Stage

REPEATS = 5
VIDEO_FRAMES = 40
SIDE = 2048  # of the matrices whose product is the peak

Row = dict[str, str | float | None]


def run(config: ConfigDict, *, json_file: str | None = None) -> None:
    """Prints a table of stages: compile time, median, spread, FLOPs, share of the peak.

    Training runs on the config's own clips; the stages of tracking, see
    `systems.base.System.stages`, on frames of these, so that no dataset has to be
    evaluated. `config.benchmark.changes` gives an untrained network something to track.
    What the first call takes beyond the others is called compile time. FLOPs are XLA's
    count before it optimises, and none where it has none; the peak is that of one
    product of matrices, measured here in the model's precision.
    """
    device = jax.devices()[0]
    timer = Timer(_peak(jnp.dtype(config.model.dtype)))
    rows = [*_training(config, timer), *_tracking(config, timer)]
    memory = _memory(device)
    print(
        f"{device.device_kind} ({device.platform}), jax {jax.__version__}, "
        f"{config.model.dtype}; a product of matrices: {timer.peak:.0f} GFLOP/s"
    )
    print(report.table(rows))
    for place, most in memory.items():
        print(f"peak memory, {place}: {'not told' if most is None else f'{most:.0f}'}")
    if json_file:
        found = {
            "device": device.device_kind,
            "jax": jax.__version__,
            "dtype": config.model.dtype,
            "GFLOP/s of a product": timer.peak,
            "peak memory": memory,
            "stages": rows,
        }
        whole.write_text(json_file, json.dumps(found, indent=1) + "\n")


class Timer(NamedTuple):
    peak: float  # GFLOP/s

    def __call__(
        self, name: str, work: Callable[[], Any], *, flops: float | None = None
    ) -> tuple[Row, Any]:
        """The row of a stage, and what it gives."""
        seconds = []
        for _ in tqdm(range(1 + REPEATS), desc=name, leave=False):
            begin = time.perf_counter()
            given = jax.block_until_ready(work())
            seconds.append(time.perf_counter() - begin)
        median = statistics.median(seconds[1:])
        share = flops and flops / median / 1e9 / self.peak
        row = {
            "stage": name,
            "compile (s)": max(seconds[0] - median, 0.0),
            "median (s)": median,
            "from": min(seconds[1:]),
            "to": max(seconds[1:]),
            "GFLOP": flops and flops / 1e9,
            "of the peak": share,
        }
        return row, given


def _training(config: ConfigDict, timer: Timer) -> Iterator[Row]:
    """Of one forward pass and its share of an update."""
    clips = config.optim.clips_per_device
    batches = pipeline.training_batches(config, batch_size=clips)
    yield timer("read a batch", lambda: next(batches))[0]
    where = parallel.shardings(jax.devices()[:1])
    batch = parallel.to_global(models.clips(next(batches)), where, passes=1)
    config, system, variables = models.initial(config)
    tx = optimization.optimizer(
        config.optim, variables["params"], frozen=system.frozen_modules()
    )
    state = train.first_state(variables, tx, decay=config.optim.average_decay)
    keys = jax.random.split(jax.random.key(0), clips)

    def loss(params):
        first = jax.tree.map(lambda x: x[0], batch).unpacked()
        return system.loss({**variables, "params": params}, first, keys)[0]

    def optimise(gradient, state):
        return tx.update(gradient, state.optimizer, state.params)

    forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
    optimise = jax.jit(optimise)
    row, _ = timer(
        "forward, loss",
        lambda: forward(state.params),
        flops=_flops(forward, state.params),
    )
    yield row
    # There gradients of kernels are loops (ops/convolution.py), of which XLA counts one.
    on_cpu = jax.default_backend() == "cpu"
    both, slopes = timer(
        "forward, loss, backward",
        lambda: gradient(state.params),
        flops=None if on_cpu else _flops(gradient, state.params),
    )
    yield both
    yield timer("optimiser", lambda: optimise(slopes, state))[0]
    update = jax.jit(train.update_of(config, system, tx))
    yield timer("an update in all", lambda: update(state, batch))[0]


def _tracking(config: ConfigDict, timer: Timer) -> Iterator[Row]:
    """From files of frames to files of masks."""
    clip = next(pipeline.training_batches(config, batch_size=1))["frames"][0]
    video = [np.asarray(clip[index % len(clip)]) for index in range(VIDEO_FRAMES)]
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update(config.benchmark.changes)
    model = models.initial(config)
    yield _decoding(video, timer)
    given = None
    stages = model.system.stages(model.variables, np.stack(video))
    with contextlib.suppress(StopIteration):
        while True:
            stage = stages.send(given)
            row, given = timer(
                f"{stage.name} ({stage.frames} frames)",
                functools.partial(stage.function, *stage.arguments),
                flops=_of_stage(stage),
            )
            yield row
    row, (labels, found) = timer(
        f"track {VIDEO_FRAMES} frames", lambda: model.track(video)
    )
    yield row
    chosen = collector.select(found, **config.selection)
    row, tracks = timer(
        f"restore {len(chosen)} tracks", lambda: labels.tracks("video", chosen)
    )
    yield row
    with tempfile.TemporaryDirectory() as scratch:

        def write():
            folder = tempfile.mkdtemp(dir=scratch)  # a new one each time
            return davis_results.write(pathlib.Path(folder), tracks)

        yield timer(f"write {VIDEO_FRAMES} PNGs", write)[0]


def _decoding(video: list[np.ndarray], timer: Timer) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        files = [
            pathlib.Path(scratch) / f"{index:05d}.jpg" for index in range(len(video))
        ]
        for file, frame in zip(files, video, strict=True):
            cv2.imwrite(str(file), np.ascontiguousarray(frame[..., ::-1]))
        name = f"decode {VIDEO_FRAMES} JPEGs"
        return timer(name, lambda: [images.read_rgb(file) for file in files])[0]


def _of_stage(stage: Stage) -> float | None:
    if stage.one_frame is None:
        return _flops(jax.jit(stage.function), *stage.arguments)
    function, arguments = stage.one_frame
    flops = _flops(jax.jit(function), *arguments)
    return flops and flops * stage.frames


def _flops(function: Callable, *arguments: Any) -> float | None:
    """By XLA's count, which has loops once, whatever their length."""
    cost = function.lower(*arguments).cost_analysis()
    return float(cost["flops"]) if cost and "flops" in cost else None


def _peak(dtype: jnp.dtype) -> float:
    """GFLOP/s of a product of two matrices."""
    matrix = jnp.ones((SIDE, SIDE), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(product(matrix))
        seconds.append(time.perf_counter() - begin)
    return 2 * SIDE**3 / min(seconds) / 1e9


def _memory(device: jax.Device) -> dict[str, float | None]:
    """The most that was in use: MB of the device, where it tells, and of the host."""
    on_device = (device.memory_stats() or {}).get("peak_bytes_in_use")
    on_host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"device (MB)": on_device and on_device / 2**20, "host (MB)": on_host}
