"""Datasets that were read from a large annotation file, kept on disk.

COCO's training annotations take a minute of parsing and gigabytes of memory, again in
each process. Parsed once, they lie in the user's cache, one record for each video, and
a process holds only those that it looks at. The name of a file there is a digest: of
the annotations, of how they were read, and of the code that read them.
"""

import functools
import hashlib
import mmap
import os
import pathlib
import pickle
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from stemseg_jax import caches
from stemseg_jax.data import readers
from stemseg_jax.formats import whole

BLOCK = 2**20  # bytes that are read at once
DAY = 86_400.0  # seconds
LEAST_BYTES = 8 * 2**20  # of an annotation file; smaller ones are parsed at once
MOST_BYTES = 4 * 2**30  # of all that is kept
# At the end of a file: how long that is which says where each record begins, and the
# SHA-256 of all before.
TAIL = struct.Struct("<Q32s")
PACKAGE = pathlib.Path(__file__).parents[1]


class KeptVideos(Sequence):
    """Videos of a file that `dataset` wrote; each is read when it is asked for.

    Raises:
        OSError, ValueError: The file is gone, or not what was written, if `verified`.
    """

    def __init__(self, path: pathlib.Path, *, verified: bool = False):
        self._path = path
        if path.stat().st_size < TAIL.size:
            raise ValueError("it is cut off")
        end = len(self._bytes) - TAIL.size
        size, digest = TAIL.unpack(self._bytes[end:])
        if verified and _digest_of(path, end) != digest:
            raise ValueError("it is not what was written")
        self.dataset, self._ends = pickle.loads(self._bytes[end - size : end])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return pickle.loads(self._bytes[self._ends[number] : self._ends[number + 1]])

    def __iter__(self) -> Iterator[readers.Video]:
        return (self[number] for number in range(len(self)))

    @functools.cached_property
    def _bytes(self) -> mmap.mmap:
        """Its pages are shared by all processes."""
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __reduce__(self):
        return KeptVideos, (self._path,)


def dataset(
    file: pathlib.Path,
    read: Callable[[readers.Report], readers.Dataset],
    *,
    report: readers.Report,
    options: Any,
    holds: Callable[[readers.Dataset], bool] = lambda kept: True,
) -> readers.Dataset:
    """What `read(report)` gives, from what is kept if it was read before.

    What is not free of faults is not kept, so that they are reported each time.

    Args:
        file: The annotations.
        options: All else that the result depends on; its `repr` counts.
        holds: Whether what is kept still does.
    """
    if file.stat().st_size < LEAST_BYTES:
        return read(report)
    folder = caches.folder("annotations", "Parsed annotations")
    if folder is None:
        return read(report)
    path = folder / f"{_digest(file, options)}.videos"
    if path.exists():
        try:
            kept = KeptVideos(path, verified=True)
            os.utime(path)
            if holds(kept.dataset._replace(videos=kept)):
                return kept.dataset._replace(videos=kept)
        except (OSError, ValueError) as error:
            logging.warning("%s is parsed anew: %s (%s)", file, error, path)
    faults = []

    def told(fault: readers.Fault):
        faults.append(fault)
        report(fault)

    found = read(told)
    if faults:
        return found
    try:
        _write(found, path)
        kept = KeptVideos(path)
    except OSError as error:
        logging.warning("%s is parsed anew each time: %s", file, error)
        return found
    others = (other for other in folder.glob("*.videos") if other != path)
    caches.shrink(others, MOST_BYTES)
    caches.clear(folder.glob(".*.partial"), older_than=DAY)  # of who was killed
    return found._replace(videos=kept)


def _digest_of(path: pathlib.Path, size: int) -> bytes:
    """Of the first bytes; the pages of the memory map would count as ours."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (part := file.read(min(size, BLOCK))):
            digest.update(part)
            size -= len(part)
    return digest.digest()


def _write(found: readers.Dataset, path: pathlib.Path) -> None:
    with whole.file(path) as partial, partial.open("wb") as file:
        digest, ends = hashlib.sha256(), [0]

        def add(content: Any) -> int:
            packed = pickle.dumps(content, protocol=5)
            digest.update(packed)
            return file.write(packed)

        for video in found.videos:
            ends.append(ends[-1] + add(video))
        size = add((found._replace(videos=()), np.array(ends)))
        file.write(TAIL.pack(size, digest.digest()))


def _digest(file: pathlib.Path, options: Any) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(repr((str(file.absolute()), options)).encode())
    digest.update(_code())
    return digest.hexdigest()


@functools.cache
def _code() -> bytes:
    """Of what reads annotations, and of the versions that their records are of."""
    versions = *sys.version_info[:2], np.__version__
    digest = hashlib.sha256(repr(versions).encode())
    for part in ("data", "formats"):
        for path in sorted((PACKAGE / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()
