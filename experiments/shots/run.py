"""Which cuts are found, and what is taken for one that is none. See README.md."""

import argparse
import itertools
import pathlib
import time

import cv2
import numpy as np

from stemseg_jax.data import inputs
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.outputs import report
from stemseg_jax.tracking import shots
from stemseg_jax.tracks import Frame

SMALL = (128, 72)  # (width, height) of what is kept; a `shots.Look` is smaller still
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
BEFORE, AFTER = 11, 6  # frames around a cut
# Parts of one recording, between which a cut would be none.
SAME = ({"elephant", "composite-elephant-bear-dog"},)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="see README.md")
    folder = pathlib.Path(parser.parse_args().data)
    videos = read(folder)
    cuts = [concatenated(*pair) for pair in other_pairs(videos)]
    rows = []
    for threshold in THRESHOLDS:
        detector = shots.Detector(threshold=threshold)
        found = [detect(detector, video) for video in cuts]
        row = {
            "threshold": f"{threshold:.2f}",
            "cuts found": share(sum(BEFORE in frames for frames in found), len(cuts)),
        }
        for name, made in made_of(videos).items():
            row[name] = sum(len(detect(detector, video)) for video in made)
        rows.append(row)
    lengths = [len(video) for video in videos.values()]
    print(f"{len(lengths)} videos, {sum(lengths)} frames, {len(cuts)} cuts")
    print(report.table(rows))
    print(f"{cost():.2f} ms for a frame of 1280 x 720")


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Each video, made small, under folder/name."""
    patterns = [
        *("DAVIS/JPEGImages/480p/*", "DAVIS16_train/DAVIS/JPEGImages/480p/*"),
        *("DAVIS_composite/JPEGImages/480p/*", "RGBD_room/color/", "videos/*.mp4"),
    ]
    found = {}
    for pattern in patterns:
        for video in inputs.find(folder / pattern):
            name = f"{pattern.partition('/')[0]}/{video.name}"
            found[name] = np.stack([small(frame.image) for frame in video])
    for video in moving_shapes.load(split="val", num_videos=10, num_frames=40).videos:
        frames = [small(video.frame(k)) for k in range(video.num_frames)]
        found[f"moving_shapes/{video.name}"] = np.stack(frames)
    return found


def small(image):
    return cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA)


def other_pairs(videos):
    """The frames of every two recordings that are not the same, in both orders."""
    for (one, a), (two, b) in itertools.permutations(videos.items(), 2):
        names = {pathlib.Path(one).name, pathlib.Path(two).name}
        if len(names) == 2 and names not in SAME:
            yield a, b


def concatenated(a, b):
    before = a[-BEFORE:]
    before = np.concatenate([before[:1]] * (BEFORE - len(before)) + [before])
    return np.concatenate([before, b[:AFTER]])


def made_of(videos):
    """Videos without a cut; a name says what was done to those that were read."""
    real = {name: v for name, v in videos.items() if "street" not in name}
    return {
        "as they are": videos.values(),
        "every 2nd frame": [video[::2] for video in real.values()],
        "every 3rd": [video[::3] for video in real.values()],
        "flashes": [flashes(video) for video in real.values()],
        "steps in exposure": [steps(video) for video in real.values()],
        "fades": [fades(video) for video in real.values()],
    }


def flashes(video, every=12):
    """Of one and two frames in turn, in which half of the scale is added."""
    added = np.zeros(len(video))
    added[every::every] = added[2 * every + 1 :: 2 * every] = 128
    return lit(video, added=added)


def steps(video, every=10):
    """The exposure changes by half a stop, to and fro."""
    return lit(video, gain=np.where(np.arange(len(video)) // every % 2, 2**-0.5, 1))


def fades(video, length=12):
    """To black, and from black, in half a second."""
    return lit(video, gain=np.abs(np.arange(len(video)) % (2 * length) / length - 1))


def lit(video, *, gain=1.0, added=0.0):
    gain, added = (np.reshape(x, (-1, 1, 1, 1)) for x in (gain, added))
    return np.clip(video * gain + added, 0, 255).astype(np.uint8)


def detect(detector, video):
    frames = (Frame(index, image) for index, image in enumerate(video))
    return [frame.index for frame, begins in detector.marked(frames) if begins]


def share(part, whole):
    return f"{part / whole:.4f}"


def cost(count=200):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 720, 1280, 3), np.uint8)
    video = [images[k % 2] for k in range(count)]
    start = time.perf_counter()
    detect(shots.Detector(threshold=10), video)
    return (time.perf_counter() - start) / count * 1000


if __name__ == "__main__":
    main()
