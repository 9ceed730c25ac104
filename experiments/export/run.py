"""Exported steps beside the model's own programs. See README.md."""

import argparse
import functools
import pathlib
import time

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from stemseg_jax import models
from stemseg_jax.ops import pixels
from stemseg_jax.outputs import report
from stemseg_jax.systems import volumes

SIZE = (288, 512)


def main(folder: str, checkpoint: str) -> None:
    """One window of noise; of a model of windows."""
    config, system, variables = models.load(models.saved_config(checkpoint), checkpoint)
    network = system.network
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (config.num_frames, *SIZE, 3), np.uint8)
    weights = jax.device_put(load_file(pathlib.Path(folder, "weights.safetensors")))
    images = pixels.prepare(jnp.asarray(clip), SIZE, network.encoder.convention)
    own = functools.partial(volumes._encode, network, variables, images, shared=False)
    row, features = timed(f"{folder}/encode", own, weights, {"frames": clip})
    own = functools.partial(volumes._decode, network, variables, own(), shared=False)
    window = {name: x[None] for name, x in features.items()}
    other, maps = timed(f"{folder}/decode", own, weights, window)
    print(report.table([row, other]))
    expected = own()
    differences = (jnp.abs(maps[k][0] - getattr(expected, k)).max() for k in maps)
    print(f"largest difference of a map: {max(differences):.1e}")


def timed(step: str, own, *given, rounds: int = 9):
    """A row of the table, and what the step gives. Programs take turns."""
    begin = time.perf_counter()
    program = jax.export.deserialize(pathlib.Path(f"{step}.stablehlo").read_bytes())
    lowered = jax.jit(program.call).lower(*given)
    loaded = time.perf_counter()
    exported = lowered.compile()
    row = {
        "step": step,
        "load (s)": loaded - begin,
        "compile (s)": time.perf_counter() - loaded,
    }
    runs = {
        "exported (s)": functools.partial(exported, *given),
        "the model's own (s)": own,
    }
    seconds = {name: [] for name in runs}
    for _ in range(1 + rounds):  # the first compiles
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    return row | medians, exported(*given)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="what --mode=export wrote")
    parser.add_argument("checkpoint", help="what it was made of")
    options = parser.parse_args()
    main(options.folder, options.checkpoint)
