"""Image files as the frames of a video."""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from stemseg_jax.data.inputs import base
from stemseg_jax.data.inputs.frame_choice import ALL, FrameChoice
from stemseg_jax.formats import images

Read = TypeVar("Read")


class ImageSequence:
    """Image files, in the given order, turned upright if they say how they were held.

    Args:
        paths: The files; the sizes of the chosen ones are compared at once, from their
            headers.
        name: Of the video.
        choice: Its `fps` says when the images were taken; 24 a second by default.

    Raises:
        ValueError: If there are none, none is chosen, one cannot be read, or sizes
            differ.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        name: str,
        choice: FrameChoice = ALL,
    ):
        if not paths:
            raise ValueError(f"{name}: no frames; expected at least one image.")
        taken = choice.fps_or(base.DEFAULT_FPS)
        every = ((float(i / taken), pathlib.Path(p)) for i, p in enumerate(paths))
        self._chosen = tuple(choice.of(every, taken))
        if not self._chosen:
            raise ValueError(
                f"{name}: no frame {choice.span}; {len(paths)} images at "
                f"{float(taken):g} a second last {float(len(paths) / taken):.2f} s. "
                "Choose another --start or --end, or say by --fps when they were taken."
            )
        self.name = name
        self.fps = choice.rate(taken)
        self.num_frames = len(self._chosen)
        self.sound, self.live = None, False
        self.height, self.width = self._read(images.size, 0)
        for index, (_, path) in enumerate(self._chosen):
            base.check_size(self._read(images.size, index), self, str(path))

    def __iter__(self) -> Iterator[base.InputFrame]:
        for index, (time, _) in enumerate(self._chosen):
            yield base.InputFrame(index, self._read(images.read_rgb, index), time)

    def _read(self, reader: Callable[..., Read], index: int) -> Read:
        _, path = self._chosen[index]
        try:
            return reader(path, upright=True)
        except images.BrokenImageError as error:
            raise base.BrokenVideoError(
                f"{path}: frame {index} of {self.name!r} cannot be read. {error} Or "
                "choose the frames with a glob.",
                read=index,
                promised=self.num_frames,
            ) from error
