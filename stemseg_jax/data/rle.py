"""Run-length encoded masks in the forms of the COCO family of files."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco


def encode(mask: Bool[np.ndarray, "H W"]) -> bytes:
    """Compressed counts of a mask."""
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def compress(segmentation: dict | list, size: tuple[int, int]) -> bytes:
    """Compressed counts of a segmentation as it stands in a JSON file.

    Args:
        segmentation: {"counts": text or list of run lengths}, or a list of polygons.
        size: (height, width) of the frame.
    """
    if isinstance(segmentation, list):
        return coco.merge(coco.frPyObjects(segmentation, *size))["counts"]
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return coco.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
    return counts.encode() if isinstance(counts, str) else counts


def union(masks: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """Counts of the pixels in any of the masks."""
    return coco.merge([{"size": list(size), "counts": c} for c in masks])["counts"]


def decode(
    counts: bytes | dict | list, size: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The mask of compressed counts, or of whatever `compress` takes.

    Raises:
        ValueError: The runs do not fill the frame. (pycocotools notices only runs that
            are too long, and returns whatever lay in memory for the rest.)
    """
    height, width = size
    if not isinstance(counts, bytes):
        counts = compress(counts, size)
    try:
        pixels = int(run_lengths(counts).sum())
    except (IndexError, ValueError):
        pixels = None
    if pixels != height * width:
        covered = "no run lengths" if pixels is None else f"runs over {pixels} pixels"
        raise ValueError(
            f"the RLE holds {covered}, but {height} x {width} is {height * width}. "
            f"Compare the annotation's size with the frame's, or set "
            f"config.data.skip_broken=True."
        )
    return coco.decode({"size": [height, width], "counts": counts}).view(bool)


def run_lengths(counts: bytes) -> Int[np.ndarray, "R"]:
    """Lengths of the runs of 0, 1, 0, ... in column-major order.

    A number is a string of digits of base 32, lowest first, of which all but the last
    carry bit 32; bit 16 of the last is the sign. From the fourth on, the difference
    to the run before the previous one is stored.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(digits & 32 == 0) + 1
    starts = np.concatenate([[0], ends[:-1]])
    place = np.arange(ends[-1]) - np.repeat(starts, ends - starts)
    digits = digits[: ends[-1]]
    runs = np.add.reduceat((digits & 31) << 5 * place, starts)
    negative = digits[ends - 1] & 16 != 0
    runs -= np.where(negative, 1 << 5 * (ends - starts), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
