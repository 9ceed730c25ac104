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


def write_video(
    path,
    count,
    *,
    codec="libx264",
    options=None,
    fps=Fraction(30000, 1001),
    height=32,
    width=48,
):
    with av.open(str(path), "w", options=options or {}) as container:
        rate = Fraction(25) if codec == "flv" else fps
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "1"} if codec == "libx264" else {}
        stream.options = {**stream.options, "g": "10"}
        for i in range(count):
            image = av.VideoFrame.from_ndarray(frame(10 * i % 250, height, width))
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def values(source):
    """The flat colour of each frame, which tells them apart."""
    return [int(image[-4, -4].mean().round()) for _, image, _ in source]
