"""One compared quantity, and how quantities are compared."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ACTIVATIONS = 1e-4  # of the largest magnitude
LOSSES = 1e-5
UPDATED_LOSSES = 1e-4  # an update carries the float32 rounding of its gradient
GRADIENTS = 1e-4
NETWORK_GRADIENTS = 1e-3  # back through all layers
GREY_LEVELS = 1e-3
ROUNDING = 1e-6  # the same formula in float32
THRESHOLD = 1e-4  # pixels this near to one may fall to either side


class Figure(NamedTuple):
    """How far a quantity of ours is from the authors'."""

    quantity: str
    error: float
    bar: float
    note: str = ""

    @property
    def met(self) -> bool:
        return bool(self.error <= self.bar)  # NaN is not


def relative(quantity: str, actual: Any, expected: Any, bar: float) -> Figure:
    """Largest difference over the largest expected magnitude; NaN equals NaN."""
    return _difference(quantity, actual, expected, bar, is_relative=True)


def absolute(quantity: str, actual: Any, expected: Any, bar: float) -> Figure:
    """Largest difference."""
    return _difference(quantity, actual, expected, bar, is_relative=False)


def different(
    quantity: str, actual: Any, expected: Any, *, near: Any = False, note: str = ""
) -> Figure:
    """How many elements differ; none may.

    Args:
        near: Elements that lie near a threshold: those are counted in the note alone.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return Figure(quantity, np.inf, 0, f"{actual.shape} for {expected.shape}")
    differ = actual != expected
    excused = int((differ & near).sum())
    if np.any(near) or excused:
        note = f"{excused} of {expected.size} near a threshold differ. {note}".strip()
    return Figure(quantity, int((differ & ~np.asarray(near)).sum()), 0, note)


def equal(quantity: str, actual: Any, expected: Any) -> Figure:
    """Whether two values are the same, of whatever kind."""
    same = actual == expected
    return Figure(
        quantity, 0 if same else 1, 0, "" if same else _shown(actual, expected)
    )


def of_each(quantity: str, figures: Mapping[str, Figure]) -> Figure:
    """The worst of several figures with one bar."""
    worst = max(figures, key=lambda name: _severity(figures[name].error))
    note = f"worst of {len(figures)}: {worst}"
    return figures[worst]._replace(quantity=quantity, note=note)


def _difference(quantity, actual, expected, bar, *, is_relative):
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        return Figure(quantity, np.inf, bar, f"{actual.shape} for {expected.shape}")
    if not np.array_equal(np.isnan(actual), np.isnan(expected)):
        return Figure(quantity, np.nan, bar, "NaN on one side only")
    error = np.nan_to_num(np.abs(actual - expected)).max(initial=0.0)
    largest = np.nan_to_num(np.abs(expected)).max(initial=0.0)
    if is_relative and largest > 0:
        error = error / largest
    return Figure(quantity, float(error), bar)


def _severity(error: float) -> float:
    return np.inf if np.isnan(error) else error


def _shown(actual: Any, expected: Any) -> str:
    return f"{actual!r:.60} for {expected!r:.60}"
