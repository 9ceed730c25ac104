"""Real sizes on a GPU: one training step, inference, and the demo's training.

    python experiments/gpu_first_look/run.py [--demo] | tee gpu_first_look.txt

R-101, 16 frames, 736 x 1248, float32 and bfloat16, with and without recomputation;
random pixels and masks stand in for data, so no download is needed. Each case runs in a
process of its own: its peak memory is its own, and one that does not fit ends no other.
"""

import argparse
import json
import subprocess
import sys
import time

CASES = [
    {"model.dtype": dtype, "model.remat": remat}
    for dtype in ("float32", "bfloat16")
    for remat in (False, True)
]
SIZE = (736, 1248)
INSTANCES = 8
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=json.loads)
    parser.add_argument("--demo", action="store_true")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return measure(arguments.case)
    for case in CASES:
        command = [sys.executable, __file__, f"--case={json.dumps(case)}"]
        subprocess.run(command, check=False)
    if arguments.demo:
        command = [sys.executable, "-m", "stemseg_jax.main", "--mode=demo"]
        command += ["--config=configs/moving_shapes.py", "--workdir=runs/demo_gpu"]
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        print(f"demo: {time.perf_counter() - begin:.0f} s")


def measure(case: dict) -> None:
    import jax
    import numpy as np

    from configs import davis_stage2
    from stemseg_jax import models, optimization
    from stemseg_jax.structures import ClipBatch

    config = davis_stage2.get_config().unlock()
    config.init_from = ""
    config.model.freeze_backbone = False
    config.update_from_flattened_dict(case)
    T, (H, W), N = config.num_frames, SIZE, INSTANCES
    rng = np.random.default_rng(0)
    boxes = np.zeros((1, N, T, H, W), bool)
    for n in range(N):
        boxes[:, n, :, 80 * n : 80 * n + 120, 100 * n : 100 * n + 200] = True
    batch = ClipBatch(
        frames=rng.integers(0, 256, (1, T, H, W, 3), np.uint8),
        masks=boxes & ~(np.cumsum(boxes, axis=1) > 1),
        valid=np.ones((1, N), bool),
        categories=np.ones((1, N), np.int32),
        ignore=np.zeros((1, T, H, W), bool),
        intrinsics=np.full((1, T, 3, 3), np.nan, np.float32),
    )
    _, system, variables = models.initial(config)
    params = variables["params"]
    rest = {name: value for name, value in variables.items() if name != "params"}
    tx = optimization.optimizer(config.optim, params, frozen=system.frozen_modules())
    state = tx.init(params)
    keys = jax.random.split(jax.random.key(0), 1)

    def update(params, state, batch):
        def loss(params):
            return system.loss({"params": params, **rest}, batch, keys)[0]

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params)
        return jax.tree.map(lambda p, u: p + u, params, updates), state, value

    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, **case}
    begin = time.perf_counter()
    step = jax.jit(update, donate_argnums=(0, 1)).lower(params, state, batch).compile()
    result["compile_s"] = time.perf_counter() - begin
    result["step_s"] = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        params, state, value = step(params, state, batch)
        result["loss"] = float(value)
        result["step_s"].append(time.perf_counter() - begin)
    result["peak_train_GiB"] = _peak(jax)

    model = models.Model(config, system, {"params": params, **rest})
    frames = [batch.frames[0, t % T] for t in range(56)]
    for run in ("first", "second"):
        begin = time.perf_counter()
        model.track(frames)
        seconds = time.perf_counter() - begin
        result[f"track_{run}_frames_per_s"] = len(frames) / seconds
    result["peak_GiB"] = _peak(jax)
    print(json.dumps(result), flush=True)


def _peak(jax) -> float:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30


if __name__ == "__main__":
    main()
