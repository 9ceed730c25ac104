"""What every metric gives: a result that has been scored, ready to be asked."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Figures = dict[str, int | float]
Progress = Callable[[Iterable], Iterable]  # wraps a loop over videos, as tqdm does


class Scored(NamedTuple):
    """One result against its annotations."""

    videos: tuple[str, ...]
    # How often each video counts, or None for once -> the figures that papers print.
    figures: Callable[..., Figures]
    # Rows of a table for people, the whole set last.
    table: Callable[[], list[tuple[str, Figures]]]
    # Every figure, in plain lists and dicts.
    report: Callable[[], dict[str, Any]]
