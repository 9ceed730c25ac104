"""What a video says of each of its tracks: sums on device, collected on the host."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.tracks import TrackStatistics


class SlotSums(NamedTuple):
    """What the cells of some frames say of each slot."""

    cells: Int32[Array, "T K"]  # of each slot in each frame
    logits: Float[Array, "K C"] | None = None  # summed over cells
    votes: Int32[Array, "K C"] | None = None  # cells whose best class is c
    confidences: Float[Array, "T K"] | None = None  # in [0, 1], of the system's own


def slot_sums(
    slots: Int32[Array, "T h w"],
    counted: Bool[Array, "T"],
    *,
    num_slots: int,
    logits: Float[Array, "T h w C"] | None = None,
    confidence: Float[Array, "T h w"] | None = None,
) -> SlotSums:
    """Adds up the cells of each slot, and their class logits.

    Args:
        slots: 0 ... K - 1, or -1 for none.
        counted: Frames that count; those that an earlier window had do not.
        num_slots: K.
        logits: Background first.
        confidence: Of each cell, in [0, 1]; a slot has its mean in each frame.
    """
    T, K = len(slots), num_slots
    slots = jnp.where(counted[:, None, None] & (slots >= 0), slots, K).reshape(T, -1)
    sum_by_slot = functools.partial(jax.ops.segment_sum, num_segments=K + 1)
    cells = jax.vmap(lambda x: sum_by_slot(jnp.ones_like(x), x))(slots)[:, :K]
    sums = SlotSums(cells)
    if confidence is not None:
        total = jax.vmap(sum_by_slot)(confidence.reshape(T, -1), slots)[:, :K]
        sums = sums._replace(confidences=total / jnp.maximum(cells, 1))
    if logits is None:
        return sums
    flat = logits.reshape(-1, logits.shape[-1])
    votes = jnp.zeros((K + 1, flat.shape[-1]), jnp.int32)
    return sums._replace(
        logits=sum_by_slot(flat, slots.ravel())[:K],
        votes=votes.at[slots.ravel(), flat.argmax(axis=-1)].add(1)[:K],
    )


@dataclasses.dataclass
class _Track:
    first: int
    last: int
    pixels: int = 0
    logits: Any = None
    votes: Any = None
    confidences: list[float] = dataclasses.field(default_factory=list)


class Accumulator:
    """The statistics of the tracks of one video while it goes by."""

    def __init__(self):
        self._tracks: dict[int, _Track] = {}  # in order of first appearance

    def add(self, start: int, ids: Int32[np.ndarray, "K"], sums: SlotSums) -> None:
        """Takes sums over cells that no earlier sums had.

        Args:
            start: The video's frame that the first row of `sums.cells` is.
            ids: Of each slot's track.
            sums: Fetched from the device.
        """
        for frame, row in enumerate(sums.cells, start=start):
            for slot in sorted(np.flatnonzero(row), key=lambda k: ids[k]):
                track = self._tracks.setdefault(int(ids[slot]), _Track(frame, frame))
                track.pixels += int(row[slot])
                track.last = frame
                if sums.confidences is not None:
                    track.confidences.append(sums.confidences[frame - start, slot])
        if sums.logits is None:
            return
        for slot in np.flatnonzero(sums.cells.sum(axis=0)):
            track = self._tracks[int(ids[slot])]
            track.logits = _added(track.logits, sums.logits[slot])
            track.votes = _added(track.votes, sums.votes[slot])

    def finish(self) -> dict[int, TrackStatistics]:
        """Of each track, in order of first appearance.

        A track's score is its mean confidence over the frames that show it.
        """
        return {
            number: TrackStatistics(
                pixels=track.pixels,
                first=track.first,
                last=track.last,
                logits=None if track.logits is None else track.logits / track.pixels,
                votes=track.votes,
                score=float(np.mean(track.confidences)) if track.confidences else None,
            )
            for number, track in self._tracks.items()
        }


def later(track: TrackStatistics, frames: int) -> TrackStatistics:
    """The same, so many frames later in a longer video."""
    return track._replace(
        first=track.first + frames,
        last=track.last + frames,
        joined=tuple(frame + frames for frame in track.joined),
    )


def merged(parts: Sequence[TrackStatistics]) -> TrackStatistics:
    """Of one object that was tracked in several parts.

    Means are weighed by the parts' pixels. What is not known how to merge is that of
    the part with most pixels.
    """
    pixels = [part.pixels for part in parts]
    largest = max(parts, key=lambda part: part.pixels)
    return largest._replace(
        pixels=sum(pixels),
        first=min(part.first for part in parts),
        last=max(part.last for part in parts),
        logits=_mean([part.logits for part in parts], pixels),
        votes=None if largest.votes is None else sum(part.votes for part in parts),
        score=_mean([part.score for part in parts], pixels),
        joined=tuple(sorted(frame for part in parts for frame in part.joined)),
    )


def _mean(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """None if there are none."""
    if any(value is None for value in values):
        return None
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _added(total: Any, new: np.ndarray) -> np.ndarray:
    return new if total is None else total + new
