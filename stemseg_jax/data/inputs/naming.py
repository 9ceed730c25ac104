"""A name of its own for each video, by which its results are called."""

import collections
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from absl import logging


class Title(NamedTuple):
    """What a video is called, and what can be added to tell it from another."""

    name: str
    folders: tuple[str, ...] = ()  # it lies in, outermost first
    ending: str = ""

    def longer(self, num_folders: int, ending: bool) -> str:
        folders = self.folders[-num_folders:] if num_folders else ()
        parts = (*folders, plain(self.name), self.ending if ending else "")
        return plain("_".join(filter(None, parts)))


def of_file(path: str | os.PathLike) -> Title:
    path = _absolute(path)
    return Title(path.stem, path.parts[1:-1], path.suffix.removeprefix("."))


def of_folder(path: str | os.PathLike) -> Title:
    path = _absolute(path)
    return Title(path.name, path.parts[1:-1])


def _absolute(path: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(path))  # so that ".." has a name, too


def plain(given: str) -> str:
    """No dots at its ends.

    "..", say, of a file called "...mp4", would lead out of the folder of results.
    """
    return given.strip(". ") or "video"


def told(given: str) -> str:
    """The same; a change is told."""
    name = plain(given)
    if name != given:
        logging.warning("The video %r goes by the name %r.", given, name)
    return name


def apart(titles: Sequence[Title]) -> list[str]:
    """Names in the order of the titles, no two of them equal.

    Videos of one name get, all of them, the first of these that tells them apart: the
    folder in front (`a_clip`, `b_clip`), the ending behind (`clip_mp4`, `clip_mov`),
    both, the folder above in front of that, and so on; in the end, as streams may need
    it, a number. "Clip" and "clip" are one name, as they are one file on many disks.
    """
    names = [told(title.name) for title in titles]
    groups = collections.defaultdict(list)
    for index, name in enumerate(names):
        groups[name.casefold()].append(index)
    taken = {name for name, group in groups.items() if len(group) == 1}
    for name, group in sorted(groups.items()):
        if len(group) > 1:
            new = _told_apart([titles[index] for index in group], taken)
            taken |= set(map(str.casefold, new))
            for index, one in zip(group, new, strict=True):
                names[index] = one
            logging.info("Videos called %r go by the names %s.", name, ", ".join(new))
    return names


def _told_apart(titles: Sequence[Title], taken: set[str]) -> list[str]:
    for names in _candidates(titles):
        folded = set(map(str.casefold, names))
        if len(folded) == len(titles) and not folded & taken:
            return names
    raise AssertionError("numbers do not end")


def _candidates(titles: Sequence[Title]) -> Iterator[list[str]]:
    """Names for all of them, shorter ones first."""
    yield [title.longer(1, ending=False) for title in titles]
    yield [title.longer(0, ending=True) for title in titles]
    yield [title.longer(1, ending=True) for title in titles]
    for count in range(2, 1 + max(len(title.folders) for title in titles)):
        yield [title.longer(count, ending=False) for title in titles]
        yield [title.longer(count, ending=True) for title in titles]
    for first in itertools.count(1):
        yield [f"{t.longer(0, ending=False)}_{first + i}" for i, t in enumerate(titles)]
