"""Files that others made: which of them are data, and how their text is read."""

import errno
import pathlib

# Left behind by operating systems, beside what is hidden (._*, .DS_Store).
LITTER = {"__macosx", "desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"}


def is_data(path: pathlib.Path) -> bool:
    """By its name; what is hidden, or an operating system left behind, is none."""
    return not path.name.startswith(".") and path.name.lower() not in LITTER


def listed(folder: pathlib.Path, pattern: str = "*") -> list[pathlib.Path]:
    """What matches in a folder and is data, sorted; empty without the folder."""
    return sorted(path for path in folder.glob(pattern) if is_data(path))


def regular(path: pathlib.Path) -> pathlib.Path:
    """The path itself; what is there and no regular file may never end.

    Raises:
        OSError: It is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path


def read_text(path: pathlib.Path) -> str:
    """The text of a file, which is UTF-8 with or without a mark.

    Raises:
        ValueError: There is no such file, or it holds something else.
    """
    try:
        return regular(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: no readable text file ({error}); expected UTF-8. Copy the file "
            "again."
        ) from error
