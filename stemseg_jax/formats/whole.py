"""A file or a folder appears under its name once it is whole, or not at all.

Until then it is `.<name>.partial` beside it, which goes away when anything fails. A
folder of ours holds the file `.stemseg_jax`, which says what wrote it; no other folder
is ever replaced.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

MARKER = ".stemseg_jax"


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
        ValueError: There is something at `path` that was not written by `writer`.
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
    for own in (partial, old):
        shutil.rmtree(own, ignore_errors=True)
    partial.mkdir(parents=True)
    marker = partial / MARKER
    try:
        marker.write_text(f"{writer}\n")
        yield partial
        _refuse_foreign(path, writer, within=not marked)
        if path.exists():
            (path / MARKER).write_text(f"{writer}\n")  # so that `old` is known, too
            path.rename(old)
        partial.rename(path)
        if not marked:  # after the name: a folder that is not whole stays known as ours
            (path / MARKER).unlink()
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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
