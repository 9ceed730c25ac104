"""Results to look at: sheets of frames, and tables of text."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.PngImagePlugin
from jaxtyping import UInt8

from stemseg_jax.formats import whole

OURS = ("Software", "stemseg_jax")  # a text in the PNG
INK = (28, 28, 33)
FAINT = (116, 116, 126)
PAPER = (255, 255, 255)
GROUND = (236, 236, 239)  # behind a frame that is missing


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"] | None]],
    captions: Sequence[str],
    *,
    columns: Sequence[str] = (),
    title: str = "",
    width: int = 480,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Frames in rows that share their columns, each row with its caption.

    Args:
        rows: RGB images, e.g. one row of frames, one of ground truth, one per model.
            They are brought to the shape of the first; None leaves a place empty.
        captions: One per row, on its left.
        columns: One per column, on top.
        title: Above all.
        width: Of one frame on the sheet, in pixels. Overlays drawn at about this width
            keep their labels legible.

    Raises:
        ValueError: If there is no image, or captions do not match rows or columns.
    """
    images = [image for row in rows for image in row if image is not None]
    count = max((len(row) for row in rows), default=0)
    if not images:
        raise ValueError("A contact sheet needs at least one image.")
    if len(captions) != len(rows) or len(columns) not in (0, count):
        raise ValueError(
            f"{len(captions)} captions for {len(rows)} rows, {len(columns)} column "
            f"captions for {count} columns; expected one each."
        )
    cell = round(width * images[0].shape[0] / images[0].shape[1]), width
    gap = max(4, width // 50)
    margin = 4 * gap
    font = PIL.ImageFont.load_default(max(12, round(width / 20)))
    large = PIL.ImageFont.load_default(max(16, round(width / 14)))
    line = round(1.6 * font.size)
    left = margin + round(max(map(font.getlength, captions), default=0)) + margin // 2
    top = margin + (round(2.2 * large.size) if title else 0) + (line if columns else 0)

    sheet = PIL.Image.new(
        "RGB",
        (
            left + count * (cell[1] + gap) - gap + margin,
            top + len(rows) * (cell[0] + gap) - gap + margin,
        ),
        PAPER,
    )
    pen = PIL.ImageDraw.Draw(sheet)
    if title:
        pen.text((margin, margin), title, INK, large)
    for j, text in enumerate(columns):
        centre = left + j * (cell[1] + gap) + cell[1] / 2
        pen.text((centre, top - line / 2), text, FAINT, font, anchor="mm")
    for i, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        y = top + i * (cell[0] + gap)
        pen.text((left - margin // 2, y + cell[0] / 2), caption, INK, font, anchor="rm")
        for j in range(count):
            x = left + j * (cell[1] + gap)
            image = row[j] if j < len(row) else None
            if image is None:
                pen.rectangle((x, y, x + cell[1] - 1, y + cell[0] - 1), GROUND)
            else:
                sheet.paste(PIL.Image.fromarray(_resized(image, cell)), (x, y))
    return np.array(sheet)


def write_sheet(
    path: str | pathlib.Path, sheet: UInt8[np.ndarray, "H W 3"]
) -> pathlib.Path:
    """Writes a contact sheet, which appears once complete and says that it is ours.

    Raises:
        ValueError: As `refuse_foreign`.
    """
    path = pathlib.Path(path)
    refuse_foreign(path)
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text(*OURS)
    with whole.file(path) as partial:
        image = PIL.Image.fromarray(sheet)
        # Smallest files (`optimize`) took ten times as long, and were a fifth smaller.
        image.save(partial, "PNG", compress_level=3, pnginfo=about)
    return path


def refuse_foreign(path: pathlib.Path) -> None:
    """To be called before the work that ends in a sheet.

    Raises:
        ValueError: There is something at `path` that is none of our sheets.
    """
    if not path.exists() and not path.is_symlink():
        return
    with contextlib.suppress(OSError, SyntaxError), PIL.Image.open(path) as image:
        if image.info.get(OURS[0]) == OURS[1] and not path.is_symlink():
            return
    raise ValueError(
        f"{path} is there already, and none of our contact sheets; only these are "
        "replaced. Choose another folder, or move it away."
    )


def table(
    rows: Sequence[Mapping[str, str | float | int | None]], *, digits: int = 3
) -> str:
    """Plain text: one line per mapping, one column per key, in order of appearance.

    Numbers stand on the right, with `digits` decimals unless they are whole by type;
    None and what a row lacks is "-".
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_text(row.get(key), digits) for key in keys] for row in rows]
    numeric = [
        all(isinstance(row.get(key), float | int | None) for row in rows)
        for key in keys
    ]
    widths = [max(map(len, column)) for column in zip(keys, *cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        aligned = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        )
        return "  ".join(aligned).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(keys), rule, *map(line, cells)])


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table for a page: one line per mapping, one column per key that any row fills,
    in order of appearance; "-" where a row lacks it."""
    keys = list(dict.fromkeys(key for row in rows for key in row if row[key]))
    cells = [[row.get(key, "-") for key in keys] for row in rows]
    lines = [keys, ["---"] * len(keys), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str | float | int | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < image.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, size[::-1], interpolation=method)
