"""A file or a folder appears under its name once it is whole, or not at all.

Until then it is `.<name>.partial` beside it, which goes away when anything fails. A
folder of ours holds the file `.stemseg_jax`, which says what wrote it; no other folder
is ever replaced. What cannot be written is named, and who else is at work on it.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from typing import IO

MARKER = ".stemseg_jax"
# Only writing brings these, so that they need no name to be known as its errors.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # file systems without locks


class NotWritten(OSError):
    """What was there before still is."""


@contextlib.contextmanager
def named(path: str | pathlib.Path, partial: pathlib.Path | None = None) -> Iterator:
    """Errors of the disk in writing `path`, by way of `partial`, say so.

    Raises:
        NotWritten: In place of an OSError that is about one of them.
    """
    try:
        yield
    except NotWritten as error:
        shown = str(error).replace(str(partial), str(path)) if partial else str(error)
        raise NotWritten(shown) from error
    except OSError as error:
        place = partial or pathlib.Path(path)
        own = isinstance(error.filename, str | os.PathLike) and (
            pathlib.Path(error.filename).is_relative_to(place)
        )
        if not own and (error.filename is not None or error.errno not in FULL):
            raise
        raise NotWritten(
            f"{path} could not be written ({error.strerror or error}). What was there "
            "before still is; make room on the disk, or write elsewhere."
        ) from error


def lock(
    folder: str | pathlib.Path, work: str, *, writes: Collection[str] = ()
) -> IO[str]:
    """Keeps others from the same work in a folder until it is closed or the process
    ends, however it does. Who holds it stands in `folder/.<work>.lock`.

    Args:
        writes: Files that will be replaced, which have to be ours: a run's folder is
            known by such a lock, by its checkpoints or by its predictions.

    Raises:
        ValueError: Another process holds it, or the files are not ours.
    """
    path = pathlib.Path(folder) / f".{work}.lock"
    ours = (".*.lock", "checkpoints/*/_CHECKPOINT_METADATA", f"predictions/{MARKER}")
    there = [path.parent / name for name in writes if (path.parent / name).exists()]
    if there and not any(any(path.parent.glob(pattern)) for pattern in ours):
        raise ValueError(
            f"{there[0]} is there already, in a folder that no run wrote to; only a "
            "run's own files are replaced. Choose another --workdir, or move it away."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    if not _locked(file.fileno()):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ValueError(
            f"{folder}: another {work} is at work here (process {holder}). Wait for "
            "its end, or choose another --workdir."
        )
    file.truncate(0)
    file.write(f"{os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)[:400]}\n")
    file.flush()
    return file


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours, or the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
    return True


@contextlib.contextmanager
def file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, which takes the place of `path` when that went well.

    The folder of `path` is made. The ending of the path given is not that of `path`:
    a writer that goes by endings has to be told the format.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with named(path, partial):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | pathlib.Path, text: str) -> pathlib.Path:
    with file(path) as partial:
        partial.write_text(text)
    return pathlib.Path(path)


@contextlib.contextmanager
def folder(
    path: str | pathlib.Path, writer: str, *, marked: bool = True
) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of `path` when that went well.

    What `path` was before stays until then, and is replaced as a whole.

    Args:
        writer: What writes it; a folder that something else wrote is not replaced.
        marked: False leaves no marker in the folder, which others are to read. Such a
            folder is only replaced if the folder around it is ours.

    Raises:
        ValueError: There is something at `path` that was not written by `writer`, or
            another process is writing it.
    """
    path = pathlib.Path(path)
    partial, old = (
        path.with_name(f".{path.name}.{word}") for word in ("partial", "old")
    )
    for own in (partial, old):
        _refuse_foreign(own, writer, within=not marked)
    if old.exists() and not path.exists():  # a run ended between two renames
        old.rename(path)
    _refuse_foreign(path, writer, within=not marked)
    _refuse_busy(partial)
    for own in (partial, old):
        shutil.rmtree(own, ignore_errors=True)
    marker = partial / MARKER
    try:
        with named(path, partial), _busy(partial):
            marker.write_text(f"{writer}\n")
            yield partial
            _refuse_foreign(path, writer, within=not marked)
            if path.exists():
                (path / MARKER).write_text(f"{writer}\n")  # so that `old` is known
                path.rename(old)
            partial.rename(path)
            if not marked:  # after the name: what is not whole stays known as ours
                (path / MARKER).unlink()
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _busy(folder: pathlib.Path) -> Iterator[None]:
    """Makes a folder that no other process clears away meanwhile."""
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _locked(descriptor)
        yield
    finally:
        os.close(descriptor)


def _refuse_busy(folder: pathlib.Path) -> None:
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _locked(descriptor):
            raise ValueError(
                f"{folder}: another process is writing here. Wait for its end, or "
                "choose another --output or --workdir."
            )
    finally:
        os.close(descriptor)


def _refuse_foreign(path: pathlib.Path, writer: str, *, within: bool = False) -> None:
    """Raises unless nothing is lost when `path` goes.

    Args:
        within: Whether it may also lie in a folder of ours.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not path.is_symlink():
        if within and (path.parent / MARKER).is_file():
            return
        marker = path / MARKER
        held = sorted(entry.name for entry in path.iterdir())
        if not held or (marker.is_file() and marker.read_text() == f"{writer}\n"):
            return
        found = f"holds {', '.join(held[:4])}{' ...' * (len(held) > 4)}"
        if marker.is_file():
            found = f"was written by {marker.read_text().strip()}"
    else:
        found = "is a link" if path.is_symlink() else "is a file"
    raise ValueError(
        f"{path} is there already and {found}; only a folder that {writer} wrote "
        f"(with {MARKER} in it) is replaced. Choose another --output or --workdir, or "
        "move it away."
    )


def inside(folder: str | pathlib.Path, name: str) -> pathlib.Path:
    """`folder/name`, which is never `folder` itself, nor beside or above it.

    Raises:
        ValueError: The name is empty or absolute, or a part of it begins with a dot.
    """
    parts = pathlib.PurePath(name).parts
    if not parts or any(part.startswith((".", "/", "\\")) for part in parts):
        raise ValueError(
            f"{name!r} cannot be a name in {folder}; expected one that is not empty "
            "and does not begin with a dot or a slash."
        )
    return pathlib.Path(folder, *parts)
