"""What an update of each released config needs of a device's memory. See README.md."""

import argparse
import importlib
import itertools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from stemseg_jax import models, optimization, parallel, train
from stemseg_jax.data import pipeline
from stemseg_jax.formats import whole
from stemseg_jax.outputs import report
from stemseg_jax.structures import PackedClips

CONFIGS = (
    *("davis", "davis_stage2", "ytvis", "kitti_mots", "kitti_mots_stage2"),
    *("ovis", "srnet_davis", "srnet_ytvis"),
)
CARDS = (11, 24, 40, 80)  # gigabytes; a tenth is left to the driver and fragments


def gigabytes(name: str, changes: dict, device: jax.Device) -> dict[str, float]:
    """Of an update of one clip, as XLA's own count of the compiled program has it.

    Weights, optimiser and clip; what is computed; both together.

    Args:
        device: That it is compiled for; nothing runs on it.
    """
    config = importlib.import_module(f"configs.{name}").get_config()
    config = models.changed(config, changes)
    system, variables = models.abstract(config)
    tx = optimization.optimizer(
        config.optim, variables["params"], frozen=system.frozen_modules()
    )
    state = jax.eval_shape(
        lambda v: train.first_state(v, tx, decay=config.optim.average_decay), variables
    )
    height, width = max(pipeline.canvas_sizes(config.data), key=lambda s: s[0] * s[1])
    T, N = config.num_frames, config.data.max_instances

    def array(*shape, dtype=jnp.uint8):
        return jax.ShapeDtypeStruct((1, 1, *shape), dtype)

    batch = PackedClips(
        frames=array(T, height, width, 3),
        masks=array(N, T, height, width // 8),
        valid=array(N, dtype=bool),
        categories=array(N, dtype=jnp.int32),
        ignore=array(T, height, width // 8),
        intrinsics=array(T, 3, 3, dtype=jnp.float32),
        within=array(2, dtype=jnp.int32),
    )
    step = parallel.jit_step(
        train.update_of(config, system, tx), parallel.shardings([device])
    )
    begin = time.perf_counter()
    found = step.lower(state, batch).compile().memory_analysis()
    held = found.argument_size_in_bytes + found.output_size_in_bytes
    held -= found.alias_size_in_bytes
    return {
        "canvas": f"{T} x {height} x {width}",
        "held": held / 1e9,
        "computed": found.temp_size_in_bytes / 1e9,
        "all": (held + found.temp_size_in_bytes) / 1e9,
        "seconds of compiling": time.perf_counter() - begin,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument(
        "--topology",
        help="of a TPU that need not be there, e.g. v5p:2x2x1, by libtpu; otherwise "
        "the device of this machine",
    )
    options = parser.parse_args()
    device = jax.devices()[0]
    if options.topology:
        device = topologies.get_topology_desc(
            platform="tpu", topology_name=options.topology
        ).devices[0]
    written = options.output / "figures.json"
    found = json.loads(written.read_text()) if written.exists() else {}
    # XLA for CPUs finds equal computations, recomputed ones too, and does them once.
    recomputed = (False,) if device.platform == "cpu" else (False, True)
    for name, remat, dtype in itertools.product(
        options.configs.split(","), recomputed, ("float32", "bfloat16")
    ):
        row = f"{name}{', remat' * remat}, {dtype}"
        if row not in found:
            changes = {"model.remat": remat, "model.dtype": dtype}
            found[row] = gigabytes(name, changes, device)
            whole.write_text(written, json.dumps(found, indent=2) + "\n")
            print(row, found[row], flush=True)
    lines = []
    for row, figures in found.items():
        fits = [card for card in CARDS if figures["all"] < 0.9 * card]
        lines.append(
            {
                "update of one clip": row,
                "canvas": figures["canvas"],
                "held (GB)": f"{figures['held']:.2f}",
                "computed (GB)": f"{figures['computed']:.2f}",
                "fits on (GB)": str(fits[0]) if fits else "none",
            }
        )
    print(report.table(lines))


if __name__ == "__main__":
    main()
