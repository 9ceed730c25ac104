"""Which frames of a video become a clip."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from stemseg_jax.data import readers

Offsets = Float[np.ndarray, "T"]  # frames after the first one, not rounded yet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How frames are drawn; a pair is a clip of two.

    The rules for the frames after the first one:

    even    Spread evenly over a distance that is drawn from `span`; a shorter video is
            taken whole. With a span of `num_frames - 1` they are consecutive.
    gaps    Each lies 1, 2, ... frames after the one before, with the weights `gaps`;
            at the end of a short video only gaps that leave room for the rest.
    later   Any later ones in their order, at most `span[1]` after the first.

    Args:
        num_frames: Of a clip.
        span: Bounds of the distance from first to last frame; none: consecutive
            frames, or with "later" any.
        gaps: Weights of the gaps 1, 2, ...; need not sum to 1.
        start: "any" frame, or an "entry": a frame in which some instance is seen for
            the first time in its stretch of frames.
        annotated: Whether only frames with an instance count: time is compressed. Else
            all do, and so do videos without annotations if clips may be empty.
        empty: Whether a clip may be without instances; else another one is drawn.

    Source: "even": the authors' loaders of STEm-Seg, halves going to the even number.
        "gaps": CenterTrack, as used for SRNet's pairs. "later" from an "entry": FRTM,
        a frame with a new object and two of those after it.
    """

    num_frames: int
    rule: str = "even"
    span: tuple[int, int] | None = None
    gaps: tuple[float, ...] = ()
    start: str = "any"
    annotated: bool = True
    empty: bool = False

    def __post_init__(self):
        least = self.num_frames - 1
        if least < 0:
            raise ValueError(f"num_frames={self.num_frames}: a clip has at least one.")
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r}: known are {', '.join(RULES)}.")
        if self.start not in ("any", "entry"):
            raise ValueError(f"start={self.start!r}: expected 'any' or 'entry'.")
        if self.span is not None and not least <= self.span[0] <= self.span[1]:
            raise ValueError(
                f"span={self.span}: expected (lowest, highest) distance from first to "
                f"last frame, at least {least} for {self.num_frames} frames."
            )
        if self.rule == "later" and self.span is not None and self.span[0] != least:
            raise ValueError(
                f"span={self.span}: with the rule 'later' only the highest distance is "
                f"a choice; use ({least}, {self.span[1]})."
            )
        if (self.rule == "gaps") != bool(self.gaps):
            raise ValueError(
                f"rule={self.rule!r} with gaps={self.gaps}: the rule 'gaps', and no "
                f"other, needs weights, e.g. (0.5, 0.25, 0.25) for gaps of 1, 2 and 3."
            )
        if self.gaps and (min(self.gaps) < 0 or not sum(self.gaps) > 0):
            raise ValueError(f"gaps={self.gaps}: expected weights of 0 and above.")
        if self.gaps and self.span is not None:
            raise ValueError(
                f"span={self.span} with gaps={self.gaps}: gaps decide the distance; "
                f"leave one of them out."
            )

    @property
    def least_frames(self) -> int:
        """The fewest frames that a clip can be cut from."""
        smallest = int(np.flatnonzero(self.gaps)[0]) + 1 if self.gaps else 1
        return 1 + (self.num_frames - 1) * smallest

    def positions(
        self,
        rng: np.random.Generator,
        length: int,
        *,
        starts: Sequence[int] | None = None,
    ) -> list[int]:
        """Draws the frames of one clip out of `length` frames.

        Args:
            length: At least `least_frames`.
            starts: Where the clip may begin, `least_frames` before the end or earlier.
        """
        if starts is not None:
            start = int(rng.choice(starts))
            offsets = RULES[self.rule](rng, length - start, self)
        else:
            offsets = RULES[self.rule](rng, length, self)
            start = int(rng.integers(length - int(offsets[-1])))
        return np.round(start + offsets).astype(int).tolist()


def _even(rng: np.random.Generator, length: int, sampling: Sampling) -> Offsets:
    least = sampling.num_frames - 1
    lowest, highest = sampling.span or (least, least)
    distance = min(int(rng.integers(lowest, highest + 1)), length - 1)
    return np.linspace(0, distance, sampling.num_frames)


def _gaps(rng: np.random.Generator, length: int, sampling: Sampling) -> Offsets:
    smallest = int(np.flatnonzero(sampling.gaps)[0]) + 1
    offsets = [0]
    for later in reversed(range(sampling.num_frames - 1)):
        room = length - 1 - offsets[-1] - later * smallest
        weights = np.array(sampling.gaps[:room], float)
        gap = 1 + int(rng.choice(len(weights), p=weights / weights.sum()))
        offsets.append(offsets[-1] + gap)
    return np.array(offsets, float)


def _later(rng: np.random.Generator, length: int, sampling: Sampling) -> Offsets:
    farthest = min(length - 1, sampling.span[1] if sampling.span else length)
    later = 1 + rng.choice(farthest, size=sampling.num_frames - 1, replace=False)
    return np.array([0, *sorted(later)], float)


RULES = {"even": _even, "gaps": _gaps, "later": _later}


def segments(frames: Sequence[int], *, max_gap: int | None) -> list[list[int]]:
    """Cuts annotated frames where more than `max_gap` lie without annotation.

    Without `max_gap` time is compressed: all frames are one segment.
    """
    frames = list(frames)
    if max_gap is None or not frames:
        return [frames] if frames else []
    cuts = np.flatnonzero(np.diff(frames) > max_gap + 1) + 1
    return [part.tolist() for part in np.split(np.array(frames), cuts)]


def entries(video: readers.Video, frames: Sequence[int]) -> list[int]:
    """Positions in `frames` at which some instance is seen that was not seen before."""
    seen, positions = set(), []
    for position, frame in enumerate(frames):
        present = set(video.instances(frame))
        if present - seen:
            positions.append(position)
        seen |= present
    return positions
