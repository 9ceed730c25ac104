"""Inference, updates and the demo. Random pixels and masks stand in for data."""

import importlib
import tempfile
import time

import cases
import jax
import numpy as np
from ml_collections import ConfigDict

from stemseg_jax import benchmark, demo, models
from stemseg_jax.data import pipeline
from stemseg_jax.structures import PackedClips


def of_inference(case: cases.Case, size: cases.Size) -> cases.Figures:
    """A video from frames in memory to labels, and the stages of a window."""
    config = config_of(case, size)
    rule = config.evaluation
    shape = (max(size.frames, config.num_frames), rule.min_dim, rule.max_dim, 3)
    video = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    model, timer = benchmark.untrained(config), cases.timer(size)
    track = timer("track", lambda: model.track(video)[0])[0]
    found = cases.figures([track])  # with the peak of this alone
    found["rows"] += benchmark.stages(model, video, timer)
    return found | {"frames": len(video), "size": shape[1:3]}


def of_training(case: cases.Case, size: cases.Size) -> cases.Figures:
    """An update; for one clip also its parts."""
    config = config_of(case, size)
    clips = random_clips(config, case.clips)
    needed = _flops_of_update(config, clips)
    rows = benchmark.updates(config, clips, cases.timer(size))
    found = cases.figures([next(rows)])  # with the peak of an update alone
    found["rows"] += rows if case.clips == 1 else []
    found["GFLOP"] = needed and needed / 1e9
    return found | {"frames": config.num_frames, "size": clips.frames.shape[2:4]}


def of_demo(case: cases.Case, size: cases.Size) -> cases.Figures:
    """All that `make demo` does: it trains, scores and shows, compiling included."""
    config = config_of(case, size)
    with tempfile.TemporaryDirectory() as workdir:
        begin = time.perf_counter()
        demo.run(config, workdir=workdir)
        row = {"stage": "demo", "compile (s)": None}
        return cases.figures([row | {"median (s)": time.perf_counter() - begin}])


def config_of(case: cases.Case, size: cases.Size) -> ConfigDict:
    """From fresh weights, on the one canvas that is as large as the original's."""
    config = importlib.import_module(f"configs.{case.config}").get_config(size.variant)
    changes = {
        "init_from": "",
        "data.aspects": (),
        "model.dtype": case.dtype,
        "model.remat": case.remat,
        "model.conv3d": case.form or "auto",
    }
    return models.changed(config, changes)


def random_clips(config: ConfigDict, clips: int) -> PackedClips:
    """Noise, and boxes of which each has a place of its own."""
    rng, T, N = np.random.default_rng(0), config.num_frames, config.data.max_instances
    (height, width), *_ = pipeline.canvas_sizes(config.data)
    masks = np.zeros((clips, N, T, height, width), bool)
    for b, n in np.ndindex(clips, N):
        top, left = n // 5 * height // 4, n % 5 * width // 5
        y, x = rng.integers(0, (height // 8, width // 10))
        masks[b, n, :, top + y :, left + x :][:, : height // 8, : width // 10] = True
    classes = max(config.model.num_classes, 2)
    return PackedClips(
        frames=rng.integers(0, 256, (clips, T, height, width, 3), np.uint8),
        masks=np.packbits(masks, axis=-1),
        valid=np.ones((clips, N), bool),
        categories=rng.integers(1, classes, (clips, N), np.int32),
        ignore=np.zeros((clips, T, height, width // 8), np.uint8),
        intrinsics=np.full((clips, T, 3, 3), np.nan, np.float32),
    )


def _flops_of_update(config: ConfigDict, clips: PackedClips) -> float | None:
    """Of what is to be computed: without what remat does again."""
    plain = {"model.remat": False, "model.conv3d": "native"}
    system, variables = models.abstract(models.changed(config, plain))
    keys = jax.random.split(jax.random.key(0), len(clips.valid))

    def loss(params, variables, clips):
        return system.loss(variables | {"params": params}, clips.unpacked(), keys)[0]

    gradient = jax.jit(jax.grad(loss))
    return benchmark.flops(gradient, variables["params"], variables, clips)
