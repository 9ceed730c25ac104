"""An object that was away keeps its number: it is known again by its colours.

Systems forget what they do not see, so an object that was hidden, or left and came
back, has a new label. Here a label that is new is compared with the tracks that have
ended a short while ago; if it looks like one of them, and like no other, it takes that
one's label. Labels that have come out are final: frames wait for nothing.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from absl import logging
from jaxtyping import Float, Float32, Int32, UInt8, UInt16
from scipy import ndimage

from stemseg_jax import geometry, ranges
from stemseg_jax.tracking import statistics, thumbnails
from stemseg_jax.tracks import Frame, LabelStream, Tracker, TrackStatistics

SIDE = 192  # the longer one, of what is kept of a frame until its labels are there
LEVELS = 8  # of L, a and b each
BINS = LEVELS**3
SPREAD = 0.5  # of a colour, in bins
FADING = 0.9  # a frame counts so much less with each one after it
LEAST_AREA = 2e-4  # square diagonals of the frame; the colours of less say nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejoining:
    """When a new label is an old one.

    Args:
        max_absence: The most frames between the last with the old label and the first
            with the new one. 0: no label changes.
        min_similarity: Of the colours, in [0, 1]; experiments/absences says what it
            brings.
        margin: By how much the two are more alike than either is with another track
            or label that comes into question.
        reach: How far an object may be from where it was last seen, or from the way it
            would have gone on since, in diagonals of the frame for each frame away.
            On top of that it may be as far as it is large.
        growth: How many times the area that it had at most lately it may have.
    """

    max_absence: int = 0
    min_similarity: float = 0.85
    margin: float = 0.05
    reach: float = 0.04
    growth: float = 4.0

    def __post_init__(self):
        for name, allowed in {
            "max_absence": ranges.Whole(),
            "min_similarity": ranges.PROBABILITY,
            "margin": ranges.Real(above=0, most=1),
            "reach": ranges.Real(least=0),
            "growth": ranges.Real(least=1),
        }.items():
            if not allowed.holds(value := getattr(self, name)):
                raise ValueError(f"rejoining.{name}={value!r}: expected {allowed}.")


def rejoined(
    track: Tracker, frames: Iterator[Frame], settings: Rejoining
) -> LabelStream:
    """The same parts, as soon as `track` gives them, with fewer labels.

    The statistics of joined tracks are merged, and tell the frames of the joins.
    Should a system itself give again a label that another object has taken since, both
    go by it.
    """
    if not settings.max_absence:
        return (yield from track(frames))
    waiting, names = _Colours(), _Names(settings)
    labelled = track(waiting.of(frames))
    while True:
        try:
            part = next(labelled)
        except StopIteration as end:
            return names.merged(end.value)
        looks = [seen(x, waiting.take(), part.geometry) for x in part.labels]
        names.add(part.first, looks)
        yield part._replace(labels=names.given(part.labels))


class _Colours:
    """What is kept of frames that have gone in until their labels come out."""

    def __init__(self):
        self._waiting: collections.deque[np.ndarray] = collections.deque()

    def of(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self._waiting.append(colours(frame.image))
            yield frame

    def take(self) -> UInt16[np.ndarray, "y x"]:
        return self._waiting.popleft()


def colours(image: UInt8[np.ndarray, "H W 3"]) -> UInt16[np.ndarray, "y x"]:
    """The bin of each pixel's colour, of a small copy of the frame."""
    size = geometry.scaled(image.shape[:2], SIDE / max(image.shape[:2]))
    lab = cv2.cvtColor(thumbnails.of(image, size), cv2.COLOR_RGB2LAB)
    L, a, b = cv2.split(cv2.LUT(lab, LEVEL).astype(np.uint16))
    return (L * LEVELS + a) * LEVELS + b


def _level(low, high):
    """Of each value from 0 to 255."""
    levels = (np.arange(256) - low) * LEVELS // (high - low)
    return np.clip(levels, 0, LEVELS - 1).astype(np.uint8)


# The levels of L, a and b; few a and b lie outside.
LEVEL = np.stack([_level(0, 256), _level(64, 192), _level(64, 192)], axis=-1)[None]


class Seen(NamedTuple):
    """A label in one frame; lengths in diagonals of the frame."""

    colours: Float32[np.ndarray, "bins"]  # cells of each
    centre: Float[np.ndarray, "2"]  # (y, x)
    area: float


def seen(
    labels: Int32[np.ndarray, "h w"],
    bins: UInt16[np.ndarray, "y x"],
    of: geometry.Geometry,
) -> dict[int, Seen]:
    """All labels of a frame."""
    height, width = (math.ceil(n / of.stride) for n in of.resized)
    labels = labels[:height, :width]  # without the padding
    rows, columns = (
        np.minimum((np.arange(cells) + 0.5) * of.stride / resized * n, n - 1).astype(
            int
        )
        for cells, resized, n in zip(labels.shape, of.resized, bins.shape, strict=True)
    )
    bins = bins[np.ix_(rows, columns)]
    cell = of.stride / np.hypot(*of.resized)
    found = {}
    for label in present(labels):
        places = np.nonzero(labels == label)
        counts = np.bincount(bins[places], minlength=BINS).astype(np.float32)
        centre = np.mean(places, axis=1) * cell
        found[label] = Seen(counts, centre, len(places[0]) * cell**2)
    return found


def present(labels: Int32[np.ndarray, "*T h w"]) -> list[int]:
    """The labels of tracks, ascending; faster than `np.unique`."""
    counts = np.bincount(np.maximum(labels, 0).ravel())
    counts[0] = 0
    return np.flatnonzero(counts).tolist()


@dataclasses.dataclass
class _Remembered:
    """A track as it was seen lately: all frames before count, the last ones most."""

    last: int  # the frame in which it was seen last
    centre: Float[np.ndarray, "2"]
    colours: Float[np.ndarray, "bins"]
    area: float
    velocity: Float[np.ndarray, "2"]  # diagonals of the frame, a frame

    @classmethod
    def new(cls, frame: int, look: Seen) -> "_Remembered":
        return cls(frame, look.centre, look.colours, look.area, np.zeros(2))

    def update(self, frame: int, look: Seen) -> None:
        if frame > self.last:
            step = (look.centre - self.centre) / (frame - self.last)
            self.velocity = (self.velocity + step) / 2
        self.last, self.centre = frame, look.centre
        self.colours = FADING * self.colours + look.colours
        self.area = max(FADING * self.area, look.area)  # before it was half hidden

    def may_be(self, look: Seen, frame: int, settings: Rejoining) -> bool:
        """Whether it can have this place and size in a later frame."""
        away = frame - self.last
        step = look.centre - self.centre
        went_on = away * self.velocity
        # The nearest point of the way is compared: it may have stopped anywhere.
        share = np.clip(step @ went_on / max(went_on @ went_on, 1e-12), 0, 1)
        distance = np.linalg.norm(step - share * went_on)
        large = max(look.area, self.area)
        near = distance <= np.sqrt(large) + settings.reach * away
        return bool(near and large <= settings.growth * self.area)


class _Names:
    """Which labels go by which, so far."""

    def __init__(self, settings: Rejoining):
        self._settings = settings
        self._of: dict[int, int] = {}  # every label that was seen
        self._tracks: dict[int, _Remembered] = {}  # by the label they go by
        self._joins: dict[int, list[int]] = collections.defaultdict(list)

    def add(self, first: int, looks: Sequence[Mapping[int, Seen]]) -> None:
        """Takes the next frames; `first` is the index of the first of them."""
        for frame, look in enumerate(looks, start=first):
            if new := [label for label in look if label not in self._of]:
                self._name(new, frame, looks[frame - first :])
            for label, view in look.items():
                name = self._of[label]
                if name in self._tracks:
                    self._tracks[name].update(frame, view)
                else:
                    self._tracks[name] = _Remembered.new(frame, view)

    def _name(self, new, frame, ahead):
        """Names labels that are seen for the first time, now and in frames ahead."""
        oldest = frame - 1 - self._settings.max_absence
        self._tracks = {k: t for k, t in self._tracks.items() if t.last >= oldest}
        names = list(self._tracks)
        rows = [[self._alike(k, name, frame, ahead) for name in names] for k in new]
        likeness = np.reshape(rows, (len(new), len(names)))
        # What looks like a track that is still there may be a piece of that one.
        there = {self._of.get(label) for look in ahead for label in look}
        self._of |= {label: label for label in new}
        for row, column in mutual(likeness, self._settings):
            label, name = new[row], names[column]
            if name in there:
                continue
            logging.debug(
                "Frame %d: track %d is back after %d frame(s), by a likeness of %.2f.",
                *(frame, name, frame - self._tracks[name].last - 1),
                likeness[row, column],
            )
            self._of[label] = name
            self._joins[name].append(frame)

    def _alike(self, label, name, frame, ahead):
        """0 where they cannot be one object."""
        track, look = self._tracks[name], ahead[0][label]
        counts = sum(view[label].colours for view in ahead if label in view)
        area = max(view[label].area for view in ahead if label in view)
        if area < LEAST_AREA or not track.may_be(look, frame, self._settings):
            return 0.0
        return likeness(track.colours, counts)

    def given(self, labels: Int32[np.ndarray, "*T h w"]) -> Int32[np.ndarray, "*T h w"]:
        """The same labels by name."""
        names = {k: self._of.get(k, k) for k in present(labels)}
        given = labels.copy()
        for label, name in names.items():
            if name != label:
                given[labels == label] = name
        return given

    def merged(
        self, tracks: Mapping[int, TrackStatistics]
    ) -> dict[int, TrackStatistics]:
        """One for each name, in the order of their first appearance."""
        parts = collections.defaultdict(list)
        for label, track in tracks.items():
            parts[self._of.get(label, label)].append(track)
        return {
            name: statistics.merged(several)._replace(joined=tuple(self._joins[name]))
            if len(several) > 1
            else several[0]
            for name, several in parts.items()
        }


def likeness(a: Float[np.ndarray, "bins"], b: Float[np.ndarray, "bins"]) -> float:
    """Of two histograms in [0, 1], whatever their sums (Bhattacharyya).

    Neighbouring bins are alike, too, or else a little more light were another colour.
    """
    a, b = (
        ndimage.gaussian_filter(x.reshape([LEVELS] * 3), SPREAD, mode="nearest")
        for x in (a, b)
    )
    return float(np.sqrt(a * b).sum() / max(math.sqrt(a.sum() * b.sum()), 1e-12))


def mutual(
    similarities: Float[np.ndarray, "N M"], settings: Rejoining
) -> list[tuple[int, int]]:
    """Pairs that are alike enough, and by the margin more than either with others."""
    pairs = []
    for row, column in np.argwhere(similarities >= settings.min_similarity).tolist():
        others = similarities.copy()
        others[row, column] = 0
        others = max(others[row].max(), others[:, column].max())
        if similarities[row, column] - others >= settings.margin:
            pairs.append((row, column))
    return pairs
