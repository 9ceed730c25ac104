"""Small videos and images whose frames are told apart by their colours."""

from fractions import Fraction

import av
import cv2
import numpy as np

FORMS = {  # name -> codec and options of the container
    "front.mp4": ("libx264", {"movflags": "faststart"}),
    "parts.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "a.mkv": ("libx264", {}),
    "a.webm": ("libvpx", {}),
    "a.avi": ("mpeg4", {}),
    "a.flv": ("flv", {}),
}


def frame(value: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A flat colour with a red upper left quarter, so that turning shows."""
    image = np.full((height, width, 3), value, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    return image


def write_images(folder, names, **size):
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        cv2.imwrite(str(folder / name), frame(10 * value, **size)[..., ::-1])
    return folder


def flat(index: int, height: int, width: int) -> np.ndarray:
    return frame(10 * index % 250, height, width)


def moving(index: int, height: int, width: int) -> np.ndarray:
    """Noise that moves, so that what is decoded depends on the frames before."""
    noise = np.random.default_rng(0).integers(0, 256, (height, 999, 3), np.uint8)
    return np.ascontiguousarray(noise[:, index : index + width])


def write_video(
    path,
    count,
    *,
    codec="libx264",
    options=None,
    fps=Fraction(30000, 1001),
    height=32,
    width=48,
    picture=flat,
    stamps=None,
    **encoding,
):
    """Frames of `picture`; the i-th is shown at stamps[i] / fps, if these are given.

    Args:
        options: Of the container.
        encoding: Options of the codec.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        rate = Fraction(25) if codec == "flv" else fps
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if codec == "gif":
            stream.pix_fmt = "rgb8"
        stream.options = {"crf": "1"} if codec == "libx264" else {}
        stream.options = {**stream.options, "g": "10", **encoding}
        stream.thread_count = 1  # some make as many slices as the machine has cores
        for i in range(count):
            image = av.VideoFrame.from_ndarray(picture(i, height, width))
            if stamps is not None:
                image.pts, image.time_base = stamps[i], 1 / rate
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def values(source):
    """The flat colour of each frame, which tells them apart."""
    return [int(image[-4, -4].mean().round()) for _, image, _ in source]


def times(source):
    return [frame.time for frame in source]
