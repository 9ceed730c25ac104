"""Videos of a page: the frames, their true objects, and the found ones."""

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from stemseg_jax.data import encoded_video, inputs, readers
from stemseg_jax.formats import rle
from stemseg_jax.outputs import davis_results, film, overlay, side_by_side
from stemseg_jax.tracks import Track, VideoTracks

# Datasets give no frame rate: a video is shown in so many seconds, but with no fewer
# and no more frames a second than these.
SECONDS = 4
SLOWEST, FASTEST = 2, 10
MOST_FRAMES = 600  # of a film; of a longer video every n-th frame is taken
# A picture is shrunk until its longer side has TILE pixels. If its shorter side would
# then have fewer than SHORTER, the longer one may have up to LONGER.
TILE = 480
SHORTER, LONGER = 240, 960
DARK = 40  # grey level behind masks without frames


def stride(num_frames: int) -> int:
    """Every n-th frame is shown; gives n."""
    return max(math.ceil(num_frames / MOST_FRAMES), 1)


def clock(num_frames: int) -> list[float]:
    """When each frame of a dataset's video begins, and the last one ends."""
    fps = min(max(num_frames / SECONDS, SLOWEST), FASTEST)
    return [frame / fps for frame in range(num_frames + 1)]


def compared(
    video: readers.Video | None,
    found: VideoTracks,
    truth: VideoTracks | None = None,
    *,
    categories: Mapping[int, str],
    times: Sequence[float | int],
) -> film.Film:
    """Frames, the true objects if there are any, and the found ones, side by side.

    There is one frame at least.

    Args:
        video: What has the frames; without it masks are drawn over nothing.
        times: As of `clock`.

    Raises:
        ValueError: A frame cannot be read, or is of another size than its masks.
    """
    each = stride(found.num_frames)
    shown = range(0, found.num_frames, each)
    named = [("truth", truth)] * (truth is not None) + [("found", found)]
    artists = [_Artist(title, tracks, categories) for title, tracks in named]

    def frames() -> Iterator[film.Timed]:
        for t in shown:
            image = video.frame(t) if video else _blank(found)
            if image.shape[:2] != (found.height, found.width):
                raise ValueError(
                    f"{found.name}: its masks are {found.height} x {found.width}, but "
                    f"frame {t} is {image.shape[0]} x {image.shape[1]}."
                )
            image = _fitted(image, TILE)
            pictures = [("frame", image)] * (video is not None)
            pictures += [(own.title, own.draw(image, t)) for own in artists]
            yield side_by_side.tile(pictures), times[t]

    rate = (len(times) - 1) / (times[-1] - times[0]) / each
    poster = _fullest([tracks for _, tracks in named], shown)
    return film.film(frames(), fps=rate, poster=poster)


def of_file(path: pathlib.Path, *, longest: int) -> film.Film:
    """A smaller copy of a video, without its sound.

    Args:
        longest: Pixels of its longer side, as of `TILE`.

    Raises:
        ValueError: It is not there, is no video, or cannot be read to its end.
    """
    count = inputs.VideoFile(path).num_frames or 1
    choice = inputs.FrameChoice(stride=stride(count))
    source = inputs.VideoFile(path, choice=choice)
    frames = ((_fitted(frame.image, longest), frame.time) for frame in source)
    middle = (source.num_frames or 1) // 2
    return film.film(frames, fps=float(source.fps), poster=middle)


def true_tracks(video: readers.Video) -> VideoTracks | None:
    """The annotations as tracks, numbered from 1 in the order of their ids; None of a
    video without annotations."""
    if not video.annotated:
        return None
    kinds, masks = {}, {}
    for t in range(video.num_frames):
        labels = encoded_video.labels(video, t)
        for id, mask in labels.masks.items():
            own = masks.setdefault(id, [None] * video.num_frames)
            own[t] = rle.encode(mask)
            kinds[id] = labels.categories[id]
    tracks = (
        Track(number, kinds[id], math.nan, tuple(masks[id]))
        for number, id in enumerate(sorted(masks), start=1)
    )
    size = video.height, video.width, video.num_frames
    return VideoTracks(video.name, *size, tuple(tracks))


def _fullest(each: Sequence[VideoTracks], shown: Sequence[int]) -> int:
    """The place in `shown` of the frame with the most objects, near the middle."""
    masks = [track.segmentations for tracks in each for track in tracks.tracks]
    counts = [sum(own[t] is not None for own in masks) for t in shown]
    middle = (len(shown) - 1) / 2
    return max(range(len(shown)), key=lambda k: (counts[k], -abs(k - middle)))


class _Artist:
    """Draws the tracks of one kind over the frames of a video."""

    def __init__(self, title: str, tracks: VideoTracks, categories: Mapping[int, str]):
        self.title, self._tracks = title, tracks
        height, width = _size(tracks.height, tracks.width, TILE)
        names = {
            one.id: categories.get(one.category, "").replace("_", " ")
            for one in tracks.tracks
        }
        scale = overlay.enlargement(height, width)
        self._artist = overlay.Artist(names, scale=scale)

    def draw(self, image: np.ndarray, frame: int) -> UInt8[np.ndarray, "_ _ 3"]:
        labels = davis_results.paint(self._tracks, frame).astype(np.int32)
        size = image.shape[1::-1]
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        return self._artist.draw(image, labels)


def _blank(tracks: VideoTracks) -> UInt8[np.ndarray, "H W 3"]:
    return np.full((tracks.height, tracks.width, 3), DARK, np.uint8)


def _fitted(
    image: UInt8[np.ndarray, "_ _ 3"], longest: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Shrunk, if its longer side is longer than that."""
    height, width = _size(*image.shape[:2], longest)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _size(height: int, width: int, longest: int) -> tuple[int, int]:
    shorter, longer = sorted((height, width))
    scale = min(1.0, max(longest / longer, min(SHORTER / shorter, LONGER / longer)))
    return max(round(scale * height), 1), max(round(scale * width), 1)
