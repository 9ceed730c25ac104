"""Each stage of a config timed on its own: `--mode=benchmark --config=...`."""

import functools
import json
import pathlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import UInt8
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import models, optimization, parallel, train
from stemseg_jax.data import pipeline
from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import collector, davis_results, report
from stemseg_jax.structures import PackedClips
from stemseg_jax.tracks import Stage

REPEATS = 5
VIDEO_FRAMES = 40
SIDE = 2048  # of the matrices whose product is the peak

Row = dict[str, str | float | None]
Image = UInt8[np.ndarray, "H W 3"]


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
    # A GPU does a product of that side in less time than a call takes.
    side = SIDE if device.platform == "cpu" else 4 * SIDE
    peak = matrix_peak(config.model.dtype, side=side)
    timer = Timer(peak, repeats=REPEATS)
    rows = [*_training(config, timer), *_tracking(config, timer)]
    memory = peak_memory()
    print(
        f"{device.device_kind} ({device.platform}), jax {jax.__version__}, "
        f"{config.model.dtype}; a product of matrices: {peak:.0f} GFLOP/s"
    )
    print(report.table(rows))
    for place, most in memory.items():
        print(f"peak memory, {place}: {'not told' if most is None else f'{most:.0f}'}")
    if json_file:
        found = {
            "device": device.device_kind,
            "jax": jax.__version__,
            "dtype": config.model.dtype,
            "GFLOP/s of a product": peak,
            "peak memory": memory,
            "stages": rows,
        }
        whole.write_text(json_file, json.dumps(found, indent=1) + "\n")


class Timer(NamedTuple):
    peak: float | None  # GFLOP/s, if there is to be a share of it
    repeats: int

    def __call__(
        self, name: str, work: Callable[[], Any], *, flops: float | None = None
    ) -> tuple[Row, Any]:
        """The row of a stage, and what it gives."""
        seconds = []
        for _ in tqdm(range(1 + self.repeats), desc=name, leave=False):
            begin = time.perf_counter()
            given = jax.block_until_ready(work())
            seconds.append(time.perf_counter() - begin)
        median = statistics.median(seconds[1:])
        share = flops and self.peak and flops / median / 1e9 / self.peak
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


def updates(config: ConfigDict, clips: PackedClips, timer: Timer) -> Iterator[Row]:
    """An update of fresh weights in all, first, and then its parts.

    Args:
        clips: Of the host, [B ...]; all in one forward pass.
    """
    where = parallel.shardings(jax.devices()[:1])
    batch = parallel.to_global(clips, where, passes=1)
    config, system, variables = models.initial(config)
    tx = optimization.optimizer(
        config.optim, variables["params"], frozen=system.frozen_modules()
    )
    new_state = functools.partial(
        train.first_state, tx=tx, decay=config.optim.average_decay
    )
    # Copies, each of which can be given up.
    state = jax.jit(new_state, out_shardings=where.replicated)(variables)
    del variables
    update = parallel.jit_step(train.update_of(config, system, tx), where)

    def next_update():
        nonlocal state
        state, metrics = update(state, batch)  # the old one is given up
        return metrics

    yield timer("an update in all", next_update)[0]
    keys = jax.random.split(jax.random.key(0), len(clips.valid))

    def loss(params, collections, batch):
        first = jax.tree.map(lambda x: x[0], batch).unpacked()
        return system.loss({"params": params, **collections}, first, keys)[0]

    given = (state.params, state.collections, batch)
    forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
    of_forward = flops(forward, *given)
    of_both = flops(gradient, *given)
    yield timer("forward, loss", lambda: forward(*given), flops=of_forward)[0]
    row, slopes = timer(
        "forward, loss, backward", lambda: gradient(*given), flops=of_both
    )
    yield row
    optimise = jax.jit(tx.update)
    given = (slopes, state.optimizer, state.params)
    yield timer("optimiser", lambda: optimise(*given))[0]


def untrained(config: ConfigDict) -> models.Model:
    """Fresh weights, changed so that they find something to track."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update(config.benchmark.changes)
    return models.initial(config)


def stages(model: models.Model, video: Sequence[Image], timer: Timer) -> Iterator[Row]:
    """Those of `systems.base.System.stages`."""
    given = None
    parts = model.system.stages(model.variables, np.stack(video))
    while True:
        try:
            stage = parts.send(given)
        except StopIteration:
            return
        row, given = timer(
            f"{stage.name} ({stage.frames} frames)",
            functools.partial(stage.function, *stage.arguments),
            flops=_of_stage(stage),
        )
        yield row


def _training(config: ConfigDict, timer: Timer) -> Iterator[Row]:
    clips = config.optim.clips_per_device
    batches = pipeline.training_batches(config, batch_size=clips)
    row, batch = timer("read a batch", lambda: next(batches))
    yield row
    yield from updates(config, models.clips(batch), timer)


def _tracking(config: ConfigDict, timer: Timer) -> Iterator[Row]:
    """From files of frames to files of masks."""
    clip = next(pipeline.training_batches(config, batch_size=1))["frames"][0]
    video = [np.asarray(clip[index % len(clip)]) for index in range(VIDEO_FRAMES)]
    model = untrained(config)
    yield _decoding(video, timer)
    yield from stages(model, video, timer)
    row, (labels, found) = timer(
        f"track {VIDEO_FRAMES} frames", lambda: model.track(video)
    )
    yield row
    chosen = collector.select(found, **model.config.selection)
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
    if not stage.counted:
        return None
    if stage.one_frame is None:
        return flops(jax.jit(stage.function), *stage.arguments)
    function, arguments = stage.one_frame
    of_one = flops(jax.jit(function), *arguments)
    return of_one and of_one * stage.frames


def flops(function: Callable, *arguments: Any) -> float | None:
    """Of a jitted function, by XLA's count, which has loops once, however long; none
    where JAX_PLATFORMS leaves out the CPU.

    Args:
        arguments: Or their shapes.
    """
    try:  # the plugins that GPUs and TPUs come with do not count
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
    shapes = jax.eval_shape(lambda *arguments: arguments, *arguments)
    with jax.default_device(host):
        # In the forms that GPUs take: those of CPUs are loops in part.
        lowered = function.trace(*shapes).lower(lowering_platforms=("cuda",))
        cost = lowered.cost_analysis()
    return float(cost["flops"]) if cost and "flops" in cost else None


def matrix_peak(dtype: DTypeLike, *, side: int) -> float:
    """GFLOP/s of a product of two square matrices."""
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(product(matrix))
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / min(seconds) / 1e9


def peak_memory() -> dict[str, float | None]:
    """The most that was in use: MB of the device, where it tells, and of the host."""
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    on_host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"device (MB)": on_device and on_device / 2**20, "host (MB)": on_host}
