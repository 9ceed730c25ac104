"""Fits the DAVIS sequences at hand, scores them, and labels a video.

python experiments/fit_davis/run.py --data=FOLDER_WITH_DAVIS [--video=FILE]
"""

import argparse
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--video", type=pathlib.Path)
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/fit_davis")
    arguments, options = parser.parse_known_args()
    workdir = arguments.workdir.absolute()
    root = all_as_one_split(arguments.data.absolute() / "DAVIS", workdir / "data")

    def stemseg(*flags: str) -> None:
        config = [f"--config={HERE / 'config.py'}", f"--config.data.root={root}"]
        command = [sys.executable, "-m", "stemseg_jax.main", *config, *options, *flags]
        subprocess.run(command, check=True)

    stemseg(f"--workdir={workdir}")
    stemseg("--mode=evaluate", f"--workdir={workdir}")
    for source in [arguments.video] if arguments.video else []:
        stemseg(
            "--mode=predict",
            f"--checkpoint={workdir}",
            f"--input={source}",
            f"--output={workdir / 'videos'}",
        )


def all_as_one_split(davis: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """A data root whose DAVIS has every sequence, of train and val, in val."""
    folder = root / "DAVIS"
    lists = folder / "ImageSets" / "2017"
    lists.mkdir(parents=True, exist_ok=True)
    for part in ("JPEGImages", "Annotations_unsupervised"):
        if not (folder / part).exists():
            os.symlink(davis / part, folder / part)
    names = [
        name
        for split in ("train", "val")
        for name in (davis / f"ImageSets/2017/{split}.txt").read_text().split()
    ]
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names))
    return root


if __name__ == "__main__":
    main()
