"""Videos whose frames are encoded images, with their labels beside them."""

import abc
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from stemseg_jax.data import readers
from stemseg_jax.formats import images, rle


class FrameLabels(NamedTuple):
    masks: Mapping[int, Bool[np.ndarray, "H W"]]  # by instance id; none is empty
    categories: Mapping[int, int]  # of these instances at least
    ignore: Bool[np.ndarray, "H W"] | None = None


class Labels(abc.ABC):
    """The annotations of one video."""

    categories: Mapping[int, int]
    annotated_frames: Sequence[int]

    @abc.abstractmethod
    def read(self, index: int) -> FrameLabels: ...

    def instances(self, index: int) -> Collection[int]:
        """Ids of the instances of a frame."""
        return self.read(index).masks.keys()


@dataclasses.dataclass(frozen=True)
class EncodedVideo:
    """Implements `readers.Video` over image files."""

    name: str
    height: int
    width: int
    files: Sequence[images.File]
    labels: Labels | None = None
    intrinsics: readers.Intrinsics | None = dataclasses.field(
        default=None, compare=False
    )

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

    def instances(self, index: int) -> Collection[int]:
        return self.labels.instances(index) if self.labels else ()

    def encoded(self, index: int) -> bytes:
        """The file of a frame as it is."""
        with broken_if_refused():
            return images.read_bytes(self.files[index])

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        with broken_if_refused():
            image = images.read_rgb(self.files[index])
            self._check_size(image.shape[:2], self.files[index])
        return image

    def clip(self, indices: Sequence[int]) -> readers.RawClip:
        frames = np.stack([self.frame(index) for index in indices])
        labels = [self.read_labels(index) for index in indices]
        ids = sorted({i for frame in labels for i in frame.masks})
        masks = np.zeros((len(ids), *frames.shape[:3]), bool)
        ignore = np.zeros(frames.shape[:3], bool)
        for t, frame in enumerate(labels):
            for n, instance in enumerate(ids):
                if instance in frame.masks:
                    masks[n, t] = frame.masks[instance]
            if frame.ignore is not None:
                ignore[t] = frame.ignore
        categories = {i: frame.categories[i] for frame in labels for i in frame.masks}
        return readers.RawClip(
            frames,
            np.array(ids, int),
            np.array([categories[instance] for instance in ids], int),
            masks,
            ignore,
        )

    def read_labels(self, index: int) -> FrameLabels:
        """The annotations of one frame, of the video's size."""
        if self.labels is None:
            return FrameLabels({}, {})
        labels = self.labels.read(index)
        with broken_if_refused():
            for instance, mask in labels.masks.items():
                self._check_size(mask.shape, f"{self.files[index]}, mask {instance}")
        return labels

    def _check_size(self, size: tuple[int, ...], where: object):
        expected = self.height, self.width
        images.check_size(size, expected, where, f"video {self.name!r} is")


@dataclasses.dataclass(frozen=True)
class ShrunkVideo(EncodedVideo):
    """Its images are larger than it is, and are brought to its size when read."""

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        with broken_if_refused():
            image = images.read_rgb(self.files[index])
        size = self.width, self.height
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def labels(video: readers.Video, index: int) -> FrameLabels:
    """The annotations of one frame of any video, without its image if possible."""
    if isinstance(video, EncodedVideo):
        return video.read_labels(index)
    clip = video.clip([index])
    ids = clip.ids.tolist()
    return FrameLabels(
        dict(zip(ids, clip.masks[:, 0], strict=True)),
        dict(zip(ids, clip.categories.tolist(), strict=True)),
        clip.ignore[0],
    )


@dataclasses.dataclass(frozen=True)
class RleLabels(Labels):
    """Run-length encoded masks, as the COCO family of files keeps them.

    Args:
        frames: Per frame, the compressed counts of each instance in it, or what
            `rle.from_json` makes them of.
        size: (height, width).
        name: Where the labels come from, for errors.
        ignore: Per frame that has one, the counts of the ignored region.
    """

    categories: Mapping[int, int]
    frames: Sequence[Mapping[int, bytes | rle.Segmentation | list]]
    size: tuple[int, int]
    name: str
    ignore: Mapping[int, bytes] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def annotated_frames(self) -> Sequence[int]:
        return [t for t, frame in enumerate(self.frames) if frame]

    def instances(self, index: int) -> Collection[int]:
        return self.frames[index].keys()

    def read(self, index: int) -> FrameLabels:
        masks = {
            instance: self._decode(counts, f"frame {index}, instance {instance}")
            for instance, counts in self.frames[index].items()
        }
        masks = {instance: mask for instance, mask in masks.items() if mask.any()}
        ignore = None
        if index in self.ignore:
            ignore = self._decode(self.ignore[index], f"frame {index}, ignore region")
        return FrameLabels(masks, self.categories, ignore)

    def _decode(
        self, counts: bytes | rle.Segmentation | list, where: str
    ) -> Bool[np.ndarray, "H W"]:
        with broken_if_refused(f"{self.name}, {where}: "):
            if isinstance(counts, bytes):
                mask = rle.Rle(size=self.size, counts=counts)
            else:
                mask = rle.from_json(counts, *self.size)
            return rle.decode(mask)


# What the numbers in a PNG mean.
Meaning = Callable[[np.ndarray], FrameLabels]


@dataclasses.dataclass(frozen=True)
class PngLabels(Labels):
    """One PNG per frame that numbers the pixels.

    Args:
        files: Per frame, its PNG; None for a frame without one.
        meaning: Turns the numbers of a PNG into labels.
    """

    files: Sequence[pathlib.Path | None]
    meaning: Meaning

    @functools.cached_property
    def categories(self) -> Mapping[int, int]:
        return {i: frame[i] for frame in self._present for i in sorted(frame)}

    @functools.cached_property
    def annotated_frames(self) -> Sequence[int]:
        return [t for t, instances in enumerate(self._present) if instances]

    def instances(self, index: int) -> Collection[int]:
        return self._present[index].keys()

    @functools.cached_property
    def _present(self) -> Sequence[Mapping[int, int]]:
        """Categories of the instances of each frame; reads every PNG, once."""
        frames = [self.read(t) for t in range(len(self.files))]
        return [{i: f.categories[i] for i in f.masks} for f in frames]

    def read(self, index: int) -> FrameLabels:
        path = self.files[index]
        if path is None:
            return FrameLabels({}, {})
        with broken_if_refused(f"{path}: ", of=UnclearLabels):
            return self.meaning(read_numbers(path))


@dataclasses.dataclass(frozen=True)
class SomeLabels(Labels):
    """The instances of some categories; the others are background."""

    labels: Labels
    chosen: Collection[int]

    @functools.cached_property
    def categories(self) -> Mapping[int, int]:
        of_all = self.labels.categories
        return {i: of_all[i] for i in of_all if of_all[i] in self.chosen}

    @functools.cached_property
    def annotated_frames(self) -> Sequence[int]:
        return [t for t in self.labels.annotated_frames if self.instances(t)]

    def instances(self, index: int) -> Collection[int]:
        return [i for i in self.labels.instances(index) if i in self.categories]

    def read(self, index: int) -> FrameLabels:
        whole = self.labels.read(index)
        masks = {i: m for i, m in whole.masks.items() if i in self.categories}
        return FrameLabels(masks, self.categories, whole.ignore)


def read_numbers(path: pathlib.Path) -> np.ndarray:
    with broken_if_refused():
        return images.read_labels(path)


@contextlib.contextmanager
def broken_if_refused(
    where: str = "", of: type[ValueError] = ValueError
) -> Iterator[None]:
    """What a file's format refuses is a broken sample, which training may leave out."""
    try:
        yield
    except of as error:
        text = str(error).rstrip(".")
        raise readers.BrokenSample(
            f"{where}{text}, or set config.data.skip_broken=True."
        ) from error


class UnclearLabels(ValueError):
    """Numbers in a PNG that have no meaning there."""


def masks_of(
    numbers: np.ndarray, *, leave_out: Sequence[int] = (0,)
) -> dict[int, Bool[np.ndarray, "H W"]]:
    """One mask for each number of a label map."""
    if numbers.dtype == np.uint8:  # bincount turns them into 64 bits first
        counts = cv2.calcHist([numbers], [0], None, [256], [0, 256]).ravel()
    else:
        counts = np.bincount(numbers.ravel())
    present = np.flatnonzero(counts).tolist()
    return {n: numbers == n for n in present if n not in leave_out}


def indexed(numbers: np.ndarray) -> FrameLabels:
    """0 is background, 1 to 254 are instances of category 1, 255 is void."""
    if numbers.max(initial=0) > 255:
        raise UnclearLabels(
            f"holds numbers up to {numbers.max()}; 8 bits hold 254 instances (255 is "
            "void). Renumber the instances"
        )
    masks = masks_of(numbers, leave_out=(0, 255))
    return FrameLabels(masks, dict.fromkeys(masks, 1), numbers == 255)


def foreground(numbers: np.ndarray) -> FrameLabels:
    """All that is not 0 is one instance."""
    mask = numbers > 0
    return FrameLabels({1: mask} if mask.any() else {}, {1: 1})
