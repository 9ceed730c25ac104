"""The scores of tracks, beside text files of MOTS, which have no place for them.

`0002.scores.json` holds {"1001": 0.93, ...}: each id of `0002.txt`, and its score. The
official programs do not know these files, and need not be told of them.
"""

import json
import pathlib
from collections.abc import Mapping

from stemseg_jax.formats import declared, whole


def beside(text: pathlib.Path) -> pathlib.Path:
    """Where the scores of a text file's tracks lie, if there are any."""
    return text.with_name(f"{text.stem}.scores.json")


def write(text: pathlib.Path, scores: Mapping[int, float]) -> pathlib.Path:
    """Writes the scores, by id, of a text file's tracks."""
    return whole.write_text(beside(text), json.dumps(scores) + "\n")


def read(text: pathlib.Path) -> dict[int, float] | None:
    """The scores, by id, of a text file's tracks; None if it comes without them.

    Raises:
        ValueError: There is something else in their place.
    """
    path = beside(text)
    return declared.read(path, dict[int, float]) if path.exists() else None
