"""Finds the folders of a dataset and says what is missing when they are not there."""

import os
import pathlib
from collections.abc import Sequence

from stemseg_jax import ranges
from stemseg_jax.formats import files, images

Root = str | os.PathLike | None  # the folder of all datasets; None: see dataset_folder


def dataset_folder(
    root: Root, *, names: Sequence[str], holds: Sequence[str]
) -> pathlib.Path:
    """The folder of a dataset: one of `names` under the root, or the root itself.

    Args:
        root: The folder of all datasets; without it STEMSEG_DATA of the environment.
        names: Spellings in use.
        holds: What lies in it; one of these is enough to know it.
    """
    root = root or os.environ.get("STEMSEG_DATA")
    if not root:
        raise ValueError(
            "no data folder given. Set --config.data.root=FOLDER or the environment "
            f"variable STEMSEG_DATA to the folder that holds {names[0]}/."
        )
    if not ranges.PLACE.holds(str(root)):
        raise ValueError(
            f"{root}: a bucket has to be mounted; docs/training.md says how."
        )
    root = pathlib.Path(root).expanduser()
    for folder in [*(root / name for name in names), root]:
        if any((folder / part).exists() for part in holds):
            return folder
    raise ValueError(
        f"{root}: found neither {' nor '.join(f'{name}/' for name in names)} in it, "
        f"with {' or '.join(holds)} inside. {_contents(root)} docs/data.md shows the "
        f"layouts; --config.data.root is the folder above."
    )


def first_existing(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path:
    """The first of `names` that lies in the folder."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise ValueError(
        f"{folder}: expected {' or '.join(names)}. {_contents(folder)} docs/data.md "
        f"shows the layouts."
    )


def image_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The images of a folder in natural order (2 before 10); at least one."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder, expected the frames of a video there. "
            f"{_contents(folder.parent)}"
        )
    paths = images.natural(path for path in folder.iterdir() if images.is_image(path))
    if not paths:
        raise ValueError(
            f"{folder}: no images ({', '.join(images.SUFFIXES)}) in this folder, "
            f"expected the frames of a video. Was the archive unpacked fully?"
        )
    return paths


def read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a list file that hold something; at least one."""
    if not path.is_file():
        raise ValueError(f"{path}: no such list. {_contents(path.parent)}")
    lines = [
        line.strip() for line in files.read_text(path).splitlines() if line.strip()
    ]
    if not lines:
        raise ValueError(f"{path}: the list is empty, expected one name a line.")
    return lines


def _contents(folder: pathlib.Path) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist."
    names = [path.name for path in files.listed(folder)]
    more = " ..." if len(names) > 8 else ""
    return f"{folder} holds: {', '.join(names[:8]) or 'nothing'}{more}."
