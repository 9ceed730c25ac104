"""COCO run-length encoded masks: columns first, runs of zeros and ones in turn.

pycocotools does the rest, but a string that was cut off it takes for a smaller mask, or
never comes back from it: masks from files pass through `areas` or `decode` first.
"""

import array
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import cv2
import msgspec
import numpy as np
from jaxtyping import Bool, Int32, Int64, Shaped
from msgspec import Meta
from pycocotools import mask as coco

from stemseg_jax.formats.declared import MOST_PIXELS, Side, size_fault

Run = Annotated[int, Meta(ge=0, le=MOST_PIXELS)]


class Segmentation(msgspec.Struct, gc=False):
    """A mask as annotation files have it, the runs compressed or one by one."""

    size: tuple[Side, Side]  # height, width
    counts: str | list[Run]


class Compressed(msgspec.Struct, gc=False):
    """The one form that result files may have."""

    size: tuple[Side, Side]
    counts: str


Polygons = list[list[float]]  # of each x, y, x, y, ...


class Rle(TypedDict):
    """A COCO run-length encoded mask, as pycocotools reads and writes it."""

    size: tuple[int, int]  # height, width
    counts: bytes


WRONG_RUN = "a mask has a run of negative length, or one longer than a frame"


class BrokenMaskError(ValueError):
    """One mask of a sequence of masks cannot be read."""

    def __init__(self, index: int, reason: str):
        super().__init__(reason)
        self.index = index


def encode(mask: Bool[np.ndarray, "H W"]) -> Rle:
    """The mask as compressed run lengths; looks at the columns that hold it alone."""
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    ends = np.array([height * width])
    if len(columns):
        inner = mask[:, columns[0] : columns[-1] + 1].T.ravel()
        inner = np.pad(inner, 1)  # its first and last pixel may be in the mask
        changes = np.flatnonzero(inner[1:] != inner[:-1]) + columns[0] * height
        ends = np.append(changes[changes < ends], ends)
    runs = array.array("I", np.diff(ends, prepend=0).astype(np.uint32).tobytes())
    return coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def decode(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The mask of compressed run lengths, checked; faster than pycocotools.

    Raises:
        BrokenMaskError: The runs do not fill the frame.
    """
    height, width = rle["size"]
    mask = np.zeros((width, height), bool)
    fill(mask.T, rle, True)
    return mask.T


def fill(labels: Shaped[np.ndarray, "H W"], rle: Rle, label: int | bool) -> None:
    """Sets the pixels of a mask; looks at the columns that hold it alone.

    Args:
        labels: Columns first in memory, as the transpose of a new array is.

    Raises:
        BrokenMaskError: The runs do not fill the frame.
    """
    height, width = rle["size"]
    assert labels.shape == (height, width) and labels.flags.f_contiguous
    _check_frames([rle])
    numbers, _, _ = _numbers([rle["counts"]])
    runs = numbers.astype(np.int64)
    np.cumsum(runs[1::2], out=runs[1::2])
    np.cumsum(runs[2::2], out=runs[2::2])
    # The sum of longer ones might wrap around.
    if runs.min() < 0 or runs.max() > MOST_PIXELS:
        raise BrokenMaskError(0, WRONG_RUN)
    if (total := int(runs.sum())) != height * width:
        raise BrokenMaskError(0, _wrong_total(height, width, total))
    # From the first to the last pixel of the mask: an odd number of runs.
    inner = runs[1 : len(runs) - len(runs) % 2]
    pixels = labels.reshape(-1, order="F")[runs[0] : runs[0] + inner.sum()]
    pixels[np.repeat(np.arange(len(inner)) % 2 == 0, inner)] = label


def resized(rle: Rle, size: tuple[int, int]) -> Rle:
    """The mask in a frame of another size (height, width).

    A pixel is in it if it is by more than one half, bilinearly with half-pixel centres
    and without antialiasing, as frames come to the network: masks that do not overlap
    still do not. A mask of a few pixels may vanish.
    """
    if tuple(rle["size"]) == tuple(size):
        return rle
    whole = decode(rle).astype(np.float32, order="C")  # OpenCV is slow with the other
    return encode(cv2.resize(whole, size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5)


def union(rles: Sequence[Rle]) -> Rle:
    """The pixels in any of the masks."""
    return coco.merge(list(rles))


def box(rle: Rle) -> list[float]:
    """(x, y, width, height) around the mask, as annotation files have it."""
    return coco.toBbox(rle).tolist()


def to_json(rle: Rle) -> dict[str, Any]:
    height, width = rle["size"]
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode()}


def from_json(
    segmentation: Segmentation | Compressed | list, height: int, width: int
) -> Rle:
    """Any form in which files give a mask, as compressed run lengths.

    Args:
        segmentation: If a list, polygons, whose numbers may lie in arrays.

    Raises:
        ValueError: A mask of another size than the frame, runs that do not fill it, or
            polygons that leave it. Compressed runs are looked at by `areas`.
    """
    if isinstance(segmentation, list):
        return _drawn(segmentation, height, width)
    if segmentation.size != (height, width):
        raise ValueError(
            f"a mask has size {[*segmentation.size]}, but the frame has "
            f"{[height, width]}"
        )
    counts = segmentation.counts
    if isinstance(counts, str):
        # A letter beyond ASCII becomes "?", which no run length contains.
        return {"size": (height, width), "counts": counts.encode("ascii", "replace")}
    if (total := sum(counts)) != height * width:  # exact, as integers of Python are
        raise ValueError(_wrong_total(height, width, total))
    runs = array.array("I", counts)  # saves half the time
    return coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _drawn(polygons: list, height: int, width: int) -> Rle:
    """What lies in any of the polygons; they may leave the frame by its own length."""
    if not polygons:
        return encode(np.zeros((height, width), bool))
    margin = max(height, width)
    length = 0.0
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"a polygon of {len(polygon)} numbers; expected x and y of at least 3 "
                "corners"
            )
        corners = np.reshape(polygon, (-1, 2))
        # False where a corner is NaN, too.
        inside = (corners >= -margin) & (corners <= np.add((width, height), margin))
        if not inside.all():
            x, y = corners[~inside.all(axis=1)][0].tolist()
            raise ValueError(
                f"a polygon has a corner at x={x:g}, y={y:g}, far outside of the frame "
                f"of {height} x {width}"
            )
        steps = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
        length += float(steps.sum())
    # pycocotools holds five points for each pixel of an outline.
    if 5 * length > MOST_PIXELS:
        raise ValueError(
            f"polygons whose outlines are {length:.0f} pixels long; no more than "
            f"{MOST_PIXELS // 5} are drawn"
        )
    return coco.merge(coco.frPyObjects(polygons, height, width))


def areas(rles: Sequence[Rle]) -> Int64[np.ndarray, "N"]:
    """Pixels of each mask.

    Raises:
        BrokenMaskError: The first mask whose string is cut off or holds other letters,
            or whose runs do not add up to its frame.
    """
    if not rles:
        return np.zeros(0, np.int64)
    _check_frames(rles)
    runs, first = _run_lengths([rle["counts"] for rle in rles])
    zeros, ones = np.add.reduceat(runs, first, axis=1, dtype=np.int64)
    wanted = np.array([rle["size"][0] * rle["size"][1] for rle in rles])
    wrong = np.flatnonzero(zeros + ones != wanted)
    if len(wrong):
        index = int(wrong[0])
        total = int(zeros[index] + ones[index])
        raise BrokenMaskError(index, _wrong_total(*rles[index]["size"], total))
    return ones


def _wrong_total(height: int, width: int, total: int) -> str:
    return (
        f"the runs of a mask cover {total} pixels, but {height} x {width} is "
        f"{height * width}; the mask is cut off or of another frame"
    )


def _check_frames(rles: Sequence[Rle]) -> None:
    for size in {tuple(rle["size"]) for rle in rles}:
        if min(size) < 1 or size_fault(*size):
            index = next(i for i, r in enumerate(rles) if tuple(r["size"]) == size)
            raise BrokenMaskError(index, f"no frame is of {size[0]} x {size[1]} pixels")


def _numbers(
    strings: list[bytes],
) -> tuple[Int32[np.ndarray, "R"], Int64[np.ndarray, "R"], Int64[np.ndarray, "N"]]:
    """The numbers in the strings, where each ends, and where each string ends.

    A number is written in groups of five bits, lowest first, as the letters from "0";
    the letters from "P" say that another group follows.
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

    # First as if each letter were the last of its number, whose highest bit is the
    # sign; then the groups before it are put below.
    values = (letters & 31 ^ 16).astype(np.int32) - 16
    longer = np.flatnonzero(~is_last) + 1
    for group in range(1, 6):
        if not len(longer):
            break
        values[longer] = values[longer] * 32 + (letters[longer - group] & 31)
        longer = longer[longer > group]
        longer = longer[~is_last[longer - group - 1]]
    if len(longer):
        refuse(longer[0], "a mask has a run length beyond 30 bits")
    last = np.flatnonzero(is_last)
    return values[last], last, ends


def _run_lengths(
    strings: list[bytes],
) -> tuple[Int32[np.ndarray, "2 pairs"], Int64[np.ndarray, "N"]]:
    """Runs of zeros and of ones, and the column in which each mask begins.

    From the fourth of a mask on, numbers are differences to the run of the same kind
    before.
    """
    numbers, last, ends = _numbers(strings)
    begin = np.searchsorted(last, np.concatenate([[0], ends[:-1]]))
    count = np.diff(begin, append=len(numbers))
    odd = count % 2 == 1  # these end with zeros: no ones are put behind them
    numbers = np.insert(numbers, (begin + count)[odd], 0)
    runs = np.ascontiguousarray(numbers.reshape(-1, 2).T)
    columns = (count + 1) // 2
    first = np.cumsum(columns) - columns
    # Sums of differences, which begin anew with each mask: what went before is taken
    # off its first column. The second run of zeros, third of all, is no difference yet.
    second = first[columns > 1] + 1
    runs[0, second] -= runs[0, second - 1]
    before = np.add.reduceat(runs, first, axis=1, dtype=np.int32)[:, :-1]
    runs[:, first[1:]] -= before
    np.cumsum(runs, axis=1, dtype=np.int32, out=runs)
    runs[1, (first + columns - 1)[odd]] = 0
    # A number has 30 bits and a frame 26: the first sum that is wrong cannot have
    # wrapped around.
    if runs.min() < 0 or runs.max() > MOST_PIXELS:
        wrong = ((runs < 0) | (runs > MOST_PIXELS)).any(axis=0)
        index = int(np.searchsorted(first, np.argmax(wrong), side="right")) - 1
        raise BrokenMaskError(index, WRONG_RUN)
    return runs, first
