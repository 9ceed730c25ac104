"""Where the time of predict goes, and its frames per second. See README.md."""

import argparse
import functools
import pathlib
import tempfile
import threading
import time

import jax
from absl import logging

from stemseg_jax import labelling, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import images, rle
from stemseg_jax.outputs import davis_results, overlay, report, video
from stemseg_jax.predictor import Predictor
from stemseg_jax.systems import stemseg, volumes

STAGES = {
    (volumes, "_encode_group"): "backbone and pyramid",
    (volumes, "_decode"): "decoders",
    (stemseg.STEmSeg, "_label"): "clusters, stitching, full size",
    (labelling.LabelledFrame, "masks"): "masks at the size of the frames",
    (rle, "encode"): "masks, compressed",
    (davis_results, "paint"): "masks, decoded and painted",
    (images, "write_labels"): "PNG files",
    (overlay.Artist, "draw"): "overlay, drawn",
    (video.Writer, "write"): "overlay, encoded",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True, help="video or folder of frames")
    parser.add_argument("--checkpoint", default="real")
    parser.add_argument("--share", choices=volumes.SHARE, default="auto")
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    shared = {"tracking.share_convolutions": options.share}
    predictor = Predictor.from_checkpoint(options.checkpoint, changes=shared)
    (source,) = inputs.find(options.input)
    with tempfile.TemporaryDirectory() as folder:
        predictor.predict(source, folder)  # compiles
        begin = time.perf_counter()
        folder = predictor.predict(source, folder)
        seconds = time.perf_counter() - begin
        frames = len(list((folder / results.FILES["masks"]).iterdir()))
        spent = {"frames, read once": time_of(lambda: [None for _ in source])}
        for (owner, name), stage in STAGES.items():
            setattr(owner, name, timed(getattr(owner, name), stage, spent))
        predictor.predict(source, pathlib.Path(folder).parent)
    rows = [{"stage": k, "ms a frame": 1e3 * v / frames} for k, v in spent.items()]
    print(report.table(rows))
    print(f"{frames} frames of {source.width} x {source.height}: ", end="")
    print(f"{frames / seconds:.1f} frames a second, from file to files")


def timed(function, stage: str, spent: dict[str, float]):
    """The same function; waits for its result, and adds up its time in all threads."""
    spent[stage] = 0.0
    lock = threading.Lock()

    @functools.wraps(function)
    def call(*args, **options):
        begin = time.perf_counter()
        result = jax.block_until_ready(function(*args, **options))
        with lock:
            spent[stage] += time.perf_counter() - begin
        return result

    return call


def time_of(work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
