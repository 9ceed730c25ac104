"""One program's video, twice, for `run.py`: prints the most memory it took, in MB."""

import argparse
import pathlib
import resource

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
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


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
