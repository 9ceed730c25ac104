"""A video to be labelled: a video file, a folder of frames or a glob.

Unlike a dataset's records, a source has no annotations and is read from front to back,
as often as it is iterated over; one frame is held at a time.
"""

import collections
import glob
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol, runtime_checkable

import av
import numpy as np
from absl import logging
from jaxtyping import UInt8

from stemseg_jax.formats import containers, declared, files, images

# Of FFmpeg's; no playlists and no streams.
CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv"),
    *("ogg", "mxf", "gif", "apng", "ivf", "nut", "dv", "rm", "h264", "hevc", "obu"),
    *("mjpeg", "yuv4mpegpipe", "m4v", "mjpeg_2000", "vc1", "webp_anim", "wtv"),
    *("wav", "mp3", "flac", "aac"),  # to say that they hold no video
)
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".gif", ".3gp", ".mxf", ".y4m"),
)
MISSING_SECONDS = 0.5  # that are not told; headers and clocks are not exact
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


class BrokenVideoError(ValueError):
    """A video that cannot be read to its end.

    Args:
        read: How many frames were given before.
        promised: How many there should be, as far as that is known.
    """

    def __init__(self, message: str, *, read: int, promised: int | None):
        super().__init__(message)
        self.frames_read = read
        self.frames_promised = promised


class VideoFile:
    """Any file that FFmpeg reads; turned upright if it says how it was held.

    Raises:
        ValueError: If the file is not a video, has no frames, or frames of several
            sizes.
        BrokenVideoError: After the last sound frame, if it is cut short or damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.name = _name(self.path.stem)
        with self._open() as container:
            stream = container.streams.video[0]
            rates = (stream.average_rate, stream.guessed_rate, DEFAULT_FPS)
            rate = next(rate for rate in rates if rate and rate > 0)
            self.fps = Fraction(rate.numerator, rate.denominator)  # PyAV 19 has its own
            self._seconds = _seconds(container, stream)
            self.num_frames = stream.frames or None
            if self.num_frames is None and self._seconds:
                self.num_frames = round(self._seconds * self.fps)
            # Only what the file counts: duration times rate is a guess.
            self._promised = stream.frames or None
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
            index, end, gap = 0, None, (0.0, 0.0)
            for frame in self._decode(container):
                self._check_pixels(frame)
                # A display matrix counts anticlockwise, as rot90 does.
                image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if self.height:
                    _check_size(image.shape[:2], self, f"{self.path}: frame {index}")
                yield index, np.ascontiguousarray(image)
                index += 1
                if frame.pts is not None:
                    start = float(frame.pts * stream.time_base)
                    if end is not None:
                        gap = max(gap, (end, start), key=lambda gap: gap[1] - gap[0])
                    end = start + float((frame.duration or 0) * stream.time_base)
            if end is not None:
                self._check_end(stream, end, index)
            self._tell_missing(index, gap)

    def _open(self) -> av.container.InputContainer:
        try:
            if not self.path.is_file():
                raise ValueError("not a regular file")
            # Playlists would lead to other files, and live ones never end.
            forms = {"format_whitelist": ",".join(CONTAINERS)}
            container = av.open(f"file:{self.path}", options=forms)
        except (av.error.FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{self.path}: cannot be opened as a video ({why}). Expected a file "
                "that FFmpeg reads, complete and not encrypted."
            ) from error
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            container.close()
            raise ValueError(f"{self.path}: holds no video, only {kinds}.")
        codec = container.streams.video[0].codec_context
        if codec is None:
            container.close()
            raise ValueError(
                f"{self.path}: FFmpeg does not know how its frames are encoded. "
                "Convert it, or copy it again."
            )
        self._check_pixels(codec)
        return container

    def _check_pixels(self, of: av.VideoCodecContext | av.VideoFrame):
        if fault := declared.size_fault(of.height, of.width):
            raise ValueError(f"{self.path}: {fault} Shrink the video.")

    def _decode(
        self, container: av.container.InputContainer
    ) -> Iterator[av.VideoFrame]:
        """The frames before the first that is damaged."""
        stream = container.streams.video[0]
        # "AUTO" would lose frames and errors near damage. Of 1280 x 720, two busy cores
        # decode 290 to 350 frames a second so, and 290 to 660 with "AUTO".
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(declared.MOST_PIXELS)}
        count, damage = 0, None
        packets = container.demux(stream)
        while damage is None:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.is_corrupt:  # as the last of a file that was cut
                    damage = "data missing or wrong"
                    frames = stream.codec_context.decode(None)  # those before it
                else:
                    frames = packet.decode()
            except av.error.FFmpegError as error:
                damage, frames = error.strerror, []
            for frame in frames:
                # FFmpeg paints over what it cannot decode and goes on; labels there
                # would lie.
                if frame.is_corrupt:
                    damage = "data missing or wrong"
                    break
                yield frame
                count += 1
        what = f"frame {count} cannot be decoded ({damage})"
        raise self._broken(what, count) from None

    def _broken(self, what: str, count: int) -> BrokenVideoError:
        of = f" of {self._promised} promised" if self._promised else ""
        return BrokenVideoError(
            f"{self.path}: {what}; {count}{of} frames can be read. Copy the file "
            f"again, or keep what is there: ffmpeg -i {self.path.name} shorter.mp4",
            read=count,
            promised=self._promised,
        )

    def _check_end(self, stream: av.VideoStream, end: float, count: int):
        """Of a file cut short FFmpeg only says that it has ended."""
        start = float((stream.start_time or 0) * stream.time_base)
        missing = (self._seconds or 0) - (end - start)
        fewer = self._promised is None or count < self._promised
        if missing > MISSING_SECONDS or (fewer and containers.is_cut(self.path)):
            raise self._broken("is cut short", count)

    def _tell_missing(self, count: int, gap: tuple[float, float]):
        """Damage that leaves no trace, but also what a camera or an edit left out."""
        if self._promised and count < self._promised:
            logging.warning(
                "%s: %d of %d promised frames were read; the others may be lost.",
                *(self.path, count, self._promised),
            )
        elif not self._promised and gap[1] - gap[0] > MISSING_SECONDS:
            logging.warning(
                "%s: no frame from %.1f to %.1f s; some may be lost.", self.path, *gap
            )


def _seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> float | None:
    """How long the pictures last, as the header says."""
    said = []
    if stream.duration:
        said.append(float(stream.duration * stream.time_base))
    if written := re.fullmatch(  # Matroska
        r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")
    ):
        hours, minutes, seconds = map(float, written.groups())
        said.append(3600 * hours + 60 * minutes + seconds)
    # Sound may last longer than the pictures, and a cut of both shorter than either.
    if container.duration and (said or len(container.streams) == 1):
        said.append(container.duration / av.time_base)
    return min(said, default=None)


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
            raise BrokenVideoError(
                f"{self.paths[index]}: frame {index} of {self.name!r} cannot be read. "
                f"{error} Or choose the frames with a glob.",
                read=index,
                promised=self.num_frames,
            ) from error


class Place(NamedTuple):
    """A video that is not opened yet."""

    name: str
    paths: tuple[pathlib.Path, ...]  # the file, or those of the frames
    open: Callable[[], InputVideo]  # raises what is wrong with it


def find(*patterns: str | os.PathLike, fps: Fraction = DEFAULT_FPS) -> list[InputVideo]:
    """The videos at some `places`, all opened.

    Raises:
        ValueError: If nothing is there, what is there is no video, or names are equal.
    """
    return [place.open() for place in places(*patterns, fps=fps)]


def places(*patterns: str | os.PathLike, fps: Fraction = DEFAULT_FPS) -> list[Place]:
    """The videos that paths or globs stand for, each once.

    A file is a video (an image: a video of one frame). A folder's images are the frames
    of one video, in natural order (2 before 10); a folder without images stands for its
    video files. A glob of images is one video for each folder they lie in; of video
    files or folders, one video each. What is no video is told when it is opened.

    Args:
        patterns: E.g. "clip.mp4", "frames/", "frames/*.jpg", "videos/*.mp4",
            "JPEGImages/480p/*".
        fps: Of videos made of images.

    Raises:
        ValueError: If two of them have one name.
    """
    found = [place for pattern in patterns for place in _places(pattern, fps)]
    once = {
        tuple(path.resolve() for path in place.paths) or id(place): place
        for place in found
    }
    names = collections.Counter(place.name for place in once.values() if place.paths)
    for name, count in names.items():
        if count == 1:
            continue
        raise ValueError(
            f"{', '.join(map(os.fspath, patterns))}: {count} videos are called "
            f"{name!r}, and results go by name. Rename them, or take them one at a "
            "time."
        )
    return list(once.values())


def _places(pattern: str | os.PathLike, fps: Fraction) -> list[Place]:
    pattern = os.fspath(pattern)
    if os.path.exists(pattern):  # a name may itself hold a "*" or "["
        matches = [pathlib.Path(pattern)]
    else:
        found = images.natural(glob.glob(pattern, recursive=True))
        matches = [path for path in found if files.is_data(path)]
    if not matches:
        return _none(
            pattern,
            f"{pattern}: no such file or folder, and as a glob it matches nothing. "
            "Expected a video file, a folder of frames or of videos, or a glob.",
        )
    frames = [path for path in matches if _is_image(path)]
    if frames and len(frames) < len(matches):
        other = next(path for path in matches if path not in frames)
        return _none(
            pattern,
            f"{pattern}: matches images ({frames[0].name}) and others ({other.name}). "
            "Expected one kind; narrow the glob, e.g. to *.jpg.",
        )
    if len(frames) == 1:
        return [_sequence(frames, frames[0].stem, fps)]
    if frames:
        of_folders = collections.defaultdict(list)
        for path in frames:
            of_folders[path.parent].append(path)
        return [
            _sequence(paths, _folder_name(folder), fps)
            for folder, paths in of_folders.items()
        ]
    return [
        place
        for path in matches
        for place in (_in_folder(path, fps) if path.is_dir() else [_file(path)])
    ]


def _in_folder(folder: pathlib.Path, fps: Fraction) -> list[Place]:
    entries = files.listed(folder)
    frames = images.natural(path for path in entries if _is_image(path))
    videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
    name = _folder_name(folder)
    if videos and frames:
        return _none(
            name,
            f"{folder}: holds images ({frames[0].name}) and videos ({videos[0].name}). "
            f"Say which by a glob, e.g. '{folder}/*{videos[0].suffix}'.",
        )
    if videos:
        return [_file(path) for path in images.natural(videos)]
    if not frames:
        others = ", ".join(sorted(path.name for path in entries)[:3]) or "nothing"
        return _none(
            name,
            f"{folder}: no images and no videos in this folder, but {others}. Expected "
            f"frames ({' '.join(images.SUFFIXES)}) or videos; for several folders of "
            f"frames give a glob, e.g. '{folder}/*'.",
        )
    stem, count = collections.Counter(path.stem for path in frames).most_common(1)[0]
    if count > 1:
        return _none(
            name,
            f"{folder}: {count} images are called {stem!r}, with different endings. "
            "Expected one per frame; give a glob, e.g. "
            f"'{folder}/*{frames[0].suffix}'.",
        )
    return [_sequence(frames, name, fps)]


def _none(name: str, fault: str) -> list[Place]:
    def refuse():
        raise ValueError(fault)

    return [Place(name, (), refuse)]


def _file(path: pathlib.Path) -> Place:
    return Place(_plain(path.stem), (path,), lambda: VideoFile(path))


def _sequence(paths: list[pathlib.Path], name: str, fps: Fraction) -> Place:
    name = _name(name)
    return Place(name, tuple(paths), lambda: ImageSequence(paths, name=name, fps=fps))


def _is_image(path: pathlib.Path) -> bool:
    return images.is_image(path) and path.is_file()


def _folder_name(folder: pathlib.Path) -> str:
    return os.path.basename(os.path.abspath(folder))  # of "..", too


def _name(given: str) -> str:
    """The name of a video, by which its results are called; a change is told."""
    name = _plain(given)
    if name != given:
        logging.warning("The video %r goes by the name %r.", given, name)
    return name


def _plain(given: str) -> str:
    """No dots at its ends.

    "..", say, of a file called "...mp4", would lead out of the folder of results.
    """
    return given.strip(". ") or "video"


def _check_size(size: tuple[int, ...], source: InputVideo, where: str):
    expected = source.height, source.width
    images.check_size(size, expected, where, "the frames before it are")
