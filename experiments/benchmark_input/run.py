"""Clips a second from JPEG to batch, beside a plain way of doing the same.

    python experiments/benchmark_input/run.py --root=FOLDER        # FOLDER/DAVIS

Rates are of wall time with two threads or processes. Rounds of the ways alternate, and
a ratio is that of neighbours, so that a busy machine slows both. CPU time, of this
process and its children, depends less on what else runs.
"""

import json
import multiprocessing
import pathlib
import statistics
import sys
import time

import numpy as np
import PIL.Image
import psutil
from absl import app, flags

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from configs import defaults  # noqa: E402
from stemseg_jax.data import pipeline  # noqa: E402
from stemseg_jax.data.clips import canvas, transforms  # noqa: E402
from stemseg_jax.data.datasets import DATASETS  # noqa: E402
from stemseg_jax.geometry import SizeRule  # noqa: E402

_ROOT = flags.DEFINE_string("root", None, "The folder that holds DAVIS.", required=True)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of each way.")
_SECONDS = flags.DEFINE_float("seconds", 8.0, "Of a round.")

WORKERS = 2
# DAVIS as in the paper, and frames as they are, to be resized on the device.
SIZES = {
    "701 x 1248": dict(min_dim=736, max_dim=1248, height=736, width=1248),
    "480 x 854": dict(min_dim=0, max_dim=0, height=480, width=864),
}


def config_of(root, size, *, workers):
    config = defaults.get_config()
    config.num_frames = 8
    config.data.root = root
    config.data.mixture.davis19 = 1.0
    config.data.span.davis19 = (16, 16)
    config.data.workers, config.data.threads = workers, WORKERS
    config.data.update(SIZES[size])
    return config


def main(argv):
    report = {"cores": multiprocessing.cpu_count()}
    for size in SIZES:
        ways = {
            "threads": Stream(_ROOT.value, size, workers=0),
            "workers": Stream(_ROOT.value, size, workers=WORKERS),
            "plain": Plain(_ROOT.value, size),
        }
        rounds = [
            {name: measure(way) for name, way in ways.items()}
            for _ in range(_ROUNDS.value)
        ]
        report[size] = {
            name: {
                "clips_per_s": median(r[name][0] for r in rounds),
                "frames_per_s": median(8 * r[name][0] for r in rounds),
                "cpu_ms_per_clip": median(r[name][1] for r in rounds),
                "times_plain": median(r[name][0] / r["plain"][0] for r in rounds),
                "times_plain_in_cpu": median(
                    r["plain"][1] / r[name][1] for r in rounds
                ),
                "memory_of_workers_MB": way.memory(),
            }
            for name, way in ways.items()
        }
        report[size]["stages_cpu_ms"] = stages(_ROOT.value, size)
        for way in ways.values():
            way.resume()
        ways["plain"].pool.terminate()
        print(size, json.dumps(report[size], indent=1))
    (HERE / "figures.json").write_text(json.dumps(report, indent=1) + "\n")


def median(values):
    return round(statistics.median(values), 2)


def measure(way):
    """Clips a second, and CPU milliseconds a clip."""
    way.resume()
    for _ in range(6):  # what was read ahead while nobody asked
        way.two_clips()
    start, used, count = time.monotonic(), cpu_seconds(way), 0
    while time.monotonic() - start < _SECONDS.value:
        way.two_clips()
        count += 2
    seconds, used = time.monotonic() - start, cpu_seconds(way) - used
    way.suspend()
    return count / seconds, 1000 * used / count


def cpu_seconds(way):
    processes = [psutil.Process(), *way.workers]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


class Way:
    """Something whose worker processes can be stopped while another one runs."""

    def __init__(self):
        before = set(psutil.Process().children(recursive=True))
        self.start()
        for _ in range(6):
            self.two_clips()
        self.workers = set(psutil.Process().children(recursive=True)) - before
        self.suspend()

    def suspend(self):
        for worker in self.workers:
            worker.suspend()

    def resume(self):
        for worker in self.workers:
            worker.resume()

    def memory(self):
        """Of their own, not shared."""
        sizes = (worker.memory_full_info().uss / 1e6 for worker in self.workers)
        return sorted(round(size) for size in sizes)


class Stream(Way):
    """The training stream."""

    def __init__(self, root, size, *, workers):
        self.config = config_of(root, size, workers=workers)
        super().__init__()

    def start(self):
        self.batches = pipeline.training_batches(self.config, batch_size=2)

    def two_clips(self):
        next(self.batches)


class Plain(Way):
    """What one writes first: Pillow and NumPy, frame after frame, a process a core."""

    def __init__(self, root, size):
        self.arguments = root, size
        super().__init__()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pool = context.Pool(WORKERS, _start_plain, self.arguments)

    def two_clips(self):
        frames, masks = zip(
            *self.pool.map(_plain_clip, range(2), chunksize=1), strict=True
        )
        slots = np.zeros((2, 20, *frames[0].shape[:-1]), bool)
        for b, mask in enumerate(masks):
            slots[b, : len(mask), :, : mask.shape[2], : mask.shape[3]] = mask
        return np.stack(frames), slots, ~slots.any(axis=1)


def _start_plain(root, size):
    global PLAIN
    config = config_of(root, size, workers=0)
    videos = DATASETS["davis19"](root, "train").videos
    PLAIN = videos, size_of(config)


def size_of(config):
    data = config.data
    sizes = None
    if data.min_dim:
        sizes = SizeRule(min_dim=data.min_dim, max_dim=data.max_dim)
    return transforms.KeepAspect(height=data.height, width=data.width, sizes=sizes)


def _plain_clip(_):
    """Does what the stream does."""
    videos, keep_aspect = PLAIN
    rng = np.random.default_rng()
    video = videos[rng.integers(len(videos))]
    start = rng.integers(video.num_frames - 16)
    flip, reverse = rng.random(2) < 0.5
    frames, numbers = [], []
    for index in np.round(np.linspace(start, start + 16, 8)).astype(int):
        frame = np.asarray(PIL.Image.open(video.files[index]).convert("RGB"))
        label = np.asarray(PIL.Image.open(video.labels.files[index]))
        size = keep_aspect.size(*label.shape)
        frame = _resize(frame.astype(np.float32), size).round().astype(np.uint8)
        frames.append(frame[:, ::-1] if flip else frame)
        masks = [
            _resize((label == n).astype(np.float32)[..., None], size)[..., 0] > 0.5
            for n in range(1, label.max() + 1)
        ]
        masks = np.stack(masks)
        numbers.append(masks[..., ::-1] if flip else masks)
    frames, masks = np.stack(frames), np.stack(numbers, axis=1)
    if reverse:
        frames, masks = frames[::-1], masks[:, ::-1]
    placed = np.zeros((8, keep_aspect.height, keep_aspect.width, 3), np.uint8)
    placed[:, : size[0], : size[1]] = frames
    return placed, masks


def _resize(image, size):
    """Bilinear with half-pixel centres."""
    if image.shape[:2] == size:
        return image
    for axis, (old, new) in enumerate(zip(image.shape[:2], size, strict=True)):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        weight = (at - low).astype(np.float32)
        weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
        image = image.take(low, axis) * (1 - weight) + image.take(high, axis) * weight
    return image


def stages(root, size, count=20):
    """CPU milliseconds of each stage of a clip, in this process."""
    config = config_of(root, size, workers=0)
    video = DATASETS["davis19"](root, "train").videos[0]
    keep_aspect = size_of(config)
    place = canvas.Canvas(height=keep_aspect.height, width=keep_aspect.width).place
    indices = np.round(np.linspace(0, 16, 8)).astype(int)
    clip = video.clip(indices)
    rng = np.random.default_rng(0)
    resized = keep_aspect(rng, clip)
    marked = transforms.mark_unlabelled(resized)
    flip, reverse = transforms.Flip(), transforms.Reverse()

    def cpu(stage):
        stage()
        start = time.process_time()
        for _ in range(count):
            stage()
        return round(1000 * (time.process_time() - start) / count, 1)

    read = cpu(lambda: [video.frame(i) for i in indices])
    masks = cpu(lambda: [video.labels.read(i) for i in indices])
    return {
        "decode JPEG": read,
        "decode masks": masks,
        "assemble": round(cpu(lambda: video.clip(indices)) - read - masks, 1),
        "resize": cpu(lambda: keep_aspect(rng, clip)),
        "ignore": cpu(lambda: transforms.mark_unlabelled(resized)),
        "flip, reverse": cpu(lambda: reverse(rng, flip(rng, marked))),
        "canvas": cpu(lambda: place(marked)),
    }


if __name__ == "__main__":
    app.run(main)
