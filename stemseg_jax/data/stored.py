"""Videos whose frames are encoded images, with their labels beside them."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from stemseg_jax.data import images, records, rle


class FrameLabels(NamedTuple):
    masks: dict[int, Bool[np.ndarray, "H W"]]  # by instance id; none is empty
    ignore: Bool[np.ndarray, "H W"] | None


@runtime_checkable
class Labels(Protocol):
    """The annotations of one video."""

    @property
    def categories(self) -> Mapping[int, int]: ...

    @property
    def annotated_frames(self) -> Sequence[int]: ...

    def read(self, index: int) -> FrameLabels: ...


@dataclasses.dataclass(frozen=True)
class StoredVideo:
    """Implements `records.Video` over image files."""

    name: str
    height: int
    width: int
    files: Sequence[pathlib.Path]
    labels: Labels | None = None

    @property
    def num_frames(self) -> int:
        return len(self.files)

    @property
    def annotated(self) -> bool:
        return self.labels is not None

    @property
    def categories(self) -> Mapping[int, int]:
        return self.labels.categories if self.labels else {}

    @property
    def annotated_frames(self) -> Sequence[int]:
        return self.labels.annotated_frames if self.labels else ()

    def encoded(self, index: int) -> bytes:
        """The file of a frame as it is."""
        return images.read_bytes(self.files[index])

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        where = str(self.files[index])
        image = images.decode_rgb(self.encoded(index), name=where)
        self._check_size(image.shape[:2], where)
        return image

    def clip(self, indices: Sequence[int]) -> records.RawClip:
        frames = np.stack([self.frame(index) for index in indices])
        labels = [self._read_labels(index) for index in indices]
        ids = sorted({i for frame in labels for i in frame.masks})
        masks = np.zeros((len(ids), *frames.shape[:3]), bool)
        ignore = np.zeros(frames.shape[:3], bool)
        for t, frame in enumerate(labels):
            for n, instance in enumerate(ids):
                if instance in frame.masks:
                    masks[n, t] = frame.masks[instance]
            if frame.ignore is not None:
                ignore[t] = frame.ignore
        categories = [self.categories[instance] for instance in ids]
        return records.RawClip(
            frames, np.array(ids, int), np.array(categories, int), masks, ignore
        )

    def _read_labels(self, index: int) -> FrameLabels:
        if self.labels is None:
            return FrameLabels({}, None)
        labels = self.labels.read(index)
        for instance, mask in labels.masks.items():
            self._check_size(mask.shape, f"{self.files[index]}, mask {instance}")
        return labels

    def _check_size(self, size: tuple[int, ...], where: str):
        if size != (self.height, self.width):
            raise records.BrokenSample(
                f"{where}: {size[0]} x {size[1]} pixels (height x width), but video "
                f"{self.name!r} is {self.height} x {self.width}. All frames and masks "
                f"of a video have one size; re-export it, or set "
                f"config.data.skip_broken=True."
            )


@dataclasses.dataclass(frozen=True)
class RleLabels:
    """Run-length encoded masks, as the COCO family of files keeps them.

    Args:
        frames: Per frame, the compressed counts of each instance seen there.
        ignore: Per frame, the compressed counts of the ignored region, if any.
        size: (height, width).
        name: Where the labels come from, for errors.
    """

    categories: Mapping[int, int]
    frames: Sequence[Mapping[int, bytes]]
    size: tuple[int, int]
    name: str
    ignore: Mapping[int, bytes] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def annotated_frames(self) -> Sequence[int]:
        return [t for t, frame in enumerate(self.frames) if frame]

    def read(self, index: int) -> FrameLabels:
        masks = {
            instance: self._decode(counts, f"frame {index}, instance {instance}")
            for instance, counts in self.frames[index].items()
        }
        ignore = None
        if index in self.ignore:
            ignore = self._decode(self.ignore[index], f"frame {index}, ignore region")
        return FrameLabels({i: m for i, m in masks.items() if m.any()}, ignore)

    def _decode(self, counts: bytes, where: str) -> Bool[np.ndarray, "H W"]:
        try:
            return rle.decode(counts, self.size)
        except ValueError as error:
            raise records.BrokenSample(f"{self.name}, {where}: {error}") from error


@dataclasses.dataclass(frozen=True)
class PngLabels:
    """One indexed PNG per frame: 0 is background, 1..254 instances, 255 void.

    Args:
        files: Per frame, its mask; None for a frame without one.
        category: The one category of all instances.
        merge: Whether all instances are one (DAVIS 2016).
    """

    files: Sequence[pathlib.Path | None]
    category: int = 1
    merge: bool = False

    @functools.cached_property
    def present(self) -> Sequence[frozenset[int]]:
        """The instances of each frame; reads every mask once."""
        return [frozenset(self.read(t).masks) for t in range(len(self.files))]

    @functools.cached_property
    def categories(self) -> Mapping[int, int]:
        return dict.fromkeys(sorted(frozenset().union(*self.present)), self.category)

    @functools.cached_property
    def annotated_frames(self) -> Sequence[int]:
        return [t for t, instances in enumerate(self.present) if instances]

    def read(self, index: int) -> FrameLabels:
        path = self.files[index]
        if path is None:
            return FrameLabels({}, None)
        labels = images.read_labels(path)
        if self.merge:
            labels = (labels > 0).astype(np.uint8)
        ids = np.flatnonzero(np.bincount(labels.ravel(), minlength=1))
        void = labels == 255
        return FrameLabels(
            {int(i): labels == i for i in ids if i not in (0, 255)},
            void if void.any() else None,
        )
