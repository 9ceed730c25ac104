"""Text files of KITTI MOTS and MOTSChallenge: one a sequence, one mask a line.

A line is `frame id class height width rle`. Masks of a frame do not overlap.
"""

import pathlib
from typing import NamedTuple

from pycocotools import mask as coco

from stemseg_jax.formats import files, rle

CAR, PEDESTRIAN, IGNORE = 1, 2, 10
MOST_FRAMES = 10**6  # of a sequence; what a file says it has, is made room for
IDS_PER_CLASS = 1000  # an id is its class times this, and a number below


class Line(NamedTuple):
    """One mask of a file."""

    frame: int
    id: int
    category: int
    mask: rle.Rle

    def __str__(self) -> str:
        height, width = self.mask["size"]
        return (
            f"{self.frame} {self.id} {self.category} {height} {width} "
            f"{self.mask['counts'].decode()}"
        )


def parse(text: str) -> Line:
    """The line that was written as `text`.

    Raises:
        ValueError: It has another form. Whether the mask is whole is not looked at.
    """
    fields = text.split(" ")
    # More digits than these are no frame, id or size of anything.
    sound = [len(field) < 10 and field.isdecimal() for field in fields[:5]]
    if len(fields) != 6 or not all(sound):
        raise ValueError(
            f"expected `frame id class height width rle`, found {text[:60]!r}"
        )
    frame, identity, category, height, width = map(int, fields[:5])
    counts = fields[5]
    # A letter beyond ASCII becomes "?", which no run length contains.
    mask = rle.Rle(size=(height, width), counts=counts.encode("ascii", "replace"))
    return Line(frame, identity, category, mask)


def check(
    file: pathlib.Path,
    *,
    num_frames: int,
    size: tuple[int, int] | None = None,
    first_frame: int = 0,
) -> None:
    """Refuses a file that the servers of KITTI or MOTSChallenge would refuse.

    Raises:
        ValueError: As `read`; or masks of another size than (height, width), or another
            class than car and pedestrian.
    """
    for number, lines in enumerate(read(file, num_frames, first_frame)):
        for line in lines:
            where = f"{file}: frame {number + first_frame}, id {line.id}"
            if line.category not in (CAR, PEDESTRIAN):
                raise ValueError(f"{where}: class {line.category}; expected 1 or 2")
            if size is not None and tuple(line.mask["size"]) != tuple(size):
                raise ValueError(
                    f"{where}: a mask of size {line.mask['size']}, expected {size}"
                )


def read(file: pathlib.Path, num_frames: int, first_frame: int = 0) -> list[list[Line]]:
    """The lines of each frame.

    Raises:
        ValueError: Names the file and the line or frame: a line that is not of the
            form, a frame beyond the sequence, an id twice in a frame, masks of
            different sizes, broken or overlapping masks.
    """
    rows = files.read_text(pathlib.Path(file)).splitlines()
    lines, places = [], []
    for number, row in enumerate(rows, start=1):
        if row.strip():
            places.append(f"{file}:{number}")
            try:
                lines.append(parse(row))
            except ValueError as error:
                raise ValueError(f"{places[-1]}: {error}") from None
    try:
        areas = rle.areas([line.mask for line in lines])
    except rle.BrokenMaskError as error:
        where = f"{places[error.index]}: frame {lines[error.index].frame}"
        raise ValueError(f"{where}: {error}") from error
    frames: list[list[Line]] = [[] for _ in range(num_frames)]
    covered = [0] * num_frames
    for place, line, area in zip(places, lines, areas.tolist(), strict=True):
        where = f"{place}: frame {line.frame}"
        index = line.frame - first_frame
        if not 0 <= index < num_frames:
            raise ValueError(
                f"{where}: the sequence has frames {first_frame} to "
                f"{first_frame + num_frames - 1}"
            )
        if line.mask["size"] != lines[0].mask["size"]:
            raise ValueError(
                f"{where}: a mask of size {line.mask['size']}; earlier ones have "
                f"{lines[0].mask['size']}"
            )
        if any(line.id == other.id for other in frames[index]):
            raise ValueError(f"{where}: the id {line.id} for a second time")
        frames[index].append(line)
        covered[index] += area
    for number, area in enumerate(covered):
        _check_overlap(frames[number], area, f"{file}: frame {number + first_frame}")
    return frames


def _check_overlap(lines: list[Line], covered: int, where: str) -> None:
    if lines and covered != int(coco.area(rle.union([line.mask for line in lines]))):
        for number, line in enumerate(lines):
            for other in lines[:number]:
                both = coco.merge([line.mask, other.mask], intersect=True)
                if coco.area(both):
                    raise ValueError(
                        f"{where}: the masks of {other.id} and {line.id} overlap in "
                        f"{int(coco.area(both))} pixels"
                    )
