"""A frame with its objects drawn over it: colour, outline, and a label on each.

Everything is anti-aliased and grows with the frame, so that a thumbnail and a 4K frame
look alike.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import scipy.ndimage
import scipy.special
from jaxtyping import Integer, UInt8

Colour = tuple[int, int, int]
Box = tuple[slice, slice]

INK = (23, 23, 28)
PAPER = (255, 255, 255)


def draw(
    image: UInt8[np.ndarray, "h w 3"],
    labels: Integer[np.ndarray, "h w"],
    names: Mapping[int, str] | None = None,
    *,
    opacity: float = 0.48,
    scale: int = 1,
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame, RGB, with every object in the colour of its id.

    Args:
        labels: Ids from 1; what is below belongs to no object.
        names: Text beside the id, e.g. the category. None: no labels at all. An
            object too small for its text shows the id alone.
        opacity: Of the colour inside; outlines are opaque.
        scale: Enlarges small frames first; `enlargement` gives a good value.
    """
    if scale > 1:
        image = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
        labels = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    style = Style(unit=_unit(*labels.shape), softness=scale, opacity=opacity)
    objects = list(_objects(labels))

    weight = _shadow(labels, style)
    paint = np.zeros_like(image)  # black under the shadow
    for id, box in objects:
        box = _grown(box, style.margin, labels.shape)
        ours = _coverage((labels[box] == id).astype(np.uint8), style)
        on_top = ours > weight[box]
        np.copyto(weight[box], ours, where=on_top)
        np.copyto(paint[box], np.array(colour(id), np.uint8), where=on_top[..., None])
    drawn = _blend(image, paint, weight)
    if names is not None:
        _put_labels(drawn, objects, labels, names, style)
    return drawn


@functools.cache
def colour(id: int) -> Colour:
    """The colour of an id: hues far apart from those of the ids before.

    Hues go round by the golden angle, from blue, in OKLCH, where equal steps look
    equal; each round is a little lighter or darker. Yellow is lighter than the others:
    dark yellow is brown.
    """
    hue = math.radians(255 + 137.508 * (id - 1))
    lightness = (0.70, 0.64, 0.80)[(id - 1) // 4 % 3]
    lightness += 0.10 * max(0.0, math.cos(hue - math.radians(105)))
    chroma = 0.19
    while True:  # less chroma until a screen can show it
        rgb = _oklab_to_linear(
            lightness, chroma * math.cos(hue), chroma * math.sin(hue)
        )
        if rgb.min() >= 0 and rgb.max() <= 1:
            return tuple(int(c) for c in _encoded(rgb))
        chroma -= 0.005


def enlargement(height: int, width: int) -> int:
    """The whole factor that makes a small frame large enough for labels.

    The longer side stays below 1920: a frame of 4 x 4000 is not enlarged.
    """
    return max(1, min(math.ceil(240 / min(height, width)), 1920 // max(height, width)))


class Style(NamedTuple):
    """Lengths in pixels."""

    unit: float  # a 480 x 854 frame has 1
    softness: float  # size of the steps that a mask's border has
    opacity: float

    @property
    def line(self) -> float:
        return max(1.4, 2.2 * self.unit)

    @property
    def sigma(self) -> float:
        return max(0.8, 0.8 * self.unit, 0.9 * self.softness * (self.softness > 1))

    @property
    def margin(self) -> int:
        return math.ceil(3 * self.sigma)

    @property
    def text(self) -> int:
        return round(max(12, 14 * self.unit))


def _unit(height: int, width: int) -> float:
    return math.sqrt(height * width / (480 * 854))


def _objects(labels: np.ndarray) -> Iterator[tuple[int, Box]]:
    """Ids in the frame with their boxes."""
    found = scipy.ndimage.find_objects(np.maximum(labels, 0).astype(np.int32))
    for id, box in enumerate(found, start=1):
        if box is not None:
            yield id, box


def _grown(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, size))
        for s, size in zip(box, shape, strict=True)
    )


def _shadow(labels: np.ndarray, style: Style) -> UInt8[np.ndarray, "h w"]:
    """A dark rim just outside the objects, so that outlines stand out anywhere."""
    objects = (labels > 0).astype(np.uint8)
    near = cv2.GaussianBlur(objects * np.uint8(220), (0, 0), 2.5 * style.sigma)
    return near * (1 - objects)


def _coverage(mask: np.ndarray, style: Style) -> UInt8[np.ndarray, "h w"]:
    """How much of each pixel the object's colour covers."""
    blurred = cv2.GaussianBlur(mask * np.uint8(255), (0, 0), style.sigma)
    covered = cv2.LUT(blurred, _coverage_of_blurred(style))
    # Blurring loses what is thinner than it reaches; there the mask itself is filled.
    reach = np.ones((style.margin, style.margin), np.uint8)
    thick = cv2.dilate((blurred > 127).astype(np.uint8), reach)
    thin = mask & (1 - thick)
    return np.maximum(covered, thin * np.uint8(255 * style.opacity))


@functools.cache
def _coverage_of_blurred(style: Style) -> UInt8[np.ndarray, "256"]:
    """An outline inside the border over a lighter fill, by value of the blurred mask.

    A straight border blurred by sigma has value Phi(d / sigma) at distance d.
    """
    blurred = np.clip(np.arange(256) / 255, 1e-6, 1 - 1e-6)
    inside = style.sigma * scipy.special.ndtri(blurred)
    object_ = np.clip(inside + 0.5, 0, 1)
    line = np.clip(style.line + 0.5 - inside, 0, 1)
    return np.rint(255 * object_ * np.maximum(style.opacity, line)).astype(np.uint8)


def _blend(
    below: UInt8[np.ndarray, "h w 3"],
    above: UInt8[np.ndarray, "h w 3"],
    weight: UInt8[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    weight = cv2.merge([weight] * 3)
    return cv2.add(
        cv2.multiply(below, 255 - weight, scale=1 / 255),
        cv2.multiply(above, weight, scale=1 / 255),
    )


def _put_labels(drawn, objects, labels, names, style: Style) -> None:
    """Writes one label per object into `drawn`, clear of the others where it can be."""
    taken = np.zeros(labels.shape, bool)
    for id, box in objects:
        box, mask = _largest_part(labels[box] == id, box)
        chip = _chip(f"{id}  {names.get(id, '')}".rstrip(), colour(id), style.text)
        if chip.shape[1] > 1.6 * mask.shape[1]:
            chip = _chip(str(id), colour(id), style.text)
        place = _free_place(chip.shape[:2], box, mask, taken)
        taken[place] = True
        below = np.ascontiguousarray(drawn[place])
        chip = chip[: below.shape[0], : below.shape[1]]  # the frame may be smaller
        drawn[place] = _blend(below, chip[..., :3].copy(), chip[..., 3])


def _largest_part(mask: np.ndarray, box: Box) -> tuple[Box, np.ndarray]:
    """The largest connected part of a mask, which is what carries the label."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    x, y, width, height, _ = (int(v) for v in statistics[largest])
    part = parts[y : y + height, x : x + width] == largest
    y, x = y + box[0].start, x + box[1].start
    return (slice(y, y + height), slice(x, x + width)), part


def _free_place(size: tuple[int, int], box: Box, mask: np.ndarray, taken) -> Box:
    """The first free place of: above the object, on it, below it, at its sides."""
    height, width = size
    rows, columns = box
    gap = height // 4
    top = columns.start + int(np.median(np.flatnonzero(mask[0])))
    bottom = columns.start + int(np.median(np.flatnonzero(mask[-1])))
    above, middle = rows.start - gap - height, (rows.start + rows.stop - height) // 2
    corners = [
        (above, top - width // 2),
        (above, top - width - gap),
        (above, top + gap),
        (rows.start + gap, top - width // 2),
        (rows.stop + gap, bottom - width // 2),
        (middle, columns.stop + gap),
        (middle, columns.start - gap - width),
        (middle, (columns.start + columns.stop - width) // 2),
    ]
    places = []
    for y, x in corners:
        y = min(max(y, 0), max(taken.shape[0] - height, 0))
        x = min(max(x, 0), max(taken.shape[1] - width, 0))
        places.append((slice(y, y + height), slice(x, x + width)))
    return min(places, key=lambda place: taken[place].sum())


@functools.lru_cache(maxsize=1024)
def _chip(text: str, fill: Colour, size: int) -> UInt8[np.ndarray, "h w 4"]:
    """Text on a rounded plate, RGBA."""
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
    chip = PIL.Image.new("RGB", (width, height), fill)
    baseline = (height + ascent) // 2
    PIL.ImageDraw.Draw(chip).text(
        (pad - left, baseline), text, _readable_on(fill), font, anchor="ls"
    )
    chip.putalpha(plate.resize((width, height), PIL.Image.Resampling.BOX))
    return np.array(chip)


def _readable_on(fill: Colour) -> Colour:
    """Dark or white, whichever has the higher contrast."""
    luminance = _decoded(fill) @ (0.2126, 0.7152, 0.0722)
    return INK if luminance > 0.33 else PAPER


def _oklab_to_linear(lightness: float, a: float, b: float) -> np.ndarray:
    """Linear sRGB of an OKLab colour.

    Source: Ottosson, "A perceptual color space for image processing", 2020.
    """
    cone = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return to_rgb @ cone**3


def _encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB 0..255 of linear 0..1."""
    small = 12.92 * linear
    large = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.rint(255 * np.where(linear < 0.0031308, small, large))


def _decoded(colour: Colour) -> np.ndarray:
    encoded = np.array(colour) / 255
    small, large = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded < 0.04045, small, large)
