"""From paths, globs and addresses to videos."""

import collections
import functools
import glob
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from stemseg_jax.data.inputs import addresses, naming
from stemseg_jax.data.inputs.base import InputVideo
from stemseg_jax.data.inputs.frame_choice import ALL, FrameChoice
from stemseg_jax.data.inputs.image_sequence import ImageSequence
from stemseg_jax.data.inputs.live import LiveVideo
from stemseg_jax.data.inputs.video_file import VideoFile
from stemseg_jax.formats import files, images

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".gif", ".3gp", ".mxf", ".y4m"),
)


class Place(NamedTuple):
    """A video that is not opened yet."""

    name: str
    paths: tuple[pathlib.Path, ...]  # the file, or those of the frames; none if live
    open: Callable[[], InputVideo]  # raises what is wrong with it
    live: bool = False  # whether it can be read once only


def find(*patterns: str | os.PathLike, choice: FrameChoice = ALL) -> list[InputVideo]:
    """The videos at some `places`, all opened.

    Raises:
        ValueError: If nothing is there, or what is there is no video.
    """
    return [place.open() for place in places(*patterns, choice=choice)]


def places(*patterns: str | os.PathLike, choice: FrameChoice = ALL) -> list[Place]:
    """The videos that paths, globs and addresses stand for, each once.

    A file is a video (an image: a video of one frame). A folder's images are the frames
    of one video, in natural order (2 before 10); a folder without images stands for its
    video files. A glob of images is one video for each folder they lie in; of video
    files or folders, one video each. What is no video is told when it is opened. Videos
    of one name are told apart by what is around them (`naming.apart`).

    Args:
        patterns: E.g. "clip.mp4", "frames/", "frames/*.jpg", "videos/*.mp4",
            "JPEGImages/480p/*", "camera:0", "rtsp://host/path".
        choice: Of each of them.
    """
    once = {v.key: v for pattern in patterns for v in _found(pattern)}
    sound = {key: video for key, video in once.items() if not video.fault}
    names = naming.apart([video.title for video in sound.values()])
    named = dict(zip(sound, names, strict=True))
    return [v.place(named.get(key, v.title.name), choice) for key, v in once.items()]


class _Found(NamedTuple):
    """What a pattern stands for; it has a name of its own only among all others."""

    title: naming.Title
    paths: tuple[pathlib.Path, ...] = ()
    address: str = ""
    fault: str = ""

    @property
    def key(self) -> object:
        """Which is equal if it is the same video."""
        paths = tuple(path.resolve() for path in self.paths)
        return paths or self.address or id(self)

    def place(self, name: str, choice: FrameChoice) -> Place:
        opened = functools.partial(self.open, name, choice)
        return Place(name, self.paths, opened, live=bool(self.address))

    def open(self, name: str, choice: FrameChoice) -> InputVideo:
        if self.fault:
            raise ValueError(self.fault)
        if self.address:
            return LiveVideo(self.address, name=name, choice=choice)
        if images.is_image(self.paths[0]):
            return ImageSequence(self.paths, name=name, choice=choice)
        return VideoFile(self.paths[0], name=name, choice=choice)


def _found(pattern: str | os.PathLike) -> list[_Found]:
    pattern = os.fspath(pattern)
    if addresses.is_live(pattern):
        return [_Found(naming.Title(addresses.name(pattern)), address=pattern)]
    if scheme := addresses.scheme(pattern):
        known = ", ".join(addresses.SCHEMES)
        name = addresses.shown(pattern)
        fault = f"{name}: {scheme}:// is not read. Expected one of {known}, or a path."
        return _none(name, fault)
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
        return [_Found(naming.of_file(frames[0]), tuple(frames))]
    if frames:
        of_folders = collections.defaultdict(list)
        for path in frames:
            of_folders[path.parent].append(path)
        return [
            _Found(naming.of_folder(folder), tuple(paths))
            for folder, paths in of_folders.items()
        ]
    return [
        video
        for path in matches
        for video in (_in_folder(path) if path.is_dir() else [_file(path)])
    ]


def _in_folder(folder: pathlib.Path) -> list[_Found]:
    entries = files.listed(folder)
    frames = images.natural(path for path in entries if _is_image(path))
    videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
    title = naming.of_folder(folder)
    if videos and frames:
        return _none(
            title.name,
            f"{folder}: holds images ({frames[0].name}) and videos ({videos[0].name}). "
            f"Say which by a glob, e.g. '{folder}/*{videos[0].suffix}'.",
        )
    if videos:
        return [_file(path) for path in images.natural(videos)]
    if not frames:
        others = ", ".join(sorted(path.name for path in entries)[:3]) or "nothing"
        return _none(
            title.name,
            f"{folder}: no images and no videos in this folder, but {others}. Expected "
            f"frames ({' '.join(images.SUFFIXES)}) or videos; for several folders of "
            f"frames give a glob, e.g. '{folder}/*'.",
        )
    stem, count = collections.Counter(path.stem for path in frames).most_common(1)[0]
    if count > 1:
        return _none(
            title.name,
            f"{folder}: {count} images are called {stem!r}, with different endings. "
            "Expected one per frame; give a glob, e.g. "
            f"'{folder}/*{frames[0].suffix}'.",
        )
    return [_Found(title, tuple(frames))]


def _none(name: str, fault: str) -> list[_Found]:
    return [_Found(naming.Title(name), fault=fault)]


def _file(path: pathlib.Path) -> _Found:
    return _Found(naming.of_file(path), (path,))


def _is_image(path: pathlib.Path) -> bool:
    return images.is_image(path) and path.is_file()
