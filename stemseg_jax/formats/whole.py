"""A file or a folder appears under its name once it is whole, or not at all.

Until then it is `.<name>...partial` beside it, which goes away when anything fails. A
folder of ours holds the file `.stemseg_jax`, which says what wrote it; no other folder
is ever replaced. Among the files of others, ours are listed in `.stemseg_jax_files`.
What cannot be written is named, and who else is at work on it.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import secrets
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from typing import IO

MARKER = ".stemseg_jax"
CLAIMED = ".stemseg_jax_files"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Only writing brings these, so that they need no name to be known as its errors.
OF_WRITING = (*FULL, errno.EROFS)
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
        if not own and (error.filename is not None or error.errno not in OF_WRITING):
            raise
        advice = "make room on the disk, or " if error.errno in FULL else ""
        raise NotWritten(
            f"{path} could not be written ({error.strerror or error}). What was there "
            f"before still is; {advice}write elsewhere."
        ) from error


def lock(
    folder: str | pathlib.Path, work: str, *, writes: Collection[str] = ()
) -> IO[str]:
    """Keeps others from the same work in a folder until it is closed or the process
    ends, however it does. Who holds it stands in `folder/.<work>.lock`.

    Args:
        writes: Files that will be claimed.

    Raises:
        ValueError: Another process holds it, or the files are not ours.
    """
    path = pathlib.Path(folder) / f".{work}.lock"
    _refuse_unclaimed(path.parent, writes)
    _make(path.parent)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_lock(path))
        if not _locked(file.fileno()):
            raise ValueError(
                f"{folder}: another {work} is at work here (process "
                f"{file.read().strip() or 'unknown'}). Wait for its end, or choose "
                "another --workdir."
            )
        if (before := file.read()) and not before[0].isdigit():
            raise ValueError(f"{path} is not ours: {before[:40]!r}. Move it away.")
        holder = f"{os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)[:400]}"
        with named(path):
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), f"{holder}\n".encode(errors="replace"), 0)
        stack.pop_all()
    return file


def _make(folder: pathlib.Path) -> None:
    """Makes a folder, and those above it.

    Raises:
        NotWritten: It cannot be, as on a disk that is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(
            f"The folder {folder} cannot be made ({error.strerror or error}). Choose a "
            "place that can be written."
        ) from error


def claim(folder: str | pathlib.Path, *names: str, resumed: bool = False) -> None:
    """To be called just before files of a folder, which may hold others, are written.

    Args:
        resumed: Whether they are known to be ours without `CLAIMED`.

    Raises:
        ValueError: One is there, and was never claimed.
    """
    folder = pathlib.Path(folder)
    if not resumed:
        _refuse_unclaimed(folder, names)
    claimed = sorted({*_claimed(folder), *names})
    write_text(folder / CLAIMED, "".join(f"{name}\n" for name in claimed))


def discard(folder: str | pathlib.Path, name: str, writer: str) -> None:
    """Removes `folder/name` if it is a file that was claimed, or a folder that `writer`
    wrote; what is not ours stays."""
    path = pathlib.Path(folder) / name
    if path.is_symlink():
        return
    if path.is_file() and name in _claimed(path.parent):
        path.unlink()
    marker = path / MARKER
    if marker.is_file() and marker.read_text() == f"{writer}\n":
        shutil.rmtree(path)


def _refuse_unclaimed(folder: pathlib.Path, names: Collection[str]) -> None:
    for name in sorted({*names} - _claimed(folder)):
        if os.path.lexists(folder / name):
            raise ValueError(
                f"{folder / name} is there already, and no run wrote it; only a run's "
                f"own files (listed in {CLAIMED}) are replaced. Choose another "
                "--workdir, or move it away."
            )


def _claimed(folder: pathlib.Path) -> set[str]:
    path = folder / CLAIMED
    return set(path.read_text().splitlines()) if path.is_file() else set()


def _open_lock(path: pathlib.Path) -> IO[str]:
    """Opens a file to be locked, with nothing written to what is none."""
    _refuse_irregular(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    return open(os.open(path, flags, 0o666), "r+", errors="replace")


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


def _refuse_irregular(path: pathlib.Path) -> None:
    """Raises for a link, a folder, a pipe or a device."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a link" if path.is_symlink() else "a device or a pipe"
        if path.is_dir() and not path.is_symlink():
            kind = "a folder"
        raise ValueError(
            f"{path} is {kind}; expected a file, or nothing yet. Choose another name, "
            "or move it away."
        )


@contextlib.contextmanager
def file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, which takes the place of `path` when that went well.

    The folder of `path` is made. There is an empty file at the path given, whose ending
    is not that of `path`: a writer that goes by endings has to be told the format.

    Raises:
        ValueError: There is something at `path` that is no file.
    """
    path = pathlib.Path(path)
    _refuse_irregular(path)
    _make(path.parent)
    # A name of its own, for nobody else writes to it; O_EXCL follows no link.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with named(path, partial):
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield partial
            _refuse_irregular(path)
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
    _make(path.parent)
    with _alone(path):
        partial, old = (
            path.with_name(f".{path.name}.{word}") for word in ("partial", "old")
        )
        for own in (partial, old):
            _refuse_foreign(own, writer, within=not marked)
        if old.exists() and not path.exists():  # a run ended between two renames
            old.rename(path)
        _refuse_foreign(path, writer, within=not marked)
        for own in (partial, old):
            shutil.rmtree(own, ignore_errors=True)
        marker = partial / MARKER
        try:
            with named(path, partial):
                partial.mkdir()
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
def _alone(path: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from writing the folder `path`, by a lock beside it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with named(path, lock):
            file = _open_lock(lock)
        with file:
            if not _locked(file.fileno()):
                raise ValueError(
                    f"{path}: another process is writing here. Wait for its end, or "
                    "choose another --output or --workdir."
                )
            if os.fstat(file.fileno()).st_size:
                raise ValueError(f"{lock} is not ours: it is not empty. Move it away.")
            if _is_at(lock, file.fileno()):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)  # while nobody else can have it
                return
        # Who had it before took it away; another one may have made it anew.


def _is_at(path: pathlib.Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


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
