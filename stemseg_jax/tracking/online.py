"""The loop of methods that label each frame as it comes."""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int32, UInt8

from stemseg_jax.geometry import Geometry, Size
from stemseg_jax.tracking import statistics
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics, of_one_size


class Labels(NamedTuple):
    """What a step says of its frame."""

    labels: Int32[Array, "h w"]  # track ids from 1; 0 background, -1 unassigned
    ids: Int32[Array, "K"]  # of each slot's track
    sums: statistics.SlotSums  # of this frame alone
    depth: Float[Array, "h w"] | None = None


@runtime_checkable
class Method(Protocol):
    """What an online method is: what it remembers at first, and one step."""

    def geometry(self, original: Size) -> Geometry:
        """Of a video of this size."""

    def start(self, variables: Any, geometry: Geometry) -> Any:
        """The state before the first frame: a pytree of fixed shapes."""

    def step(
        self,
        variables: Any,
        state: Any,
        image: UInt8[Array, "H W 3"],
        geometry: Geometry,
    ) -> tuple[Any, Labels]:
        """Pure and jitted with a static geometry: nothing comes to the host inside."""


def track(
    method: Method, variables: Any, frames: Iterator[Frame]
) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
    """`System.track` of an online method: a frame's labels come out before the next
    one goes in.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    seen = statistics.Accumulator()
    state = geometry = None
    for frame in of_one_size(frames):
        if geometry is None:
            geometry = method.geometry(frame.image.shape[:2])
            state = method.start(variables, geometry)
        state, found = method.step(variables, state, frame.image, geometry)
        found = jax.device_get(found)
        seen.add(frame.index, found.ids, found.sums)
        yield LabelledFrames(
            first=frame.index,
            labels=found.labels[None],
            geometry=geometry,
            depth=None if found.depth is None else found.depth[None],
        )
    if geometry is None:
        raise ValueError("The video has no frames.")
    return seen.finish()
