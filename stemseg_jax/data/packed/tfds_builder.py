"""Packs the records of any reader into ArrayRecord files, by TFDS, without TensorFlow.

One record a frame: the image as it is on disk and its masks as RLE. What belongs to the
whole set (videos, categories) is in the metadata beside them. `reader.py` reads it.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.packed import reader
from stemseg_jax.formats import rle


class PackedVideos(tfds.core.GeneratorBasedBuilder):
    """Videos with instance masks, as one of the readers gives them.

    The licence is that of the dataset: see its reader in stemseg_jax/data/datasets/.
    """

    VERSION = tfds.core.Version("1.1.0")  # 1.1.0: with intrinsics
    # TFDS looks for checksums beside the code, by a package that nothing installs.
    code_path = None

    def __init__(
        self,
        *,
        dataset: readers.Dataset | None = None,
        options: Mapping[str, Any] | None = None,
        **arguments,
    ):
        self._dataset = dataset
        self._options = options or {}
        super().__init__(**arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Text(),  # the bytes of a JPEG or PNG file
                    "ids": tfds.features.Sequence(np.int64),
                    "counts": tfds.features.Sequence(tfds.features.Text()),
                    "ignore": tfds.features.Text(),  # empty: nothing is ignored
                }
            ),
            metadata=tfds.core.MetadataDict(),
            # A video's frames lie one after another.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        return {reader.SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        first, videos = 0, []
        for video in self._dataset.videos:
            categories = {}
            for index in range(video.num_frames):
                labels = encoded_video.labels(video, index)
                ids = sorted(labels.masks)
                categories |= {i: labels.categories[i] for i in ids}
                yield (
                    first + index,
                    {
                        "image": _encoded(video, index),
                        "ids": ids,
                        "counts": [rle.encode(labels.masks[i])["counts"] for i in ids],
                        "ignore": _ignore(labels),
                    },
                )
            videos.append(_description(video, first, categories))
            first += video.num_frames
        dataset = self._dataset
        self.info.metadata.update(
            name=dataset.name,
            categories={str(number): n for number, n in dataset.categories.items()},
            exhaustive=dataset.exhaustive,
            max_gap=dataset.max_gap,
            options=json.dumps(self._options, sort_keys=True, default=list),
            videos=videos,
        )


def refuse_packed(folder: pathlib.Path, name: str) -> None:
    """Raises if something is where a set would be packed."""
    place = folder / "packed_videos" / name / str(PackedVideos.VERSION)
    if place.exists():
        raise ValueError(
            f"{place} is there already; a packed set is not replaced. Train with it by "
            f"--config.data.packed={folder}, delete it, or choose another --output."
        )


def pack(
    dataset: readers.Dataset,
    folder: pathlib.Path,
    *,
    name: str,
    options: Mapping[str, Any],
) -> pathlib.Path:
    """Writes a dataset and gives the folder, which is complete or not there.

    Args:
        name: Of the packed set, e.g. "ytvis_train".
        options: What the reader was given, to be compared when it is read.

    Raises:
        ValueError: As `refuse_packed`.
    """
    refuse_packed(folder, name)
    with tempfile.TemporaryDirectory() as unused:
        builder = PackedVideos(
            dataset=dataset,
            options=options,
            data_dir=str(folder),
            config=tfds.core.BuilderConfig(name=name),
            file_format="array_record",
        )
        builder.download_and_prepare(download_dir=unused)
    return pathlib.Path(builder.data_dir)


def _encoded(video: readers.Video, index: int) -> bytes:
    """The image as it is; pixels that no file holds become a PNG."""
    if type(video) is encoded_video.EncodedVideo:  # and not a shrunk one
        video.frame(index)  # decoded once, so that nothing broken is packed
        return video.encoded(index)
    image = cv2.cvtColor(video.frame(index), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def _ignore(labels: encoded_video.FrameLabels) -> bytes:
    if labels.ignore is None or not labels.ignore.any():
        return b""
    return rle.encode(labels.ignore)["counts"]


def _description(
    video: readers.Video, first: int, categories: Mapping[int, int]
) -> dict[str, Any]:
    return {
        "name": video.name,
        "height": video.height,
        "width": video.width,
        "first": first,
        "num_frames": video.num_frames,
        "annotated": video.annotated,
        "annotated_frames": list(video.annotated_frames),
        "categories": {str(i): c for i, c in categories.items()},
        "intrinsics": None if video.intrinsics is None else video.intrinsics.tolist(),
    }
