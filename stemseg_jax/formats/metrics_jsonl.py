"""metrics.jsonl: what a run logged, the figures of one update or validation a line."""

import json
import pathlib
from typing import Any

from stemseg_jax.formats import files


def read(path: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Each line as it stands, and its figures; without the file there are none.

    A last line that does not end is one that a run was killed at, or is at work on: it
    is left out. Numbers that are not finite may be among the figures.

    Raises:
        ValueError: Another line is damaged; says which.
    """
    if not path.exists():
        return []
    text = files.regular(path).read_bytes().decode(errors="replace")
    found = []
    for number, line in enumerate(text.rpartition("\n")[0].splitlines(), start=1):
        try:
            figures = json.loads(line)
        except (ValueError, RecursionError):
            figures = None
        if not isinstance(figures, dict) or not isinstance(figures.get("step"), int):
            raise ValueError(
                f"{path}, line {number} is damaged: {line[:80]!r}, expected the "
                "figures of a step. Take this line out, or move the file away."
            )
        found.append((line, figures))
    return found
