"""One program's video, twice, for `run.py`: prints the most memory it took, in MB."""

import argparse
import pathlib
import re

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("ours", "theirs"))
    parser.add_argument("--original", type=pathlib.Path, required=True)
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--levels", required=True)
    options = parser.parse_args()
    levels = tuple(map(float, options.levels.split(",")))
    frames = np.load(options.scratch / "frames.npy")
    of_part = ours if options.part == "ours" else theirs
    work = of_part(options, frames, levels)
    for _ in range(2):
        work()
    # ru_maxrss would be that of the process that began this one, if that had more.
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)


def ours(options, frames, levels):
    import run

    from stemseg_jax import models

    run.SIZE = frames.shape[1:3]
    model = models.load(run.config(*levels), str(options.scratch / "weights.pth"))
    return lambda: run.masks(model, frames, options.scratch)


def theirs(options, frames, levels):
    import os

    import original as program

    size, threads = frames.shape[1:3], os.cpu_count()
    original = program.load(options.original, size=size, threads=threads)
    model = program.inference_model(original)
    folder = options.scratch / "theirs_alone"
    return lambda: program.masks(original, model, frames, folder, levels=levels)


if __name__ == "__main__":
    main()
