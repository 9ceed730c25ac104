"""What the rest of the package knows of a method."""

from collections.abc import Generator, Iterator
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8
from ml_collections import ConfigDict

from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems.steps import Step
from stemseg_jax.tracks import Frame, LabelledFrames, Stages, TrackStatistics


@runtime_checkable
class System(Protocol):
    """A method: its network, its loss and how it follows objects through a video."""

    @classmethod
    def from_config(cls, config: ConfigDict) -> "System":
        """What a config describes.

        Raises:
            ValueError: For an unknown name or a value out of range.
        """

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables for clips of this shape."""

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """The mean over the clips of a batch; the report names and weighs each term.

        The collections (batch statistics, memories) come out as this batch leaves them,
        all of them, whether they changed or not. Apart from what they carry, a clip's
        loss does not depend on the clips beside it, so that an update is the same
        however its clips are divided among devices and forward passes: what is random
        comes from the key of its clip.
        """

    def frozen_modules(self) -> tuple[str, ...]:
        """Path prefixes of the parameters that training leaves alone."""

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Labels the frames of one video in order.

        Holds only what the method needs to remember. Frames come out as soon as their
        labels are final, or a little later where that keeps the device at work; the
        statistics of each track are the generator's return value.

        The network is compiled for a padded size, whatever the length of the video and
        the size of its frames.

        Args:
            maps: Whether what the network says comes along, to be shown.

        Raises:
            ValueError: If there is no frame, or frames differ in size.
        """

    def steps(
        self, variables: Variables, frames: jax.ShapeDtypeStruct
    ) -> dict[str, Step]:
        """The parts of the network that `track` calls, by name.

        Args:
            variables: Their shapes will do.
            frames: uint8 [B H W 3]. Sizes may be symbols; H and W are multiples of 32.
        """

    def stages(
        self, variables: Variables, images: UInt8[np.ndarray, "T H W 3"]
    ) -> Stages:
        """The parts of `track`, for `--mode=benchmark`: those of a window of a system
        of windows, one step of an online one.

        Args:
            images: At least as many as the method looks at together.
        """
