"""What is drawn of a video frame by frame, each in a thread of its own."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import UInt8

from stemseg_jax import pipelining
from stemseg_jax.data import inputs
from stemseg_jax.formats import davis_png, images, whole
from stemseg_jax.geometry import restore_values
from stemseg_jax.labelling import LabelledFrame
from stemseg_jax.outputs import (
    cutouts,
    depth_png,
    overlay,
    panels,
    side_by_side,
    video,
)
from stemseg_jax.tracks import VideoTracks

WAITING = 4  # frames that a drawing may lag behind


class Scene(NamedTuple):
    """What there is to draw."""

    source: inputs.InputVideo
    tracks: VideoTracks
    times: Sequence[float]  # seconds, of each frame
    captions: Mapping[int, str]  # of track ids
    ground_truth: Sequence[pathlib.Path] = ()  # label maps, one for each frame

    def artist(self) -> overlay.Artist:
        scale = overlay.enlargement(self.tracks.height, self.tracks.width)
        return overlay.Artist(self.captions, scale=scale)

    def film(self, path: pathlib.Path) -> video.Writer:
        """A video that plays as the source does, with its sound."""
        source = self.source
        return video.Writer(
            path, fps=source.fps, sound=source.sound, sound_start=self.times[0]
        )


class Painted(NamedTuple):
    """A frame with the ids of its tracks."""

    index: int
    image: UInt8[np.ndarray, "H W 3"]
    time: float
    labels: UInt8[np.ndarray, "H W"]


Draw = Callable[[Any], None]  # takes one frame


@contextlib.contextmanager
def draw_overlay(path: pathlib.Path, scene: Scene) -> Iterator[Draw]:
    artist = scene.artist()
    with scene.film(path) as writer:
        yield lambda frame: writer.write(
            artist.draw(frame.image, frame.labels), frame.time
        )


@contextlib.contextmanager
def draw_beside_truth(path: pathlib.Path, scene: Scene) -> Iterator[Draw]:
    """The frame, its true objects and the found ones."""
    found, true = scene.artist(), overlay.Artist({}, scale=scene.artist().scale)
    with scene.film(path) as writer:

        def draw(frame: Painted) -> None:
            if len(scene.ground_truth) != scene.tracks.num_frames:
                raise ValueError(
                    f"--ground_truth has {len(scene.ground_truth)} label maps, but "
                    f"{scene.tracks.num_frames} frames were labelled. Expected one "
                    "PNG for each of these."
                )
            file = scene.ground_truth[frame.index]
            truth = images.read_labels(file, bits=8)
            images.check_size(truth.shape, frame.labels.shape, file, "the video is")
            tiles = [
                ("frame", frame.image),
                ("truth", true.draw(frame.image, truth)),
                ("found", found.draw(frame.image, frame.labels)),
            ]
            writer.write(side_by_side.tile(tiles), frame.time)

        yield draw


@contextlib.contextmanager
def draw_cutouts(path: pathlib.Path, scene: Scene) -> Iterator[Draw]:
    with cutouts.Writer(path) as writer:
        yield lambda frame: writer.write(frame.index, frame.image, frame.labels)


@contextlib.contextmanager
def draw_panels(path: pathlib.Path, source: inputs.InputVideo) -> Iterator[Draw]:
    """What the network says, while it says it."""
    drawn = None
    with video.Writer(path, fps=source.fps) as writer:

        def draw(frame: LabelledFrame) -> None:
            nonlocal drawn
            drawn = drawn or panels.Panels([n for n in panels.DRAWN if n in frame.maps])
            image = drawn.draw(frame.image, frame.maps, frame.geometry)
            writer.write(image, frame.time)

        yield draw


@contextlib.contextmanager
def draw_depth(path: pathlib.Path, source: inputs.InputVideo) -> Iterator[Draw]:
    """As grey PNGs of 16 bits, of systems that estimate it."""
    with whole.folder(path, "depth", marked=False) as partial:

        def draw(frame: LabelledFrame) -> None:
            if "depth" not in (frame.maps or {}):
                raise ValueError("the model estimates no depth.")
            depth = restore_values(frame.maps["depth"][..., 0], frame.geometry)
            depth_png.write(partial / davis_png.frame_name(frame.index), depth)

        yield draw


# Name -> its file or folder, and what draws it, from frames as they are labelled.
OF_FRAMES = {"panels": ("panels.mp4", draw_panels), "depth": ("depth", draw_depth)}
# The same of what is drawn from the tracks of a whole video.
OF_TRACKS = {
    "overlay": ("overlay.mp4", draw_overlay),
    "side_by_side": ("side_by_side.mp4", draw_beside_truth),
    "cutouts": ("cutouts", draw_cutouts),
}


class Tolerated:
    """A drawing that draws in a thread; if it fails, that costs no more than itself.

    Attributes:
        failed: Whether it is not, or will not be, whole.
    """

    def __init__(self, name: str, drawing: contextlib.AbstractContextManager[Draw]):
        self.name, self.failed = name, False
        self._drawing, self._stack = drawing, contextlib.ExitStack()

    def __enter__(self) -> "Tolerated":
        self._try(self._open)
        return self

    def _open(self) -> None:
        draw = self._stack.enter_context(self._drawing)
        self._put = self._stack.enter_context(pipelining.aside(draw, most=WAITING))

    def put(self, frame: Any) -> None:
        if not self.failed:
            self._try(self._put, frame)

    def drop(self, why: str = "stopped by Ctrl-C") -> None:
        """It is not wanted, or not possible, any more."""
        if not self.failed:
            self._give_up(InterruptedError(why))
            logging.warning("%s is not written: %s", self.name, why)

    def __exit__(self, kind, error, trace) -> None:
        if error and not self.failed:
            self._give_up(error)
        elif not self.failed:
            self._try(self._stack.close)

    def _try(self, step: Callable, *given: Any) -> None:
        try:
            step(*given)
        except Exception as error:
            self._give_up(error)
            logging.warning("%s is not written: %s", self.name, error)

    def _give_up(self, error: BaseException) -> None:
        self.failed = True
        with contextlib.suppress(type(error)):  # it may come back out of the thread
            self._stack.__exit__(type(error), error, error.__traceback__)
