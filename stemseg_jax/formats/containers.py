"""Whether a video file is as long as its own container says: MP4, Matroska, AVI.

FFmpeg reads what is there of a file that was cut, and says that it has ended.
"""

import os
import pathlib
import struct
from typing import BinaryIO

EBML, SEGMENT = 0x1A45DFA3, 0x18538067  # element ids of Matroska and WebM


def is_cut(path: pathlib.Path) -> bool:
    """Whether an outermost part of the file reaches beyond its end.

    False for other containers, and where the length was not written (live recordings).
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == b"RIFF":
            lengths = _riff
        elif head[4:8] == b"ftyp":
            lengths = _boxes
        elif head[:4] == EBML.to_bytes(4, "big"):
            lengths = _matroska
        else:
            return False
        while file.tell() < size:
            length = lengths(file)
            if length is None:
                return False
            if file.tell() + length > size:
                return True
            file.seek(length, os.SEEK_CUR)
        return False


# Each reads the head of a part, and gives the bytes that follow in it; None: not known.


def _boxes(file: BinaryIO) -> int | None:
    head = file.read(8)
    if len(head) >= 4 and not any(head):  # zeros behind the last part
        return None
    length = int.from_bytes(head[:4], "big")
    if len(head) < 8:
        return 8
    if length == 1:  # 64 bits follow
        length = int.from_bytes(file.read(8), "big") - 8
    return length - 8 if length >= 8 else None


def _riff(file: BinaryIO) -> int | None:
    head = file.read(8)
    if head[:4] != b"RIFF" or len(head) < 8:
        return None
    (length,) = struct.unpack("<I", head[4:])
    return length + length % 2 if length else None


def _matroska(file: BinaryIO) -> int | None:
    head = int.from_bytes(file.read(4), "big")
    first = file.read(1)
    if head not in (EBML, SEGMENT) or not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()  # bytes; the zeros in front count them
    bits = 7 * (more + 1)
    length = int.from_bytes(first + file.read(more), "big") & (1 << bits) - 1
    return None if length == (1 << bits) - 1 else length
