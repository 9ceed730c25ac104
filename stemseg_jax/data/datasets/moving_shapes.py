"""Built-in videos of moving shapes with exact masks; nothing to download.

Textured objects of four categories, none of them convex, deform, turn, change size,
cross and hide each other, leave and come back, over a moving textured background under
changing light (`scenes.py`). The same settings give the same bytes, and any frame
is rendered without those before it.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import scenes

SPLITS = ("train", "val", "test")


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
    radius: tuple[float, float] = (0.19, 0.26),
    categories: int = len(scenes.CATEGORIES),
    marked: bool = False,
) -> readers.Dataset:
    """Videos of moving shapes, rendered when they are asked for.

    Args:
        root: Not used; there is no folder.
        split: "train", "val" or "test". No two splits share a video.
        num_videos: As many as wished; video i is the same however many there are.
        objects: Fewest and most objects of a video; successive videos go through the
            range in turn. One object of each video never leaves the frame.
        radius, categories, marked: See `scenes.SceneSettings`.

    Raises:
        ValueError: For an unknown split and for settings out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: moving_shapes has {', '.join(SPLITS)}.")
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
        MovingShapesVideo(
            name=f"{split}_{index:06d}",
            num_frames=num_frames,
            settings=scenes.SceneSettings(
                height=height,
                width=width,
                objects=fewest + index % (most - fewest + 1),
                radius=tuple(radius),
                categories=categories,
                marked=marked,
            ),
            seed=(seed, SPLITS.index(split), index),
        )
        for index in range(num_videos)
    ]
    names = {k: scenes.CATEGORIES[k] for k in range(1, categories + 1)}
    return readers.Dataset("moving_shapes", names, videos)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovingShapesVideo:
    """One video; see `readers.Video`. Instance ids rise towards the viewer."""

    name: str
    num_frames: int
    settings: scenes.SceneSettings
    seed: tuple[int, int, int]

    annotated = True
    intrinsics = None

    @property
    def height(self) -> int:
        return self.settings.height

    @property
    def width(self) -> int:
        return self.settings.width

    @property
    def categories(self) -> Mapping[int, int]:
        return dict(enumerate(self._scene.categories.tolist(), start=1))

    @property
    def annotated_frames(self) -> Sequence[int]:
        return range(self.num_frames)  # one object never leaves

    def instances(self, index: int) -> Collection[int]:
        return self.clip([index]).ids.tolist()

    def clip(self, indices: Sequence[int]) -> readers.RawClip:
        rendered = [self._scene.render(self._checked(index)) for index in indices]
        frames = np.stack([image for image, _ in rendered])
        labels = np.stack([labels for _, labels in rendered])
        categories = self._scene.categories
        ids = np.arange(1, len(categories) + 1)
        masks = labels == ids.astype(np.uint8)[:, None, None, None]  # [N T H W]
        seen = masks.any(axis=(1, 2, 3))
        ignore = np.zeros(labels.shape, bool)
        return readers.RawClip(frames, ids[seen], categories[seen], masks[seen], ignore)

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        return self._scene.render(self._checked(index))[0]

    def silhouettes(self, index: int) -> Bool[np.ndarray, "N H W"]:
        """The objects whole, as if nothing hid them; object n has the id n + 1."""
        return self._scene.silhouettes(self._checked(index))

    @property
    def _scene(self) -> scenes.Scene:
        return _scene(self.settings, self.seed)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.num_frames:
            raise IndexError(f"{self.name}: frame {index} of {self.num_frames}.")
        return index


# Whoever asks for a video frame by frame would else draw its textures for each frame.
@functools.lru_cache(maxsize=8)
def _scene(settings: scenes.SceneSettings, seed: tuple[int, ...]) -> scenes.Scene:
    return scenes.Scene(settings, seed)
