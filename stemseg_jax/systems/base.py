"""What the rest of the package knows of a method."""

from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn
from jaxtyping import Array, Key

from stemseg_jax.structures import ClipBatch, LossReport, Scalar
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

# Flax collections: {"params": ..., "constants": ...}.
Variables = dict[str, Any]


@runtime_checkable
class System(Protocol):
    """A method: its network, its loss and how it follows objects through a video."""

    network: nn.Module

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables for clips of this shape."""

    def loss(
        self, variables: Variables, batch: ClipBatch, key: Key[Array, ""]
    ) -> tuple[Scalar, LossReport]:
        """The mean over the clips of a batch; the report names and weighs each term.

        A clip's loss does not depend on the clips beside it, so that an update is the
        same however its clips are divided among devices and forward passes.
        """

    def frozen_modules(self) -> tuple[str, ...]:
        """Path prefixes of the parameters that training leaves alone."""

    def track(
        self, variables: Variables, frames: Iterator[Frame]
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Labels the frames of one video in order.

        Holds only what the method needs to remember. Frames come out as soon as their
        labels are final; the statistics of each track are the generator's return value.
        """
