"""Built-in videos from a moving camera, with exact depth, motion and masks.

Cars cross and hide each other in a street of textured planes (`street.py`), some of
them wholly for a while. Depth and motion can be learnt without labels: neighbouring
frames show the same things from another place under the same light. The same settings
give the same bytes, and any frame is rendered without those before it.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from stemseg_jax import choices
from stemseg_jax.data import readers
from stemseg_jax.data.datasets import moving_shapes, street


def load(
    root: str | None = None,
    split: str = "train",
    *,
    num_videos: int = 1000,
    num_frames: int = 20,
    height: int = 96,
    width: int = 160,
    seed: int = 0,
    objects: tuple[int, int] = (2, 4),
    speed: float | int = 1.0,
) -> readers.Dataset:
    """Videos of a street, rendered when they are asked for.

    Args:
        root: Not used; there is no folder.
        split: "train", "val" or "test". No two splits share a video.
        num_videos: As many as wished; video i is the same however many there are.
        objects: Fewest and most cars of a video; successive videos go through the range
            in turn. The nearest one never leaves the frame.
        speed: See `street.StreetSettings`.

    Raises:
        ValueError: For an unknown split and for settings out of range.
    """
    choices.known("split", split, moving_shapes.SPLITS)
    if num_videos < 1 or num_frames < 1:
        raise ValueError(
            f"{num_videos} videos of {num_frames} frames: expected one or more of both."
        )
    fewest, most = objects
    if fewest > most:
        raise ValueError(
            f"objects={objects}: expected the fewest first, then the most."
        )
    videos = [
        LayeredWorldVideo(
            name=f"{split}_{index:06d}",
            num_frames=num_frames,
            settings=street.StreetSettings(
                height=height,
                width=width,
                objects=fewest + index % (most - fewest + 1),
                speed=float(speed),
            ),
            seed=(seed, moving_shapes.SPLITS.index(split), index),
        )
        for index in range(num_videos)
    ]
    return readers.Dataset("layered_world", street.CATEGORIES, videos)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayeredWorldVideo:
    """One video; see `readers.Video`. Instance ids rise towards the viewer."""

    name: str
    num_frames: int
    settings: street.StreetSettings
    seed: tuple[int, int, int]

    annotated = True

    @property
    def height(self) -> int:
        return self.settings.height

    @property
    def width(self) -> int:
        return self.settings.width

    @property
    def intrinsics(self) -> readers.Intrinsics:
        return self.settings.intrinsics

    @property
    def categories(self) -> Mapping[int, int]:
        return dict.fromkeys(range(1, self.settings.objects + 1), 1)

    @property
    def annotated_frames(self) -> Sequence[int]:
        return range(self.num_frames)  # one car never leaves

    def instances(self, index: int) -> Collection[int]:
        return self.clip([index]).ids.tolist()

    def clip(self, indices: Sequence[int]) -> readers.RawClip:
        rendered = [self._street.render(self._checked(index)) for index in indices]
        frames = np.stack([image for image, _ in rendered])
        labels = np.stack([labels for _, labels in rendered])
        ids = np.arange(1, self.settings.objects + 1)
        masks = labels == ids.astype(np.uint8)[:, None, None, None]  # [N T H W]
        seen = masks.any(axis=(1, 2, 3))
        return readers.RawClip(
            frames,
            ids[seen],
            np.ones(seen.sum(), int),
            masks[seen],
            ignore=np.zeros(labels.shape, bool),
        )

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        return self._street.render(self._checked(index))[0]

    def depth(self, index: int) -> Float32[np.ndarray, "H W"]:
        """Of what is seen at each pixel: metres along the camera's axis."""
        return self._street.depth(self._checked(index))

    def pose(self, index: int) -> Float[np.ndarray, "4 4"]:
        """Camera to world; metres, axes to the right, down and forwards."""
        return self._street.pose(self._checked(index))

    def motion(self, index: int) -> Float[np.ndarray, "4 4"]:
        """Takes points from the camera of a frame to that of the next one."""
        return np.linalg.inv(self.pose(index + 1)) @ self.pose(index)

    def silhouettes(self, index: int) -> Bool[np.ndarray, "N H W"]:
        """The cars whole, as if nothing hid them; car n has the id n + 1."""
        return self._street.silhouettes(self._checked(index))

    def hidden(self, index: int) -> Collection[int]:
        """Ids of the cars that are in view, but of which nothing is to be seen."""
        inside = self.silhouettes(index).any(axis=(1, 2)).nonzero()[0] + 1
        return sorted({*inside.tolist()} - {*self.instances(index)})

    @property
    def _street(self) -> street.Street:
        return _street(self.settings, self.seed)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.num_frames:
            raise IndexError(f"{self.name}: frame {index} of {self.num_frames}.")
        return index


# Whoever asks for a video frame by frame would else draw its textures for each frame.
@functools.lru_cache(maxsize=8)
def _street(settings: street.StreetSettings, seed: tuple[int, ...]) -> street.Street:
    return street.Street(settings, seed)
