"""What a video says of each of its tracks: sums on device, collected on the host."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.ops import resize
from stemseg_jax.tracks import TrackStatistics


class SlotSums(NamedTuple):
    """What the cells of some frames say of each slot."""

    cells: Int32[Array, "T K"]  # of each slot in each frame
    logits: Float[Array, "K C"] | None = None  # summed over cells
    votes: Int32[Array, "K C"] | None = None  # cells whose best class is c
    confidences: dict[str, Float[Array, "T K"]] = {}  # each in [0, 1]
    probabilities: Float[Array, "K C"] | None = None  # summed, instead of logits


def slot_sums(
    slots: Int32[Array, "T h w"],
    counted: Bool[Array, "T"],
    *,
    num_slots: int,
    logits: Float[Array, "T _ _ C"] | None = None,
    soft: bool = False,
    votes: bool = True,
    confidences: Mapping[str, Float[Array, "T h w"]] | None = None,
) -> SlotSums:
    """Adds up the cells of each slot, and their class logits.

    Args:
        slots: 0 ... K - 1, or -1 for none.
        counted: Frames that count; those that an earlier window had do not.
        num_slots: K.
        logits: Background first. Of a coarser map: as if enlarged bilinearly.
        soft: Adds up the probabilities of classes in place of their logits, so that a
            cell that is very sure counts no more than one that is sure.
        votes: Whether the best classes of cells are counted.
        confidences: Of each cell, in [0, 1]; a slot has their means in each frame.
    """
    T, K = len(slots), num_slots
    slots = jnp.where(counted[:, None, None] & (slots >= 0), slots, K)
    flat = slots.reshape(T, -1)
    sum_by_slot = functools.partial(jax.ops.segment_sum, num_segments=K + 1)
    cells = jax.vmap(lambda x: sum_by_slot(jnp.ones_like(x), x))(flat)[:, :K]
    sums = SlotSums(cells)
    if confidences:
        together = jnp.stack(list(confidences.values()), axis=-1)
        total = jax.vmap(sum_by_slot)(together.reshape(T, -1, len(confidences)), flat)
        means = total[:, :K] / jnp.maximum(cells, 1)[..., None]
        named = zip(confidences, jnp.moveaxis(means, -1, 0), strict=True)
        sums = sums._replace(confidences=dict(named))
    if logits is None:
        return sums
    if votes:
        sums = sums._replace(votes=_votes(slots, counted, logits, K))
    if soft:
        logits = jax.nn.softmax(logits)
    name = "probabilities" if soft else "logits"
    if logits.shape[:3] == slots.shape:
        total = sum_by_slot(logits.reshape(-1, logits.shape[-1]), flat.ravel())[:K]
    else:
        assert not soft, "The softmax of enlarged logits is not the enlarged softmax."
        total = _sums_of_enlarged(slots, counted, logits, K)
    return sums._replace(**{name: total})


def _votes(slots, counted, logits, K):
    """Cells of each slot whose best class is c, frame by frame."""

    def add_frame(votes, frame):
        slots, counted, logits = frame

        def add():
            large = logits
            if logits.shape[:2] != slots.shape:
                large = resize.linear(logits[None], slots.shape)[0]
            return votes.at[slots, large.argmax(axis=-1)].add(1)

        return lax.cond(counted, add, lambda: votes), None

    start = jnp.zeros((K + 1, logits.shape[-1]), jnp.int32)
    votes, _ = lax.scan(add_frame, start, (slots, counted, logits))
    return votes[:K]


def _sums_of_enlarged(slots, counted, logits, K):
    """Sums over the cells of each slot of logits that are never enlarged.

    Enlarging is linear, so its transpose tells how much each cell of the coarse map
    counts for the cells of a slot.
    """
    coarse = jax.ShapeDtypeStruct((1, *logits.shape[1:3], 1), jnp.float32)
    counts_for = jax.linear_transpose(
        lambda x: resize.linear(x, slots.shape[1:]), coarse
    )
    in_use = jnp.where(slots < K, slots, -1).max() + 1

    def add_frame(totals, frame):
        slots, counted, logits = frame

        def add_slot(slot, totals):
            (share,) = counts_for((slots == slot)[None, ..., None].astype(jnp.float32))
            own = jnp.einsum("hw,hwc->c", share[0, ..., 0], logits, precision="highest")
            return totals.at[slot].add(own)

        return lax.fori_loop(0, jnp.where(counted, in_use, 0), add_slot, totals), None

    start = jnp.zeros((K, logits.shape[-1]), jnp.float32)
    return lax.scan(add_frame, start, (slots, counted, logits))[0]


@dataclasses.dataclass
class _Track:
    first: int
    last: int
    frames: int = 0  # that show it
    pixels: int = 0
    logits: Any = None
    votes: Any = None
    probabilities: Any = None
    confidences: dict[str, float] = dataclasses.field(default_factory=dict)


class Accumulator:
    """The statistics of the tracks of one video while it goes by.

    It holds sums, a few numbers a track, however long the video.

    Args:
        score: What a track's score is: "size": none, so that its pixels count;
            "confidence" and "product": the mean and the product of all its evidence; or
            the name of one of these.
    """

    def __init__(self, *, score: str = "size"):
        self._score = score
        self._tracks: dict[int, _Track] = {}  # in order of first appearance

    def add(self, start: int, ids: Int32[np.ndarray, "K"], sums: SlotSums) -> None:
        """Takes sums over cells that no earlier sums had.

        Args:
            start: The video's frame that the first row of `sums.cells` is.
            ids: Of each slot's track.
            sums: Fetched from the device.
        """
        for place, row in enumerate(sums.cells):
            for slot in sorted(np.flatnonzero(row), key=lambda k: ids[k]):
                frame = start + place
                track = self._tracks.setdefault(int(ids[slot]), _Track(frame, frame))
                track.pixels += int(row[slot])
                track.frames += 1
                track.last = frame
                for name, values in sums.confidences.items():
                    total = track.confidences.get(name, 0.0)
                    track.confidences[name] = total + float(values[place, slot])
        for slot in np.flatnonzero(sums.cells.sum(axis=0)):
            track = self._tracks[int(ids[slot])]
            for name in ("logits", "votes", "probabilities"):
                new = getattr(sums, name)
                if new is not None:
                    setattr(track, name, _added(getattr(track, name), new[slot]))

    def finish(self) -> dict[int, TrackStatistics]:
        """Of each track, in order of first appearance.

        Its logits are the mean ones; where probabilities were added up, the log of
        their mean. Its evidence: the mean of each confidence over the frames that show
        it, and "class", where there are classes: see `class_probability`.
        """
        return {number: self._of(track) for number, track in self._tracks.items()}

    def _of(self, track: _Track) -> TrackStatistics:
        evidence = {name: x / track.frames for name, x in track.confidences.items()}
        logits = None if track.logits is None else track.logits / track.pixels
        if track.probabilities is not None:
            logits = np.log(np.maximum(track.probabilities / track.pixels, 1e-30))
        if logits is not None and len(logits) > 1:
            evidence["class"] = class_probability(logits)
        return TrackStatistics(
            pixels=track.pixels,
            first=track.first,
            last=track.last,
            logits=logits,
            votes=track.votes,
            score=score(evidence, self._score),
            scored_by=self._score,
            evidence=evidence,
        )


def class_probability(logits: Float[np.ndarray, "C"]) -> float:
    """The softmax probability of the best class that is not the background, which
    comes first and has its share of the sum."""
    parts = np.exp(logits - logits.max())
    return float(parts[1:].max() / parts.sum())


def score(evidence: Mapping[str, float], rule: str) -> float | None:
    """A track's score by a rule of `Accumulator`; None if its size is to count.

    Raises:
        ValueError: If the rule names something of which there is no evidence.
    """
    if rule == "size":
        return None
    if rule == "confidence" and evidence:
        return sum(evidence.values()) / len(evidence)
    if rule == "product" and evidence:
        return math.prod(evidence.values())
    if rule not in evidence:
        raise ValueError(
            f"A track has no score {rule!r}: there is evidence of "
            f"{', '.join(evidence) or 'nothing'}; 'size' needs none."
        )
    return evidence[rule]


def later(track: TrackStatistics, frames: int) -> TrackStatistics:
    """The same, so many frames later in a longer video."""
    return track._replace(
        first=track.first + frames,
        last=track.last + frames,
        joined=tuple(frame + frames for frame in track.joined),
    )


def merged(parts: Sequence[TrackStatistics]) -> TrackStatistics:
    """Of one object that was tracked in several parts.

    Means are weighed by the parts' pixels; of logits that are logs of probabilities the
    mean is a geometric one of these. What is not known how to merge is that of
    the part with most pixels.
    """
    pixels = [part.pixels for part in parts]
    largest = max(parts, key=lambda part: part.pixels)
    logits = _mean([part.logits for part in parts], pixels)
    evidence = {
        name: _mean([part.evidence[name] for part in parts], pixels)
        for name in largest.evidence
    }
    if "class" in evidence:
        evidence["class"] = class_probability(logits)
    return largest._replace(
        pixels=sum(pixels),
        first=min(part.first for part in parts),
        last=max(part.last for part in parts),
        logits=logits,
        votes=None if largest.votes is None else sum(part.votes for part in parts),
        score=(
            score(evidence, largest.scored_by)
            if evidence
            else _mean([part.score for part in parts], pixels)
        ),
        evidence=evidence,
        joined=tuple(sorted(frame for part in parts for frame in part.joined)),
    )


def _mean(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """None if there are none."""
    if any(value is None for value in values):
        return None
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _added(total: Any, new: np.ndarray) -> np.ndarray:
    return new if total is None else total + new
