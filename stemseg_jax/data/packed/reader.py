"""Reads what `tfds_builder.py` packed: the same videos, bit for bit."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool

from stemseg_jax.data import encoded_video, readers
from stemseg_jax.formats import rle

SPLIT = "frames"  # the only one: a split of the dataset is packed as a set of its own


def load(
    folder: pathlib.Path, name: str, *, options: Mapping[str, Any]
) -> readers.Dataset:
    """Reads a packed dataset.

    Args:
        name: Of the packed set, e.g. "ytvis_train".
        options: What its reader would be given; they must be those it was packed with.
    """
    versions = sorted((folder / "packed_videos" / name).glob("*/dataset_info.json"))
    if not versions:
        there = sorted(path.name for path in (folder / "packed_videos").glob("*"))
        raise ValueError(
            f"{folder}: holds no packed {name} (but {', '.join(there) or 'nothing'}). "
            f"Pack it with --mode=pack --output={folder}, or leave config.data.packed "
            f"empty to read the official folder."
        )
    packed_at = str(versions[-1].parent)
    metadata = tfds.builder_from_directory(packed_at).info.metadata
    given = json.dumps(dict(options), sort_keys=True, default=list)
    if given != metadata["options"]:
        raise ValueError(
            f"{packed_at}: packed with the options {metadata['options']}, "
            f"but config.data.options asks for {given}. Make them equal, or pack it "
            f"again."
        )
    return readers.Dataset(
        name=metadata["name"],
        categories={int(n): kind for n, kind in metadata["categories"].items()},
        videos=[_video(packed_at, video) for video in metadata["videos"]],
        exhaustive=metadata["exhaustive"],
        max_gap=metadata["max_gap"],
    )


@functools.cache
def _source(folder: str) -> Sequence[Mapping[str, Any]]:
    """The records of a packed set; every process opens its own."""
    return tfds.builder_from_directory(folder).as_data_source(SPLIT)


@dataclasses.dataclass(frozen=True)
class PackedFrames(Sequence):
    """The frames of one video, which take the place of its files."""

    folder: str
    name: str
    first: int
    num_frames: int

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> "PackedFrame":
        return PackedFrame(self, range(self.num_frames)[index])

    def record(self, index: int) -> Mapping[str, Any]:
        return _source(self.folder)[self.first + index]


@dataclasses.dataclass(frozen=True)
class PackedFrame:
    """Implements `images.File`."""

    frames: PackedFrames
    index: int

    def __str__(self) -> str:
        return f"{self.frames.folder}, video {self.frames.name!r}, frame {self.index}"

    def read_bytes(self) -> bytes:
        return self.frames.record(self.index)["image"]


@dataclasses.dataclass(frozen=True)
class PackedLabels(encoded_video.Labels):
    categories: Mapping[int, int]
    annotated_frames: Sequence[int]
    size: tuple[int, int]
    frames: PackedFrames

    def instances(self, index: int) -> Collection[int]:
        return [int(i) for i in self.frames.record(index)["ids"]]

    def read(self, index: int) -> encoded_video.FrameLabels:
        record = self.frames.record(index)

        def decode(counts: bytes) -> Bool[np.ndarray, "H W"]:
            return rle.decode(rle.Rle(size=self.size, counts=counts))

        ids = [int(i) for i in record["ids"]]
        masks = dict(zip(ids, map(decode, record["counts"]), strict=True))
        ignore = decode(record["ignore"]) if record["ignore"] else None
        return encoded_video.FrameLabels(masks, self.categories, ignore)


def _video(folder: str, description: Mapping[str, Any]) -> encoded_video.EncodedVideo:
    name, *size = (description[key] for key in ("name", "height", "width"))
    frames = PackedFrames(folder, name, description["first"], description["num_frames"])
    labels = None
    if description["annotated"]:
        labels = PackedLabels(
            {int(i): category for i, category in description["categories"].items()},
            description["annotated_frames"],
            tuple(size),
            frames,
        )
    intrinsics = description.get("intrinsics")  # none in sets of version 1.0.0
    if intrinsics is not None:
        intrinsics = np.array(intrinsics, float)
    return encoded_video.EncodedVideo(name, *size, frames, labels, intrinsics)
