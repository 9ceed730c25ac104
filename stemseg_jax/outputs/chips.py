"""Short texts on rounded plates, to be put on pictures."""

import functools

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import UInt8

from stemseg_jax.outputs import blending, colours


@functools.lru_cache(maxsize=1024)
def of_text(text: str, fill: colours.Colour, size: int) -> UInt8[np.ndarray, "h w 4"]:
    """Text on a plate, RGBA.

    Args:
        size: Of the font, in pixels.
    """
    font = PIL.ImageFont.load_default(size)
    left, _, right, _ = font.getbbox(text)
    ascent = -font.getbbox("0", anchor="ls")[1]
    pad = round(0.42 * size)
    width, height = right - left + 2 * pad, ascent + 2 * round(0.36 * size)

    fine = 4
    plate = PIL.Image.new("L", (fine * width, fine * height))
    PIL.ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, fine * width - 1, fine * height - 1), 0.32 * fine * height, fill=242
    )
    plated = PIL.Image.new("RGB", (width, height), fill)
    baseline = (height + ascent) // 2
    PIL.ImageDraw.Draw(plated).text(
        (pad - left, baseline), text, colours.readable_on(fill), font, anchor="ls"
    )
    plated.putalpha(plate.resize((width, height), PIL.Image.Resampling.BOX))
    return np.array(plated)


def put(
    image: UInt8[np.ndarray, "H W 3"],
    chip: UInt8[np.ndarray, "h w 4"],
    *,
    top: int,
    left: int,
) -> None:
    """Draws a chip into an image; what leaves it on the right or below is cut off."""
    place = image[top : top + chip.shape[0], left : left + chip.shape[1]]
    chip = chip[: place.shape[0], : place.shape[1]]
    below, above = np.ascontiguousarray(place), np.ascontiguousarray(chip[..., :3])
    place[:] = blending.over(below, above, chip[..., 3])
