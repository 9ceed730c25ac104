"""COCO run-length encoded masks: columns first, runs of zeros and ones in turn.

pycocotools does the work; what it does not do is to notice a string that was cut off.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64
from pycocotools import mask as coco

from stemseg_jax.outputs.tracks import Rle


class BrokenMaskError(ValueError):
    """One mask of a sequence of masks cannot be read."""

    def __init__(self, index: int, reason: str):
        super().__init__(reason)
        self.index = index


def encode(mask: Bool[np.ndarray, "H W"]) -> Rle:
    """The mask as compressed run lengths."""
    return coco.encode(np.asfortranarray(mask, np.uint8))


def decode(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The mask of compressed run lengths, checked.

    Raises:
        BrokenMaskError: The runs do not fill the frame.
    """
    areas([rle])
    runs, _ = _run_lengths([rle["counts"]])
    values = np.tile([False, True], len(runs))
    return np.repeat(values, runs.ravel()).reshape(rle["size"], order="F")


def to_json(rle: Rle) -> dict[str, Any]:
    height, width = rle["size"]
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode()}


def from_json(segmentation: Any, height: int, width: int) -> Rle:
    """Any form in which annotation files give a mask, as compressed run lengths.

    Args:
        segmentation: Compressed or uncompressed run lengths, or a list of polygons.

    Raises:
        ValueError: Another form, or a mask of another size than the frame.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            return encode(np.zeros((height, width), bool))
        return coco.merge(coco.frPyObjects(segmentation, height, width))
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= {*segmentation}:
        raise ValueError(
            f"a mask is {_shortened(segmentation)}; expected null, run lengths "
            '{"size": [height, width], "counts": ...} or polygons'
        )
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise ValueError(f"a mask has size {size}, but the frame [{height}, {width}]")
    if isinstance(counts, list):
        runs = np.array(counts)
        if len(runs) == 0 or runs.dtype.kind not in "iu" or (runs < 0).any():
            raise ValueError("run lengths must be integers of at least 0")
        if runs.sum() != height * width:
            raise ValueError(_does_not_fill(int(runs.sum()), height, width))
        return coco.frPyObjects({"size": size, "counts": counts}, height, width)
    if isinstance(counts, str):
        # A letter beyond ASCII becomes "?", which no run length contains.
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes):
        raise ValueError(f"a mask has counts {_shortened(counts)}; expected a string")
    return {"size": (height, width), "counts": counts}


def areas(rles: Sequence[Rle]) -> Int64[np.ndarray, "N"]:
    """Pixels of each mask.

    Raises:
        BrokenMaskError: The first mask whose string is cut off or holds other letters,
            or whose runs do not add up to its frame.
    """
    if not rles:
        return np.zeros(0, np.int64)
    runs, first = _run_lengths([rle["counts"] for rle in rles])
    zeros, ones = np.add.reduceat(runs, first).T
    for index, rle in enumerate(rles):
        height, width = rle["size"]
        if zeros[index] + ones[index] != height * width:
            total = int(zeros[index] + ones[index])
            raise BrokenMaskError(index, _does_not_fill(total, height, width))
    return ones


def _run_lengths(
    strings: list[bytes],
) -> tuple[Int64[np.ndarray, "pairs 2"], Int64[np.ndarray, "N"]]:
    """Runs of zeros and of ones, and the row in which each mask begins.

    A number is written in groups of five bits, lowest first, as the letters from "0";
    the letters from "P" say that another group follows. From the fourth on, numbers are
    differences to the run of the same kind before.
    """
    letters = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(ord("0"))
    ends = np.cumsum([len(string) for string in strings])

    def refuse(position, reason):
        index = int(np.searchsorted(ends, position, side="right"))
        raise BrokenMaskError(index, reason)

    if not all(strings):
        raise BrokenMaskError(strings.index(b""), "a mask is an empty string")
    if (letters > 63).any():
        refuse(np.argmax(letters > 63), "a mask holds a letter no run length has")
    is_last = letters < 32
    if not is_last[ends - 1].all():
        cut = ends[np.argmin(is_last[ends - 1])] - 1
        refuse(cut, "a mask is cut off in the middle of a run length")

    last = np.flatnonzero(is_last)
    groups = np.diff(last, prepend=-1)
    start = last - groups + 1
    if groups.max() > 7:  # 35 bits; a run has at most 32
        refuse(start[groups.argmax()], "a mask has a run length beyond 32 bits")
    numbers = (letters[start] & 31).astype(np.int64)
    for group in range(1, groups.max()):
        longer = np.flatnonzero(groups > group)
        bits = (letters[start[longer] + group] & 31).astype(np.int64)
        numbers[longer] += bits << (5 * group)
    negative = np.flatnonzero(letters[last] & 16)  # two's complement
    numbers[negative] -= 1 << (5 * groups[negative])

    begin = np.searchsorted(last, np.concatenate([[0], ends[:-1]]))
    count = np.diff(begin, append=len(numbers))
    rows = (count + 1) // 2  # an odd number of runs is filled up with no ones
    first = np.cumsum(rows) - rows
    written = np.zeros((rows.sum(), 2), np.int64)
    written.ravel()[np.arange(len(numbers)) + np.repeat(2 * first - begin, count)] = (
        numbers
    )
    runs = written.cumsum(axis=0)
    runs -= np.repeat(runs[first] - written[first], rows, axis=0)
    # The second run of zeros, third of all, is not yet a difference.
    runs[:, 0] -= np.repeat(written[first, 0], rows)
    runs[first, 0] = written[first, 0]
    runs[(first + rows - 1)[count % 2 == 1], 1] = 0
    if (runs < 0).any():
        row = np.argmax((runs < 0).any(axis=1))
        index = int(np.searchsorted(first, row, side="right")) - 1
        raise BrokenMaskError(index, "a mask has a run of negative length")
    return runs, first


def _does_not_fill(total: int, height: int, width: int) -> str:
    return (
        f"the runs of a mask add up to {total} pixels, but the frame has {height} x "
        f"{width} = {height * width}; the mask is cut off or of another frame"
    )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
