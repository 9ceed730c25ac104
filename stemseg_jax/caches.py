"""Folders for what can be made again: compiled programs, parsed annotations."""

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable

from absl import logging

OFF = "off"  # of STEMSEG_CACHE: nothing is kept


def folder(
    name: str, what: str, *, base: str | pathlib.Path | None = None
) -> pathlib.Path | None:
    """A folder of this user's own that can be written.

    Args:
        name: Below the base.
        what: Will be kept there, as a warning calls it.
        base: Otherwise STEMSEG_CACHE, otherwise XDG_CACHE_HOME/stemseg_jax; "off"
            keeps nothing.

    Returns:
        None if nothing is to be kept, or nothing can be, with a warning.
    """
    base = str(base or os.environ.get("STEMSEG_CACHE") or _default())
    if base == OFF:
        return None
    place = pathlib.Path(base).expanduser() / name
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_shared(place)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        logging.warning(
            "%s are not kept: %s. Name another folder by STEMSEG_CACHE, or "
            "STEMSEG_CACHE=off.",
            *(what, error),
        )
        return None
    return place


def _refuse_shared(place: pathlib.Path) -> None:
    """Who can write there can have us run anything."""
    stat = place.stat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o022:
        raise PermissionError(f"{place} is another user's, or others can write there")


def _default() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path("~/.cache")) / "stemseg_jax"


def shrink(paths: Iterable[pathlib.Path], most: int) -> None:
    """Deletes files, those used longest ago first, until `most` bytes are left."""
    kept = []
    for path in paths:
        with contextlib.suppress(OSError):  # another process is at it as well
            stat = path.stat()
            kept.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            total -= size


def clear(paths: Iterable[pathlib.Path], *, older_than: float) -> None:
    """Deletes files that were last written so many seconds ago, or earlier."""
    for path in paths:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink()
