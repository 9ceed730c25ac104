"""Pictures of one size beside each other, each with its title."""

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import UInt8

INK = (226, 226, 231)
GROUND = (19, 19, 23)
GAP = 1 / 80  # of the shorter side of a picture
MOST = (2160, 3840)  # of all together; a screen has no more

Size = tuple[int, int]


def tile(
    pictures: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
) -> UInt8[np.ndarray, "H W 3"]:
    """The pictures, RGB, in rows, the whole as near to a screen's shape as may be.

    All get the size of the largest, or less if they would not fit on a screen of 4K
    together. The sides of the whole are even, as videos want them.

    Args:
        pictures: Titles and images; an empty title is none.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("Nothing to show: expected at least one picture.")
    largest = max((image.shape[:2] for _, image in pictures), key=math.prod)
    height, width = _fitting(largest, len(pictures))
    columns = _columns((height, width), len(pictures))
    gap, band = _gap((height, width)), _band((height, width))
    rows = math.ceil(len(pictures) / columns)
    shape = rows * (band + height) + (rows + 1) * gap, columns * (width + gap) + gap
    whole = np.empty((*map(_even, shape), 3), np.uint8)
    whole[:] = GROUND
    for number, (title, image) in enumerate(pictures):
        row, column = divmod(number, columns)
        missing = max((row + 1) * columns - len(pictures), 0)
        top = gap + row * (band + height + gap)
        left = gap + column * (width + gap) + missing * (width + gap) // 2
        whole[top : top + band, left : left + width] = _title(title, band, width)
        top += band
        whole[top : top + height, left : left + width] = _resized(image, height, width)
    return whole


def _columns(size: Size, count: int) -> int:
    """In how many columns the whole is nearest to 16:9, without an empty one."""

    def misfit(columns: int) -> float:
        rows = math.ceil(count / columns)
        wide, high = columns * size[1], rows * (size[0] + _band(size))
        empty = rows * columns - count
        return abs(math.log(wide / high * 9 / 16)) + 0.1 * empty

    return min(range(1, count + 1), key=misfit)


def _fitting(size: Size, count: int) -> Size:
    columns = _columns(size, count)
    rows = math.ceil(count / columns)
    scale = min(1.0, MOST[0] / (rows * size[0]), MOST[1] / (columns * size[1]))
    return max(int(scale * size[0]), 1), max(int(scale * size[1]), 1)


def _band(size: Size) -> int:
    """The height of a title."""
    return round(1.9 * _font_size(size))


def _font_size(size: Size) -> int:
    return round(max(11, min(size) / 30))


def _gap(size: Size) -> int:
    return max(2, round(GAP * min(size)))


@functools.lru_cache(maxsize=256)
def _title(text: str, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    band = PIL.Image.new("RGB", (width, height), GROUND)
    font = PIL.ImageFont.load_default(round(height / 1.9))
    PIL.ImageDraw.Draw(band).text((2, height / 2), text, INK, font, anchor="lm")
    return np.array(band)


def _resized(
    image: UInt8[np.ndarray, "_ _ 3"], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Brought to a size; of another shape, with bars at its sides."""
    scale = min(height / image.shape[0], width / image.shape[1])
    rows = min(max(round(scale * image.shape[0]), 1), height)
    columns = min(max(round(scale * image.shape[1]), 1), width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, (columns, rows), interpolation=method)
    if (rows, columns) == (height, width):
        return resized
    framed = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    framed[top : top + rows, left : left + columns] = resized
    return framed


def _even(side: int) -> int:
    return side + side % 2
