"""What every metric gives: a result that has been scored, ready to be asked."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Figures = dict[str, int | float]
MAIN = ("J&F-Mean", "AP", "sMOTSA")  # figures by which results are compared
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


def main_figure(figures: Mapping[str, float | int]) -> float:
    """The one figure that says which result is better; -inf if it is not known.

    Of several classes ("car sMOTSA") the mean over those that are there to be scored.
    """
    found = [x for name, x in figures.items() if name.split()[-1] in MAIN]
    known = [x for x in found if math.isfinite(x)]  # a class may be in no video
    return float(sum(known) / len(known)) if known else -math.inf
