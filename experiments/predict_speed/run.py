"""What predict costs beside the network: time by the number of objects, memory by the
number of frames. See README.md."""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from unittest import mock

import cv2
import numpy as np

from stemseg_jax.outputs import report, video

SIZE = (720, 1280)
MAP = (288, 512)  # of the labels, as the shipped weights have it
OBJECTS = (1, 5, 10, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trees", nargs="*", default=[], help="clones of this repository, in turn"
    )
    parser.add_argument("--stages", action="store_true", help="of this one, in a table")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=96, help="of the timed videos")
    parser.add_argument(
        "--lengths", type=int, nargs="*", default=[200, 2000], help="to see the memory"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = pathlib.Path(folder, "clip.mp4")
        write_video(clip, options.frames, SIZE)
        for objects in OBJECTS:
            for repeat in range(options.repeats):
                for tree in options.trees:
                    print(measured(tree, clip, objects, repeat), flush=True)
        if options.stages:
            print(report.table([stages(clip, objects) for objects in OBJECTS]))
        for length in options.lengths if options.trees else ():
            long = pathlib.Path(folder, f"{length}.mp4")
            write_video(long, length, (144, 256))
            for tree in options.trees:
                print(measured(tree, long, 5), flush=True)
                print(measured(tree, long, 0), flush=True)


def stages(clip: pathlib.Path, objects: int) -> dict[str, float]:
    """Milliseconds of a core for each frame."""
    from stemseg_jax import labelling
    from stemseg_jax.data.inputs import VideoFile
    from stemseg_jax.formats import images, rle
    from stemseg_jax.outputs import davis_results, overlay
    from stemseg_jax.predictor import Predictor

    found, lock = {}, threading.Lock()

    def timed(function, stage):
        found[stage] = 0.0

        @functools.wraps(function)
        def call(*args, **options):
            begin = time.thread_time()
            result = function(*args, **options)
            with lock:
                found[stage] += time.thread_time() - begin
            return result

        return call

    named = {
        (labelling.LabelledFrame, "masks"): "masks enlarged",
        (rle, "encode"): "compressed",
        (davis_results, "paint"): "painted",
        (images, "write_labels"): "PNG",
        (overlay.Artist, "draw"): "overlay drawn",
    }
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for (owner, name), stage in named.items():
            call = timed(getattr(owner, name), stage)
            stack.enter_context(mock.patch.object(owner, name, call))
        wall, cpu = time.perf_counter(), time.process_time()
        Predictor(model_of(objects)).predict(clip, folder)
        found["all, of all cores"] = time.process_time() - cpu
        found["all, by the clock"] = time.perf_counter() - wall
    count = sum(1 for _ in VideoFile(clip))
    return {"objects": objects} | {k: 1e3 * v / count for k, v in found.items()}


def write_video(path: pathlib.Path, count: int, size: tuple[int, int]) -> None:
    """A drifting texture, which is as hard to encode as a real video."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (size[0] // 8, size[1] // 8 + 64, 3), np.uint8)
    texture = cv2.resize(noise, (size[1] + 512, size[0]), interpolation=cv2.INTER_CUBIC)
    with video.Writer(path, fps=Fraction(30)) as writer:
        for t in range(count):
            shift = t % 512
            writer.write(np.ascontiguousarray(texture[:, shift : shift + size[1]]))


def measured(tree: str, clip: pathlib.Path, objects: int, repeat: int = 0) -> str:
    """One run in a process of its own, with the package of `tree`.

    Args:
        objects: 0 stands for the weights that come with it, on small frames.
    """
    environment = {**os.environ, "PYTHONPATH": tree, "CLIP": str(clip)}
    environment["OBJECTS"] = str(objects)
    command = [sys.executable, __file__, "--child"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return json.dumps({"tree": tree, "objects": objects, "repeat": repeat, **found})


def child():
    """Labels a video by a system that costs nothing, or a small one."""
    clip, objects = pathlib.Path(os.environ["CLIP"]), int(os.environ["OBJECTS"])
    model = model_of(objects)
    with tempfile.TemporaryDirectory() as folder:
        # Imports, and programs of the weights, are made by then.
        predict(clip, pathlib.Path(folder, "first"), model)
        begin = time.perf_counter()
        frames = predict(clip, pathlib.Path(folder, "timed"), model)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "frames": frames,
                "ms a frame": round(1e3 * seconds / frames, 2),
                "peak MiB": round(peak, 1),
            }
        )
    )


def model_of(objects: int):
    from configs import real_video
    from stemseg_jax import models

    if objects:
        return models.Model(real_video.get_config(), Painted(objects), {})
    config = models.saved_config("real")
    config.evaluation.min_dim, config.evaluation.max_dim = 72, 128
    config.selection.min_score = 0.0
    return models.load(config, "real")


def predict(clip: pathlib.Path, output: pathlib.Path, model) -> int:
    """Through whichever interface the tree has."""
    try:
        from stemseg_jax.predictor import Predictor
    except ImportError:
        from stemseg_jax import predict
        from stemseg_jax.data import input_video

        (source,) = input_video.find(clip)
        return predict.predict_video(model, source, output).num_frames
    from stemseg_jax.outputs import tracks_json

    folder = Predictor(model).predict(clip, output)
    return tracks_json.read(folder / "tracks.json").video.num_frames


class Painted:
    """Ellipses that drift, as if a network had found them at once."""

    def __init__(self, objects: int):
        rng = np.random.default_rng(objects)
        self.places = rng.uniform((30, 30), (258, 482), (objects, 2))
        self.axes = rng.uniform(12, 45, (objects, 2))
        self.turns = rng.uniform(0, 180, objects)

    def track(self, variables, frames, maps=False):
        from stemseg_jax.geometry import Geometry
        from stemseg_jax.tracks import LabelledFrames, TrackStatistics

        count, geometry = 0, None
        for frame in frames:
            size = frame.image.shape[:2]
            geometry = geometry or Geometry(size, MAP, MAP, 1)
            labels = np.zeros(MAP, np.int32)
            for k, (y, x) in enumerate(self.places):
                place = int(x + 20 * np.sin(count / 9 + k)), int(y)
                axes = tuple(int(a) for a in self.axes[k])
                cv2.ellipse(labels, place, axes, self.turns[k], 0, 360, k + 1, -1)
            yield LabelledFrames(frame.index, labels[None], geometry)
            count += 1
        return {
            k + 1: TrackStatistics(100, 0, count - 1, score=0.9)
            for k in range(len(self.places))
        }


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
