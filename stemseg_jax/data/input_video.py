"""A video to be labelled: a video file, a folder of frames or a glob.

Unlike a dataset's records, a source has no annotations and is read from front to back,
as often as it is iterated over; one frame is held at a time.
"""

import collections
import glob
import os
import pathlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol, runtime_checkable

import av
import numpy as np
from absl import logging
from jaxtyping import UInt8

from stemseg_jax.formats import files, images

DEFAULT_FPS = Fraction(24)  # of frames that come without a clock; DAVIS is shown so


@runtime_checkable
class InputVideo(Protocol):
    """Frames in order, RGB, all of one size."""

    name: str
    height: int
    width: int
    fps: Fraction
    num_frames: int | None  # as the header of a video file says, which may be a few off

    def __iter__(self) -> Iterator[tuple[int, UInt8[np.ndarray, "H W 3"]]]:
        """(index from 0, image); each call starts at the front."""
        ...


class VideoFile:
    """Any file that FFmpeg reads; turned upright if it says how it was held.

    Raises:
        ValueError: If the file is not a video, is cut short, has no frames, a damaged
            frame, or frames of several sizes.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.name = _name(self.path.stem)
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
            self.fps = Fraction(rate.numerator, rate.denominator)  # PyAV 19 has its own
            self.num_frames = stream.frames or None
            if self.num_frames is None and stream.duration:
                self.num_frames = round(stream.duration * stream.time_base * self.fps)
        self.height = self.width = 0  # not known before the first frame
        for _, image in self:
            self.height, self.width = image.shape[:2]
            break
        else:
            raise ValueError(
                f"{self.path}: no frame in this video. Expected at least one; check "
                "that the recording or the download was finished."
            )

    def __iter__(self) -> Iterator[tuple[int, UInt8[np.ndarray, "H W 3"]]]:
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            index, frame, frames = 0, None, container.decode(stream)
            while (following := self._decode(frames, index)) is not None:
                frame = following
                # A display matrix counts anticlockwise, as rot90 does.
                image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if self.height:
                    _check_size(image.shape[:2], self, f"{self.path}: frame {index}")
                yield index, np.ascontiguousarray(image)
                index += 1
            if frame is not None:
                self._check_end(stream, frame, index)

    def _open(self) -> av.container.InputContainer:
        try:
            container = av.open(str(self.path))
        except av.error.FFmpegError as error:
            raise ValueError(
                f"{self.path}: cannot be opened as a video ({error.strerror}). "
                "Expected a file that FFmpeg reads, complete and not encrypted."
            ) from error
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            container.close()
            raise ValueError(f"{self.path}: holds no video, only {kinds}.")
        return container

    def _decode(self, frames: Iterator[av.VideoFrame], index: int):
        """The next frame, or None at the end."""
        try:
            frame = next(frames, None)
        except av.error.FFmpegError as error:
            raise ValueError(self._damaged(index, error.strerror)) from error
        # FFmpeg paints over what it cannot decode and goes on; labels there would lie.
        if frame is not None and frame.is_corrupt:
            raise ValueError(self._damaged(index, "data missing or wrong"))
        return frame

    def _damaged(self, index: int, why: str) -> str:
        return (
            f"{self.path}: frame {index} cannot be decoded ({why}). Copy the file "
            f"again, or keep what can be saved: ffmpeg -i {self.path.name} repaired.mp4"
        )

    def _check_end(self, stream: av.VideoStream, last: av.VideoFrame, count: int):
        """Of a file cut short FFmpeg only says that it has ended."""
        if stream.duration is None or last.pts is None:
            return
        end = last.pts + (last.duration or 0) - (stream.start_time or 0)
        missing = float((stream.duration - end) * stream.time_base)
        if missing > 1:
            raise ValueError(
                f"{self.path}: ends after {count} frames, {missing:.1f} s before its "
                "header says: the file is cut short. Copy it again, or keep what is "
                f"there: ffmpeg -i {self.path.name} shorter.mp4"
            )


class ImageSequence:
    """Image files, in the given order, as the frames of a video.

    Args:
        paths: The files; their sizes are compared at once, from their headers.
        name: Of the video.

    Raises:
        ValueError: If there are none, one cannot be read, or sizes differ.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        name: str,
        fps: Fraction = DEFAULT_FPS,
    ):
        if not paths:
            raise ValueError(f"{name}: no frames; expected at least one image.")
        self.paths = tuple(pathlib.Path(path) for path in paths)
        self.name = name
        self.fps = fps
        self.num_frames = len(self.paths)
        self.height, self.width = self._read(images.size, 0)
        for index in range(1, self.num_frames):
            _check_size(self._read(images.size, index), self, str(self.paths[index]))

    def __iter__(self) -> Iterator[tuple[int, UInt8[np.ndarray, "H W 3"]]]:
        for index in range(self.num_frames):
            yield index, self._read(images.read_rgb, index)

    def _read(self, reader, index: int):
        try:
            return reader(self.paths[index])
        except images.BrokenImageError as error:
            raise ValueError(
                f"{self.paths[index]}: frame {index} of {self.name!r} cannot be read. "
                "Copy the file again, or choose the frames with a glob."
            ) from error


def find(
    pattern: str | os.PathLike, *, fps: Fraction = DEFAULT_FPS
) -> list[InputVideo]:
    """The videos that a path or a glob stands for.

    A file is a video (an image: a video of one frame), a folder's images are the frames
    of one video, in natural order (2 before 10). A glob of images is one video too; of
    video files or folders, one video each.

    Args:
        pattern: E.g. "clip.mp4", "frames/", "frames/*.jpg", "videos/*.mp4",
            "JPEGImages/480p/*".
        fps: Of videos made of images.

    Raises:
        ValueError: If nothing is there, or what is there is no video.
    """
    pattern = os.fspath(pattern)
    if os.path.exists(pattern):  # a name may itself hold a "*" or "["
        matches = [pathlib.Path(pattern)]
    else:
        found = images.natural(glob.glob(pattern, recursive=True))
        matches = [path for path in found if files.is_data(path)]
    if not matches:
        raise ValueError(
            f"{pattern}: no such file or folder, and as a glob it matches nothing. "
            "Expected a video file, a folder of frames, or a glob of either."
        )
    frames = [path for path in matches if _is_image(path)]
    if len(frames) == len(matches):
        name = frames[0].stem if len(frames) == 1 else _folder_name(frames[0].parent)
        return [ImageSequence(frames, name=_name(name), fps=fps)]
    if frames:
        other = next(path for path in matches if path not in frames)
        raise ValueError(
            f"{pattern}: matches images ({frames[0].name}) and others ({other.name}). "
            "Expected one kind; narrow the glob, e.g. to *.jpg."
        )
    sources = [
        _folder(path, fps=fps) if path.is_dir() else VideoFile(path) for path in matches
    ]
    name, count = collections.Counter(s.name for s in sources).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"{pattern}: {count} videos are called {name!r}, and results go by name. "
            "Rename them, or take them one at a time."
        )
    return sources


def _folder(folder: pathlib.Path, *, fps: Fraction) -> ImageSequence:
    entries = files.listed(folder)
    frames = images.natural(path for path in entries if _is_image(path))
    if not frames:
        others = ", ".join(sorted(path.name for path in entries)[:3]) or "nothing"
        raise ValueError(
            f"{folder}: no images in this folder, but {others}. Expected frames "
            f"({' '.join(images.SUFFIXES)}); for several videos give a glob, e.g. "
            f"'{folder}/*'."
        )
    stem, count = collections.Counter(path.stem for path in frames).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"{folder}: {count} images are called {stem!r}, with different endings. "
            f"Expected one per frame; give a glob, e.g. '{folder}/*{frames[0].suffix}'."
        )
    return ImageSequence(frames, name=_name(_folder_name(folder)), fps=fps)


def _is_image(path: pathlib.Path) -> bool:
    return images.is_image(path) and path.is_file()


def _folder_name(folder: pathlib.Path) -> str:
    return os.path.basename(os.path.abspath(folder))  # of "..", too


def _name(given: str) -> str:
    """The name of a video, by which its results are called: no dots at its ends.

    "..", say, of a file called "...mp4", would lead out of the folder of results.
    """
    name = given.strip(". ") or "video"
    if name != given:
        logging.warning("The video %r goes by the name %r.", given, name)
    return name


def _check_size(size: tuple[int, ...], source: InputVideo, where: str):
    expected = source.height, source.width
    images.check_size(size, expected, where, "the frames before it are")
