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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from stemseg_jax import caches
from stemseg_jax.data import readers
from stemseg_jax.formats import whole

LEAST_BYTES = 8 * 2**20  # of an annotation file; smaller ones are parsed at once
MOST_BYTES = 4 * 2**30  # of all that is kept
TAIL = struct.Struct("<Q")  # bytes of what follows the records: where each begins
PACKAGE = pathlib.Path(__file__).parents[1]


class KeptVideos(Sequence):
    """Videos of a file that `dataset` wrote; each is read when it is asked for."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        with path.open("rb") as file:
            file.seek(-TAIL.size, os.SEEK_END)
            (size,) = TAIL.unpack(file.read())
            file.seek(-TAIL.size - size, os.SEEK_END)
            self.dataset, self._ends = pickle.loads(file.read(size))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index):
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
) -> readers.Dataset:
    """What `read(report)` gives, from what is kept if it was read before.

    What is not free of faults is not kept, so that they are reported each time.

    Args:
        file: The annotations.
        options: All else that the result depends on; its `repr` counts.
    """
    if file.stat().st_size < LEAST_BYTES:
        return read(report)
    folder = caches.folder("annotations", "Parsed annotations")
    if folder is None:
        return read(report)
    path = folder / f"{_digest(file, options)}.videos"
    if path.exists():
        videos = KeptVideos(path)
        os.utime(path)
        return videos.dataset._replace(videos=videos)
    faults = []

    def told(fault: readers.Fault):
        faults.append(fault)
        report(fault)

    found = read(told)
    if faults:
        return found
    try:
        _write(found, path)
    except OSError as error:
        logging.warning("%s is parsed anew each time: %s", file, error)
        return found
    caches.shrink(folder.glob("*.videos"), MOST_BYTES)
    return found._replace(videos=KeptVideos(path))


def _write(found: readers.Dataset, path: pathlib.Path) -> None:
    with whole.file(path) as partial, partial.open("wb") as file:
        ends = [0]
        for video in found.videos:
            ends.append(ends[-1] + file.write(pickle.dumps(video, protocol=5)))
        tail = pickle.dumps((found._replace(videos=()), np.array(ends)))
        file.write(tail + TAIL.pack(len(tail)))


def _digest(file: pathlib.Path, options: Any) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(repr((str(file.absolute()), options)).encode())
    digest.update(_code())
    return digest.hexdigest()


@functools.cache
def _code() -> bytes:
    """Of what reads annotations, so that other code reads them anew."""
    digest = hashlib.sha256()
    for part in ("data", "formats"):
        for path in sorted((PACKAGE / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()
