"""Images in memory as the frames of a video."""

from collections.abc import Iterable, Iterator

import numpy as np

from stemseg_jax.data.inputs.base import DEFAULT_FPS, InputFrame, check_size
from stemseg_jax.data.inputs.frame_choice import ALL, FrameChoice


class Arrays:
    """RGB images in order, of a list or of anything that gives them once.

    Raises:
        ValueError: If there is none, sizes differ, or they are no RGB images of uint8.
    """

    sound = None

    def __init__(
        self,
        images: Iterable[np.ndarray],
        *,
        name: str = "video",
        choice: FrameChoice = ALL,
    ):
        self.name, self._images, self._choice = name, images, choice
        self._rate = choice.fps_or(DEFAULT_FPS)
        self.fps = choice.rate(self._rate)
        self.num_frames = None
        if hasattr(images, "__len__"):
            self.num_frames = choice.count(len(images), self._rate)
        self.live = iter(images) is images  # a generator goes once
        self.height = self.width = 0  # not known before the first frame

    def __iter__(self) -> Iterator[InputFrame]:
        timed = (
            (float(index / self._rate), image)
            for index, image in enumerate(self._images)
        )
        for count, (time, image) in enumerate(self._choice.of(timed, self._rate)):
            # What gives images once may use its memory again.
            image = np.array(image) if self.live else np.asarray(image)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(
                    f"image {count} is {image.dtype} of shape {image.shape}; expected "
                    "RGB images: uint8, (height, width, 3)."
                )
            if count:
                check_size(image.shape[:2], self, f"{self.name}: image {count}")
            else:
                self.height, self.width = image.shape[:2]
            yield InputFrame(count, image, time)
