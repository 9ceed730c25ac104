"""The loop of methods that label each frame as it comes."""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int32, UInt, UInt8

from stemseg_jax.geometry import Geometry, Size
from stemseg_jax.tracking import label_codes, statistics
from stemseg_jax.tracks import (
    Frame,
    LabelledFrames,
    Stage,
    Stages,
    TrackStatistics,
    of_one_size,
)


class Labels(NamedTuple):
    """What a step says of its frame."""

    codes: UInt[Array, "h w"]  # see `label_codes`
    ids: Int32[Array, "K"]  # of each slot's track
    sums: statistics.SlotSums  # of this frame alone
    depth: Float[Array, "h w"] | None = None
    maps: dict[str, Float[Array, "_ _ _"]] | None = None  # for those who ask for them


@runtime_checkable
class Method(Protocol):
    """What an online method is: what it remembers at first, and one step.

    Attributes:
        score: Of a track, see `statistics.Accumulator`.
    """

    score: str

    def geometry(self, original: Size) -> Geometry:
        """Of a video of this size."""

    def start(self, variables: Any, geometry: Geometry) -> Any:
        """The state before the first frame: a pytree of fixed shapes."""

    def step(
        self,
        variables: Any,
        state: Any,
        frame: Frame,
        geometry: Geometry,
    ) -> tuple[Any, Labels]:
        """Pure and made of jitted parts: nothing comes to the host inside. The part
        with the network should know the padded size alone, not that of the frame."""


def track(
    method: Method, variables: Any, frames: Iterator[Frame], *, maps: bool = False
) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
    """`System.track` of an online method: a frame's labels come out before the next
    one goes in.

    So the device waits while the host fetches a frame: a method that is chosen because
    it answers at once does so, and who has the whole video takes one of windows.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    seen = statistics.Accumulator(score=method.score)
    state = geometry = None
    for frame in of_one_size(frames):
        if geometry is None:
            geometry = method.geometry(frame.image.shape[:2])
            state = _beside(variables, method.start(variables, geometry))
        state, found = method.step(variables, state, frame, geometry)
        found = jax.device_get(found if maps else found._replace(maps=None))
        seen.add(frame.index, found.ids, found.sums)
        yield LabelledFrames(
            first=frame.index,
            labels=label_codes.decode(found.codes, found.ids)[None],
            geometry=geometry,
            depth=None if found.depth is None else found.depth[None],
            maps=found.maps and {k: values[None] for k, values in found.maps.items()},
        )
    if geometry is None:
        raise ValueError("The video has no frames.")
    return seen.finish()


def stages(
    method: Method, variables: Any, images: UInt8[np.ndarray, "T H W 3"]
) -> Stages:
    """`System.stages` of an online method: a step after another one."""
    geometry = method.geometry(images.shape[1:3])
    state = _beside(variables, method.start(variables, geometry))

    def step(variables, state, image):
        return method.step(variables, state, Frame(0, image), geometry)

    state, _ = step(variables, state, images[0])
    yield Stage("step", step, (variables, state, images[1]), 1)


def _beside(variables: Any, state: Any) -> Any:
    """The state on the devices of the variables, where each step leaves it: one program
    then does for the first step and the others."""
    arrays = [x for x in jax.tree.leaves(variables) if isinstance(x, jax.Array)]
    return jax.device_put(state, arrays[0].sharding) if arrays else state
