"""The labels of one video as they become final, its stages in threads."""

import collections
import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from stemseg_jax import device_memory, models, pipelining
from stemseg_jax.data import inputs
from stemseg_jax.geometry import Geometry, SizeRule, restore
from stemseg_jax.outputs import collector
from stemseg_jax.tracking import continuity
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

FRAMES_AHEAD = 8  # decoded before they are asked for
PARTS_AHEAD = 2  # results of windows that wait for whoever iterates


class LabelledFrame(NamedTuple):
    """One frame with its objects, which go by the labels of their tracks."""

    index: int
    image: UInt8[np.ndarray, "H W 3"] | None  # RGB, if it was asked for
    time: float  # seconds
    labels: Int32[np.ndarray, "h w"]  # from 1; as the network sees the frame
    geometry: Geometry
    maps: Mapping[str, Float[np.ndarray, "_ _ _"]] | None  # the same

    def masks(self) -> dict[int, Bool[np.ndarray, "H W"]]:
        """The mask of each object, as large as the frame."""
        present = np.unique(self.labels)
        return {
            int(k): restore(self.labels == k, self.geometry) for k in present if k > 0
        }


class Found(NamedTuple):
    """A track that is kept."""

    label: int  # by which its masks go
    id: int  # in result files, from 1
    category: str  # "" if the model has none
    score: float  # `TrackStatistics.scored_by` says of what
    first: int  # frame in which it is seen
    last: int


class Labelling:
    """Labels a video while one iterates over it, which goes once.

        for frame in labelling:
            frame.masks()
        labelling.found

    Frames are decoded, and the device works, ahead of whoever iterates. Memory does not
    grow with the length of the video.

    Args:
        settings: Whether shots are told apart, and lost tracks found again.
        images: Whether frames come with their images, which takes the memory of two
            windows of them.
        maps: Whether they come with what the network says of them.

    Attributes:
        statistics: Of each label, once the video has ended.
        fault: Why it ended early, if it did: it breaks off or is damaged.
        stopped: Whether it ended by `stop`.
    """

    statistics: dict[int, TrackStatistics] | None = None
    fault: inputs.BrokenVideoError | None = None
    stopped: bool = False
    _begun: bool = False

    def __init__(
        self,
        model: models.Model,
        source: inputs.InputVideo,
        *,
        settings: continuity.Continuity,
        images: bool = True,
        maps: bool = False,
    ):
        self.model, self.source = model, source
        self._settings, self._images, self._maps = settings, images, maps
        self._unlabelled: collections.deque[inputs.InputFrame] = collections.deque()

    def stop(self) -> None:
        """The next frame is the last, as if the video ended there."""
        self.stopped = True

    def __iter__(self) -> Iterator[LabelledFrame]:
        if self._begun:
            raise ValueError(
                f"{self.source.name} is labelled while one iterates, which goes once. "
                "Keep what you need of its frames, or label it again."
            )
        self._begun = True
        return self._labelled()

    def _labelled(self) -> Iterator[LabelledFrame]:
        with (
            contextlib.closing(
                pipelining.ahead(self._readable(), FRAMES_AHEAD)
            ) as read,
            contextlib.closing(
                pipelining.ahead(self._parts(read), PARTS_AHEAD)
            ) as parts,
        ):
            for part in parts:
                yield from self._frames_of(part)

    def _readable(self) -> Iterator[inputs.InputFrame]:
        """The frames before the first that cannot be read."""
        frames = iter(self.source)
        with contextlib.ExitStack() as stack:
            if hasattr(frames, "close"):  # a recording is whole once it is closed
                stack.enter_context(contextlib.closing(frames))
            try:
                for frame in frames:
                    yield frame
                    if self.stopped:
                        return
            except inputs.BrokenVideoError as error:
                if not error.frames_read:
                    raise
                self.fault = error

    def _parts(self, frames: Iterator[inputs.InputFrame]) -> Iterator[LabelledFrames]:
        labelled = self.model.labelled(
            self._kept(frames), settings=self._settings, maps=self._maps
        )
        with self._memory_explained():
            self.statistics = yield from labelled

    def _memory_explained(self) -> contextlib.AbstractContextManager:
        config, source = self.model.config, self.source
        rule = SizeRule(
            min_dim=config.evaluation.min_dim, max_dim=config.evaluation.max_dim
        )
        # Of images in memory the size is not known before the first.
        size = rule.resized(max(source.height, 1), max(source.width, 1))
        return device_memory.explained(
            f"labelling {source.name}, at most {rule.min_dim} x {rule.max_dim} of it",
            *device_memory.to_label(resized=size, dtype=config.model.dtype),
        )

    def _kept(self, frames: Iterator[inputs.InputFrame]) -> Iterator[Frame]:
        """As a system takes them; what else is known waits for the labels."""
        for frame in frames:
            image = frame.image if self._images else None
            self._unlabelled.append(frame._replace(image=image))
            yield Frame(frame.index, frame.image)

    def _frames_of(self, part: LabelledFrames) -> Iterator[LabelledFrame]:
        for k, labels in enumerate(part.labels):
            frame = self._unlabelled.popleft()
            assert frame.index == part.first + k, (frame.index, part.first, k)
            maps = part.maps and {name: of[k] for name, of in part.maps.items()}
            if self._maps and part.depth is not None:
                maps = {**(maps or {}), "depth": part.depth[k][..., None]}
            yield LabelledFrame(*frame, labels, part.geometry, maps)

    @property
    def found(self) -> tuple[Found, ...]:
        """The tracks that are sure enough, of a video that has ended.

        Raises:
            ValueError: If it has not.
        """
        if self.statistics is None:
            raise ValueError(
                f"Which tracks of {self.source.name} are kept is known at its end: "
                "iterate over all of its frames first, or call stop() and then so."
            )
        selection = self.model.config.selection.to_dict()
        selection["limit"] = len(self.statistics)  # that of a benchmark is not meant
        return tuple(
            Found(
                label=one.label,
                id=one.id,
                category=self.model.categories.get(one.category, ""),
                score=one.score,
                first=self.statistics[one.label].first,
                last=self.statistics[one.label].last,
            )
            for one in collector.select(self.statistics, **selection)
        )
