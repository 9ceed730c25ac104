"""From the labels of frames to the tracks of a video: keep, choose, restore.

Which tracks are kept, and what they are, is known only when a video has ended; until
then its label maps wait here in compressed form.
"""

import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32

from stemseg_jax import choices
from stemseg_jax.formats import rle
from stemseg_jax.geometry import Geometry, restore, restore_values
from stemseg_jax.tracks import LabelledFrames, Track, TrackStatistics, VideoTracks

# What a track's score is, by the word that `TrackStatistics.scored_by` says.
SCORES = {
    "size": "Its pixels over those of the largest track that is kept.",
    "foreground": "Mean probability that what it covers is an object, over its frames.",
    "confidence": "Mean of all of its evidence.",
    "product": "Product of all of its evidence.",
    "seed": "Mean objectness of the seeds that it grew from, over its frames.",
}


class Chosen(NamedTuple):
    """A track that is kept."""

    label: int  # in the label maps
    id: int  # in the results, from 1
    category: int
    score: float


class LabelCollector:
    """What was said of the frames of one video, in order, compressed."""

    geometry: Geometry

    def __init__(self):
        self._labels: list[bytes] = []
        self._depths: list[bytes] = []

    def __len__(self) -> int:
        """Frames so far."""
        return len(self._labels)

    def add(self, part: LabelledFrames) -> None:
        """Takes the next frames; labels < 1 belong to no track."""
        assert part.first == len(self), f"frame {part.first} came, {len(self)} is due"
        assert not len(self) or part.geometry == self.geometry, "one geometry per video"
        size = tuple(part.geometry.labels)
        assert part.labels.shape[1:] == size, (part.labels.shape, part.geometry)
        self.geometry = part.geometry
        self._labels += [_compressed(frame, np.int32) for frame in part.labels]
        if part.depth is not None:
            self._depths += [_compressed(frame, np.float32) for frame in part.depth]

    def labels(self, index: int) -> Int32[np.ndarray, "h w"]:
        """A label map as it came."""
        return self._whole(self._labels[index], np.int32)

    def depth(self, index: int) -> Float[np.ndarray, "H W"] | None:
        """The depth of the original frame, if the system estimates it."""
        if not self._depths:
            return None
        return restore_values(
            self._whole(self._depths[index], np.float32), self.geometry
        )

    def _whole(self, data: bytes, kind: type) -> np.ndarray:
        frame = np.frombuffer(zlib.decompress(data), kind)
        return frame.reshape(self.geometry.labels)

    def masks(
        self, index: int, labels: Sequence[int]
    ) -> dict[int, Bool[np.ndarray, "H W"]]:
        """The masks, in the original frame, of those labels that frame `index` has."""
        frame = self.labels(index)
        present = np.intersect1d(frame, labels)
        return {int(k): restore(frame == k, self.geometry) for k in present}

    def tracks(
        self,
        name: str,
        chosen: Sequence[Chosen],
        *,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> VideoTracks:
        """The chosen tracks with their masks, painted in the order given.

        A mask of a few cells may vanish when it is restored; it is kept, empty.

        Args:
            progress: Is handed the frames' indices to pass on, e.g. `tqdm.tqdm`.
        """
        labels = [track.label for track in chosen]
        segmentations = {label: [None] * len(self) for label in labels}
        for index in progress(range(len(self))):
            for label, mask in self.masks(index, labels).items():
                segmentations[label][index] = rle.encode(mask)
        height, width = self.geometry.original
        tracks = (
            Track(t.id, t.category, t.score, tuple(segmentations[t.label]))
            for t in chosen
        )
        return VideoTracks(name, height, width, len(self), tuple(tracks))


def collect(
    frames: Generator[LabelledFrames, None, dict[int, TrackStatistics]],
) -> tuple[LabelCollector, dict[int, TrackStatistics]]:
    """Runs `System.track` to its end: what it yields, and what it returns."""
    labels = LabelCollector()
    while True:
        try:
            labels.add(next(frames))
        except StopIteration as end:
            return labels, end.value


def _compressed(frame: np.ndarray, kind: type) -> bytes:
    return zlib.compress(np.ascontiguousarray(frame, kind), level=1)


def select(
    statistics: Mapping[int, TrackStatistics],
    *,
    by: str,
    limit: int,
    category_from: str = "logits",
    min_score: float = 0.0,
    min_frames: int = 1,
) -> tuple[Chosen, ...]:
    """The tracks to keep, in the order in which they are painted.

    By "lifetime" (last frame less first): the longest, numbered and painted from the
    longest, so that short tracks lie on top. By "pixels": the largest; numbered from
    the shortest lifetime, painted in the order of their labels. Of equals the track
    that appears first comes first, then the smaller label.

    The score is the system's own where it gives one, and otherwise a track's pixels
    over those of the largest track kept.

    Args:
        statistics: Of each label, as `System.track` returns them.
        category_from: "logits": the largest mean logit, background apart. "votes": the
            class of most pixels; without a vote, or between equals, the lowest. 0 for
            tracks that have neither.
        min_score, min_frames: First tracks with fewer frames from the first to the last
            are left out, then those of a lower score among the others.

    Source: the authors' writers: "lifetime" as for DAVIS and YouTube-VIS, "pixels" as
        for KITTI-MOTS, whose overlaps go to the largest label.
    """
    measures = {
        "lifetime": lambda label: statistics[label].last - statistics[label].first,
        "pixels": lambda label: statistics[label].pixels,
    }
    choices.known("selection.by", by, measures)
    labels = _qualified(statistics, min_score, min_frames)
    labels = sorted(labels, key=lambda label: (statistics[label].first, label))
    labels = sorted(labels, key=measures[by], reverse=True)[:limit]
    if by == "pixels":
        labels = sorted(labels, key=measures["lifetime"])
    largest = max((statistics[label].pixels for label in labels), default=1)
    chosen = tuple(
        Chosen(
            label=label,
            id=number,
            category=_category(statistics[label], category_from),
            score=_score(statistics[label], largest),
        )
        for number, label in enumerate(labels, start=1)
    )
    return tuple(sorted(chosen)) if by == "pixels" else chosen


def left_out(
    statistics: Mapping[int, TrackStatistics],
    *,
    limit: int,
    min_score: float = 0.0,
    min_frames: int = 1,
    **_,
) -> dict[str, int]:
    """How many tracks `select`, with the same options, leaves out, by the reason."""
    lasting = _qualified(statistics, 0.0, min_frames)
    qualified = _qualified(statistics, min_score, min_frames)
    counts = {
        f"shorter than {min_frames} frames": len(statistics) - len(lasting),
        f"score below {min_score:g}": len(lasting) - len(qualified),
        f"beyond the first {limit}": max(len(qualified) - limit, 0),
    }
    return {reason: count for reason, count in counts.items() if count}


def _qualified(
    statistics: Mapping[int, TrackStatistics], min_score: float, min_frames: int
) -> list[int]:
    """Labels of the tracks that last and are sure enough."""
    lasting = {
        label: track
        for label, track in statistics.items()
        if track.last - track.first + 1 >= min_frames
    }
    largest = max((track.pixels for track in lasting.values()), default=1)
    return [k for k, track in lasting.items() if _score(track, largest) >= min_score]


def _score(track: TrackStatistics, largest: int) -> float:
    return track.pixels / largest if track.score is None else track.score


def _category(track: TrackStatistics, category_from: str) -> int:
    evidence = {"logits": track.logits, "votes": track.votes}
    option = "selection.category_from"
    classes = evidence[choices.known(option, category_from, evidence)]
    if classes is None and track.logits is not None:
        raise ValueError(
            f"{option}={category_from!r}: votes were not counted while the model "
            "tracked; set this option when the model is loaded."
        )
    return 0 if classes is None else 1 + int(np.argmax(classes[1:]))
