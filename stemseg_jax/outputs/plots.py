"""Small plots of what a run logged, one a figure, for a page that says the rest."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

MOST_POINTS = 300
STEEP = 20  # the highest value over the lowest, from which on a plot is logarithmic

Series = Sequence[tuple[int, float]]  # (step, value), by step


class Plot(NamedTuple):
    """A curve in a square of 1000 x 1000, whose upper left corner is (0, 0)."""

    name: str
    path: str  # as SVG has it
    points: tuple[tuple[int, float], ...]  # that the path goes through
    low: float  # at the bottom,
    high: float  # and at the top
    logarithmic: bool
    averaged: int  # so many lines of the log make a point


def series(records: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """The values of each figure, by step; of those told twice of a step, the later.

    What is no number is left out; what is not finite is kept.
    """
    found: dict[str, dict[int, float]] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, int | float) and name != "step":
                found.setdefault(name, {})[record["step"]] = float(value)
    return {name: sorted(values.items()) for name, values in found.items()}


def plot(name: str, values: Series, *, logarithmic: bool = False) -> Plot | None:
    """A plot of what is finite; None if nothing is.

    An axis holds 0 if it is not logarithmic. A value that is not finite
    is a gap. Of many points each few are averaged, as far as they are finite.

    Args:
        logarithmic: If all is above 0 and the values are of several magnitudes.
    """
    points, averaged = _thinned(values)
    finite = [value for _, value in points if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    logarithmic = logarithmic and low > 0 and low * STEEP < high
    if not logarithmic:
        low, high = min(low, 0.0), max(high, 0.0)
    high = high if high > low else low + 1
    scale = math.log if logarithmic else float
    bottom, span = scale(low), scale(high) - scale(low)
    begin, length = points[0][0], max(points[-1][0] - points[0][0], 1)
    path, pen = [], "M"
    for step, value in points:
        if not math.isfinite(value):
            pen = "M"
            continue
        across = 1000 * (step - begin) / length
        down = 1000 * (1 - (scale(value) - bottom) / span)
        path.append(f"{pen}{across:.4g} {down:.4g}")
        pen = "L"
    if len(finite) == 1:
        path.append("h0")  # round ends make it a dot
    shown = tuple((s, float(f"{v:.4g}")) for s, v in points if math.isfinite(v))
    return Plot(name, "".join(path), shown, low, high, logarithmic, averaged)


def _thinned(values: Series) -> tuple[list[tuple[int, float]], int]:
    """At most `MOST_POINTS`, means of what is finite in as many each, at the last of
    their steps."""
    each = math.ceil(len(values) / MOST_POINTS)
    groups = [values[k : k + each] for k in range(0, len(values), each)] if each else []
    return [
        (group[-1][0], _mean(value for _, value in group)) for group in groups
    ], each


def _mean(values: Iterable[float]) -> float:
    """Of those that are finite; NaN if none is."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
